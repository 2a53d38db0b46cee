"""Distance to the mean features of good images, position by position."""

import torch
import torch.nn.functional as F
from pydantic import Field

from discrepancy.methods.base import Method
from discrepancy.methods.parameters import MethodParameters


class FeatureMeanParameters(MethodParameters):
    """Parameters of this method; those that every method has are inherited."""

    floor: float = Field(0.1, gt=0, description="smallest deviation, as a share of the mean deviation")


class FeatureMean(Method):
    """Compare each feature with its mean and deviation over the good images, at its position."""

    name = "feature_mean"
    title = "Feature mean"
    Parameters = FeatureMeanParameters

    def __init__(self, backbone, parameters, card):
        super().__init__(backbone, parameters, card)
        self.layers = [layer.name for layer in backbone.layers]
        for index, shape in enumerate(backbone.map_shapes(*self.image_size).values()):
            self.register_buffer(f"mean_{index}", torch.zeros(shape))
            self.register_buffer(f"deviation_{index}", torch.ones(shape))

    @torch.no_grad()
    def fit(self, data, checkpoint=None):
        """Average the cached features; there are no epochs, and nothing to resume."""
        sums = {layer: [0.0, 0.0] for layer in self.layers}
        for maps in data.features.batches(range(data.examples), self.device):
            for layer, values in maps.items():
                values = values.double()
                sums[layer][0] = sums[layer][0] + values.sum(0)
                sums[layer][1] = sums[layer][1] + values.square().sum(0)
        for index, (total, squares) in enumerate(sums.values()):
            mean = total / data.examples
            deviation = (squares / data.examples - mean.square()).clamp_min(0).sqrt()
            floor = self.parameters_used.floor * deviation.mean()
            self.get_buffer(f"mean_{index}").copy_(mean)
            self.get_buffer(f"deviation_{index}").copy_(deviation.clamp_min(floor))

    def anomaly_maps(self, images):
        """Return the mean squared deviation of the layers, upsampled and summed."""
        total = 0
        for index, (_, maps) in enumerate(self.backbone(images).items()):
            score = ((maps - self.get_buffer(f"mean_{index}")) / self.get_buffer(f"deviation_{index}")).square().mean(1)
            total = total + F.interpolate(score[:, None], self.image_size, mode="bilinear")[:, 0]
        return total
