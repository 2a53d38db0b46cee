"""A bundle to serve."""

from tests.export.conftest import (  # noqa: F401
    backbone,
    bundle_folder,
    detector,
    features,
    good_images,
    graph,
    method,
    photos,
)
