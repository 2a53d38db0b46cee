"""A detector scores photographs as uint8 RGB; whatever else comes is refused with what was found and expected."""

import numpy as np
import pytest
import torch

from discrepancy.errors import InputError
from discrepancy.methods.base import Method, new_card
from discrepancy.methods.dfc.model import DFC
from discrepancy.methods.dfc.parameters import DFCParameters


@pytest.fixture(scope="module")
def backbone():
    from discrepancy.features.backbones import build_backbone

    return build_backbone("tf_efficientnet_lite0", layers=["blocks.2", "blocks.4"], weights="random")


@pytest.fixture(scope="module")
def detector(backbone):
    parameters = DFCParameters(width=8)
    card = new_card(DFC, parameters, backbone, image_size=(72, 96), data_digest="d")
    return DFC(backbone, parameters, card).eval()


IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 72, 96), dtype=np.uint8))

OTHERS = {
    "fractions": (IMAGES / 255, "float32 [2, 3, 72, 96]"),
    "floats": (IMAGES.float(), "float32 [2, 3, 72, 96]"),
    "half": (IMAGES.half(), "float16 [2, 3, 72, 96]"),
    "normalised": ((IMAGES / 255 - 0.45) / 0.22, "float32 [2, 3, 72, 96]"),
    "int64": (IMAGES.long(), "int64 [2, 3, 72, 96]"),
    "bool": (IMAGES > 9, "bool [2, 3, 72, 96]"),
    "channels last": (IMAGES.permute(0, 2, 3, 1), "uint8 [2, 72, 96, 3]"),
    "one image": (IMAGES[0], "uint8 [3, 72, 96]"),
    "one photograph": (IMAGES[0].permute(1, 2, 0).numpy(), "uint8 [72, 96, 3]"),
    "grey": (IMAGES[:, :1], "uint8 [2, 1, 72, 96]"),
    "alpha": (torch.cat([IMAGES, IMAGES[:, :1]], 1), "uint8 [2, 4, 72, 96]"),
    "turned": (IMAGES.transpose(2, 3), "uint8 [2, 3, 96, 72]"),
    "other size": (IMAGES[..., :32], "uint8 [2, 3, 72, 32]"),
    "none": (IMAGES[:0], "uint8 [0, 3, 72, 96]"),
    "float array": (IMAGES.numpy() / 255, "float64 [2, 3, 72, 96]"),
    "16 bits": (IMAGES.numpy().astype(np.uint16), "uint16 [2, 3, 72, 96]"),
    "list": (IMAGES.tolist(), "a list"),
    "nothing": (None, "a NoneType"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_but_uint8_rgb_of_its_size_is_refused(detector, name):
    images, found = OTHERS[name]
    with pytest.raises(InputError) as caught:
        detector(images)
    assert found in str(caught.value) and "expects uint8 [N, 3, 72, 96]" in str(caught.value)


@torch.inference_mode()
def test_an_array_gives_the_same_maps_as_a_tensor(detector):
    expected = detector(IMAGES)
    array = IMAGES.numpy()
    frozen = array.copy()
    frozen.setflags(write=False)
    for given in (array, frozen, array[..., ::-1].copy()[..., ::-1], np.asfortranarray(array)):
        assert torch.equal(detector(given), expected)
    assert torch.equal(detector(IMAGES.contiguous(memory_format=torch.channels_last)), expected)


def test_every_method_checks_alike():
    """None has a way around."""
    from discrepancy.methods.registry import METHODS

    assert all(method.forward is Method.forward for method in METHODS.values())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES.float(), "in 0 to 255"),
        ((IMAGES / 255 - 0.45) / 0.22, "in -2.045 to 2.5"),
        (torch.full((1, 3, 72, 72), float("nan")), "nan"),
        (IMAGES.numpy(), "a ndarray"),
        (IMAGES.long(), "int64"),
    ],
)
def test_a_backbone_takes_bytes_or_fractions_alone(backbone, images, words):
    with pytest.raises(InputError, match=words):
        backbone(images)
