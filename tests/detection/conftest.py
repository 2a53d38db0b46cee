"""The tiny data set's fixtures."""

from tests.tiny import backbone, features, good_images  # noqa: F401
