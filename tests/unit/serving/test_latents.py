"""What a GAN's latents become by `truncation`, and on the way `toward` another seed."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, truncnorm

from atelier.serving.served_model import ServedModel, draw_latents, interpolate, truncate
from tests.support.registered import make_bundle

Z_NZ = draw_latents(2000, 8, torch.Generator().manual_seed(3))
THRESHOLDS = st.floats(1e-3, 30)


@given(threshold=THRESHOLDS)
def test_truncated_latents_stay_within_and_keep_their_order(threshold):
    truncated_NZ = truncate(Z_NZ, threshold)
    assert truncated_NZ.abs().max() <= torch.tensor(threshold)
    order_N = Z_NZ.flatten().argsort()
    assert (truncated_NZ.flatten()[order_N].diff() >= 0).all()


@given(low=THRESHOLDS, high=THRESHOLDS)
def test_a_latent_goes_outward_as_the_threshold_grows(low, high):
    low, high = sorted((low, high))
    assert (truncate(Z_NZ, low).abs() <= truncate(Z_NZ, high).abs() + 1e-6).all()


def test_truncated_latents_are_of_the_truncated_normal_distribution():
    expected_NZ = truncnorm.ppf(norm.cdf(Z_NZ.double().numpy()), -0.7, 0.7)
    np.testing.assert_allclose(truncate(Z_NZ, 0.7), expected_NZ, atol=1e-6)
    np.testing.assert_allclose(truncate(Z_NZ, 30.0), Z_NZ, atol=1e-5)
    assert truncate(Z_NZ, 0) is Z_NZ


@given(amount=st.floats(0, 1))
def test_the_way_is_a_great_circle(amount):
    start_NZ = torch.nn.functional.normalize(Z_NZ[:1000])
    end_NZ = torch.nn.functional.normalize(Z_NZ[1000:])
    between_NZ = interpolate(amount, start_NZ, end_NZ)
    np.testing.assert_allclose(between_NZ.norm(dim=1), 1, atol=1e-5)
    whole_N = (start_NZ * end_NZ).sum(dim=1).clamp(-1, 1).acos()
    part_N = (start_NZ * between_NZ).sum(dim=1).clamp(-1, 1).acos()
    np.testing.assert_allclose(part_N, amount * whole_N, atol=2e-3)  # acos near 1


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_latents_of_one_direction_or_opposite_ones_meet_on_the_line(factor):
    start_NZ = Z_NZ[:5]
    between_NZ = interpolate(0.25, start_NZ, factor * start_NZ)
    np.testing.assert_allclose(between_NZ, (0.75 + 0.25 * factor) * start_NZ, atol=1e-3)


@pytest.fixture(scope="module", params=["dcgan", "progressive", "refined"])
def draw(request, tmp_path_factory):
    served = ServedModel()
    bundle = make_bundle(tmp_path_factory.mktemp("bundle"), request.param)
    served.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))
    return lambda **row: served.predict(None, pd.DataFrame([{"class": -1, "seed": 4, **row}]))


def test_the_ends_of_the_way_are_the_images_of_the_two_seeds(draw):
    for options in ({}, {"truncation": 0.5}):
        start = draw(num_images=5, **options)
        end = draw(num_images=5, seed=2**40, **options)
        for amount, expected in ((0.0, start), (1.0, end)):
            answer = draw(num_images=5, toward=2**40, amount=amount, **options)
            np.testing.assert_array_equal(answer, expected)
        middle = draw(num_images=5, toward=2**40, amount=0.5, **options)
        assert min(np.abs(middle - start).max(), np.abs(middle - end).max()) > 1e-3


def test_an_image_depends_on_seed_and_index_alone(draw):
    options = {"truncation": 0.8, "toward": 9, "amount": 0.3}
    np.testing.assert_allclose(
        draw(num_images=300, **options)[:3], draw(num_images=3, **options), atol=1e-5
    )


# Not of `progressive`, which divides latents by their length.
@pytest.mark.parametrize("draw", ["dcgan", "refined"], indirect=True)
def test_truncation_changes_images_and_brings_them_together(draw):
    spreads = []
    for threshold in (0.1, 1.0, 0.0):
        x_NCHW = draw(num_images=60, truncation=threshold, **{"class": 0})
        spreads.append(x_NCHW.std(axis=0).mean())
    assert spreads == sorted(set(spreads))


@pytest.mark.parametrize(
    "row",
    [
        {"truncation": -0.1},
        {"truncation": float("nan")},
        {"truncation": float("inf")},
        {"truncation": "much"},
        {"amount": 1.1},
        {"amount": -0.1},
        {"amount": None},
    ],
)
def test_what_no_latent_can_be_is_refused_in_words(draw, row):
    with pytest.raises(ValueError, match="must be a number above 0, or 0 for none, and amount"):
        draw(num_images=1, **row)
