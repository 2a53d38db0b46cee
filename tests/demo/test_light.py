"""Lights: the usual one changes nothing, others change what they say, in good and defective images alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from discrepancy.demo import CATEGORIES, DIM, LIGHTS, USUAL, Light, dataset
from discrepancy.demo.part import Part
from discrepancy.demo.photograph import Setting, digitise, expose, shade
from discrepancy.demo.picture import SUPERSAMPLING, take
from discrepancy.demo.surface import Grid, Surface, rgb
from discrepancy.errors import InputError

SHEET = Part(
    draw=lambda _: None, build=lambda _, grid: Surface.plain(grid, rgb((0.3, 0.3, 0.3))), defects={}
)  # a grey sheet of paper
KINDS = [(category, kind) for category, part in dataset.PARTS.items() for kind in (None, next(iter(part.defects)))]


def seeds() -> np.random.SeedSequence:
    return np.random.SeedSequence(11)


def linear(light: Light) -> np.ndarray:
    """The sensor's picture of the grey sheet, the gamma curve undone; nothing is so bright as to clip."""
    grey = take(SHEET, seeds(), 96, light=light).image
    assert grey.max() < 255 * 0.7 ** (1 / 2.2)
    return (grey / 255.0) ** 2.2


def colours(light: Light) -> np.ndarray:
    """Mean red, green and blue under a light relative to those under the usual one."""
    return linear(light).mean((0, 1)) / linear(USUAL).mean((0, 1))


def grain(light: Light) -> float:
    """Standard deviation of the noise relative to that under the usual light, from neighbouring pixels."""
    return float(np.diff(linear(light), axis=1).std() / np.diff(linear(USUAL), axis=1).std())


# The usual light


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_the_usual_light_is_that_of_a_renderer_that_knows_no_light(category: str, kind: str | None) -> None:
    part = dataset.PARTS[category]
    for_scene, for_setting, for_defect, for_noise = map(np.random.default_rng, seeds().spawn(4))
    scene, setting = part.draw(for_scene), Setting.draw(for_setting)
    if kind is not None:
        scene = part.defects[kind](scene, for_defect)
    surface = part.build(scene, Grid.of_picture(round(64 * SUPERSAMPLING)))
    expected = digitise(expose(shade(surface, setting), setting, 64), setting, for_noise)
    np.testing.assert_array_equal(take(part, seeds(), 64, kind).image, expected)
    np.testing.assert_array_equal(take(part, seeds(), 64, kind, light=LIGHTS["usual"]).image, expected)


def test_the_usual_light_changes_no_bit_of_a_setting() -> None:
    settings = [Setting.draw(np.random.default_rng(seed)) for seed in range(20)]
    assert [setting.under(USUAL) for setting in settings] == settings


# Other lights


def test_exposure_is_a_factor_of_the_light() -> None:
    np.testing.assert_allclose(colours(Light(exposure=0.5)), 0.5, rtol=0.02)
    np.testing.assert_allclose(colours(Light(exposure=1.2)), 1.2, rtol=0.02)


def test_warmth_moves_light_from_blue_to_red() -> None:
    own = Setting.draw(np.random.default_rng(seeds().spawn(4)[1])).warmth
    expected = [(1 + own + 0.2) / (1 + own), 1, (1 - own - 0.2) / (1 - own)]
    np.testing.assert_allclose(colours(Light(warmth=0.2)), expected, rtol=0.02)
    assert colours(Light(warmth=-0.2))[0] < 0.85


def test_falloff_brightens_the_right_and_the_lower_edge() -> None:
    to_the_right, downwards = (
        linear(Light(falloff=falloff))[..., 1] / linear(USUAL)[..., 1] for falloff in ((0.3, 0.0), (0.0, 0.3))
    )
    for ratio, axis in ((to_the_right, 0), (downwards, 1)):
        along = ratio.mean(axis)
        assert along[-8:].mean() > 1.1 and along[:8].mean() < 0.9
        assert np.ptp(ratio.mean(1 - axis)) < 0.1


def test_noise_is_a_factor_of_the_cameras_noise() -> None:
    assert grain(Light(noise=3.0)) == pytest.approx(3, rel=0.1)
    assert grain(Light(noise=0.0)) < 0.3, "the steps of 8 bits remain"


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_a_dim_lamp_is_darker_and_warmer_in_good_and_defective_images(category: str, kind: str | None) -> None:
    usual, dim = (take(dataset.PARTS[category], seeds(), 96, kind, light=light) for light in (USUAL, DIM))
    usual_rgb, dim_rgb = (picture.image.mean((0, 1)) for picture in (usual, dim))
    assert 0.5 < dim_rgb.mean() / usual_rgb.mean() < 0.85
    assert dim_rgb[0] / dim_rgb[2] > 1.1 * usual_rgb[0] / usual_rgb[2]
    assert np.corrcoef(usual.image.ravel(), dim.image.ravel())[0, 1] > 0.85, "the part is the same"


def test_a_dim_lamp_makes_a_noisier_photograph_though_less_light_has_less_noise() -> None:
    assert grain(DIM) > 1.4
    assert grain(Light(exposure=DIM.exposure)) < 0.8


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_mask_does_not_depend_on_the_light(category: str) -> None:
    part = dataset.PARTS[category]
    for kind in part.defects:
        usual, dim = (take(part, seeds(), 64, kind, light=light).mask for light in (USUAL, DIM))
        np.testing.assert_array_equal(usual, dim)


# Wrong input


@pytest.mark.parametrize(
    "wrong",
    [
        {"exposure": 0.0},
        {"exposure": float("inf")},
        {"warmth": 0.6},
        {"warmth": float("nan")},
        {"falloff": (0.3, -0.3)},
        {"noise": -1.0},
        {"noise": float("nan")},
    ],
)
def test_quantities_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    ((name, _),) = wrong.items()
    with pytest.raises(InputError, match=f"^{name} of a light is .*; expected"):
        Light(**wrong)
