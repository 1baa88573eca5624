import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.params import Gate
from atelier.promotion.gate import (
    Measured,
    compare,
    floor_failures,
    improvements_N,
    judge,
    paired_units,
    slice_failures,
)

PSNR = Gate(metric="psnr", floors={"psnr_gain": 0.0})
KID = Gate(metric="kid_classifier", floors={"cas": 0.5, "fd_classifier": 30})
FD = Gate(metric="fd_classifier")
ALPHA = 0.05
NAN = {"value": math.nan, "low": math.nan, "high": math.nan}


def score(low, value, high):
    return {"value": value, "low": low, "high": high}


def generator(low, value, high, cas=0.8, fd=10.0):
    scores = {
        "kid_classifier": score(low, value, high),
        "cas": score(cas, cas, cas),
        "fd_classifier": score(fd, fd, fd),
    }
    return Measured("clothes/1", scores, None)


def restorer(name, psnr_N, gain=1.0, **slices):
    """A version that was scored on as many images as `psnr_N` has values."""
    units = pd.DataFrame(
        {"unit": [f"image {i}" for i in range(len(psnr_N))], "psnr": psnr_N, **slices}
    )
    mean = float(np.mean(psnr_N))
    return Measured(
        name, {"psnr": score(mean - 1, mean, mean + 1), "psnr_gain": score(gain, gain, gain)}, units
    )


def images(rng, count=400):
    """PSNR of images by some restorer.

    They differ much more among each other than two restorers do.
    """
    return rng.normal(25, 3, count)


# -- floors ------------------------------------------------------------------------------------


def test_the_first_version_needs_no_proof():
    quality = judge(PSNR, ALPHA, restorer("a/1", [24.0, 26.0]), None)
    assert (quality.failures, quality.better) == ((), True)
    assert quality.reasons == ("no champion before it; psnr 25 [24, 26]",)


def test_a_floor_that_does_not_hold_refuses_the_blessing():
    quality = judge(PSNR, ALPHA, restorer("a/1", [24.0, 26.0], gain=-0.5), None)
    assert quality.failures == ("psnr_gain is -0.5, below the floor 0",)
    assert quality.as_json()["blessed"] is False


def test_every_floor_that_does_not_hold_is_named():
    quality = judge(
        KID, ALPHA, generator(0.01, 0.02, 0.03, cas=0.4, fd=31), generator(0.1, 0.2, 0.3)
    )
    assert quality.failures == (
        "cas is 0.4, below the floor 0.5",
        "fd_classifier is 31, above the floor 30",
    )
    assert not quality.better


def test_a_value_at_its_floor_holds():
    assert floor_failures(KID, generator(0.01, 0.02, 0.03, cas=0.5, fd=30).scores) == []


@pytest.mark.parametrize("scores", [{}, {"psnr_gain": NAN}], ids=["missing", "not a number"])
def test_a_floor_that_was_not_measured_does_not_hold(scores):
    assert floor_failures(PSNR, scores) == ["psnr_gain was not measured; its floor is 0"]


@pytest.mark.parametrize("champion", [None, restorer("a/1", [24.0, 26.0])], ids=["first", "second"])
@pytest.mark.parametrize("scores", [{}, {"psnr": NAN}], ids=["missing", "not a number"])
def test_a_version_whose_deciding_metric_was_not_measured_is_refused(scores, champion):
    quality = judge(Gate(metric="psnr"), ALPHA, Measured("a/2", scores, None), champion)
    assert quality.failures == ("psnr was not measured, and it decides promotion",)


def test_a_champion_that_was_not_measured_stays():
    quality = judge(PSNR, ALPHA, restorer("a/2", [24.0, 26.0]), Measured("a/1", {}, None))
    assert (quality.failures, quality.better) == ((), False)
    assert quality.reasons == ("not proven better: a/1 has no psnr",)


# -- the paired test ---------------------------------------------------------------------------


def test_a_small_gain_on_every_image_is_proven_although_images_differ_much():
    rng = np.random.default_rng(0)
    old = images(rng)
    quality = judge(
        PSNR, ALPHA, restorer("a/2", old + 0.1 + rng.normal(0, 0.2, 400)), restorer("a/1", old)
    )
    assert quality.better
    assert quality.reasons[0].startswith("better than a/1: psnr +0.0968")
    assert "on 400 pairs (p = " in quality.reasons[0]


def test_what_the_test_says_is_what_scipy_says():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(1)
    found = compare("psnr", rng.normal(0.05, 0.3, 200), "a/1", margin=0.02, alpha=0.05)
    again = ttest_1samp(
        np.random.default_rng(1).normal(0.05, 0.3, 200), 0.02, alternative="greater"
    )
    assert found.p == pytest.approx(again.pvalue)
    assert found.at_least == pytest.approx(again.confidence_interval(0.95).low)
    assert found.better == (again.pvalue < 0.05)


def test_less_is_better_for_a_distance_and_blocks_are_paired():
    def blocks(name, values):
        units = pd.DataFrame({"unit": list("0123456789"), "kid_classifier": values})
        return Measured(name, generator(0.01, 0.02, 0.03).scores, units)

    rng = np.random.default_rng(2)
    old = rng.normal(0.03, 0.01, 10)
    better = judge(
        KID, ALPHA, blocks("g/2", old - 0.004 + rng.normal(0, 0.001, 10)), blocks("g/1", old)
    )
    assert better.better and better.reasons[0].startswith("better than g/1: kid_classifier -0.00")
    assert not judge(KID, ALPHA, blocks("g/2", old + 0.004), blocks("g/1", old)).better


def test_the_gain_has_to_exceed_the_margin():
    rng = np.random.default_rng(3)
    old = images(rng)
    new = restorer("a/2", old + 0.1 + rng.normal(0, 0.2, 400))
    assert judge(Gate(metric="psnr", margin=0.05), ALPHA, new, restorer("a/1", old)).better
    quality = judge(Gate(metric="psnr", margin=0.2), ALPHA, new, restorer("a/1", old))
    assert not quality.better
    assert (
        quality.reasons[0].startswith("not proven better than a/1")
        and "margin 0.2" in quality.reasons[0]
    )


def test_the_same_weights_are_not_better_and_a_constant_gain_is():
    old = images(np.random.default_rng(4))
    assert not judge(PSNR, ALPHA, restorer("a/2", old), restorer("a/1", old)).better
    assert compare("psnr", np.full(9, 0.5), "a/1", 0.0, ALPHA).better


def test_only_units_that_both_were_scored_on_are_compared():
    new, old = restorer("a/2", [1.0, 2, 3, 4]).units, restorer("a/1", [9.0, 1, 2, 3, 4]).units
    old = old.assign(unit=["gone", *old["unit"][:4]])
    pairs = paired_units("psnr", new, old)
    assert list(pairs["unit"]) == ["image 0", "image 1", "image 2", "image 3"]
    assert improvements_N("psnr", pairs).tolist() == [0, 0, 0, 0]
    assert paired_units("psnr", new, old[:2]) is None  # one pair has no spread
    assert paired_units("ssim", new, old) is None
    assert paired_units("psnr", new, None) is None


def test_a_metric_of_the_whole_set_needs_intervals_apart():
    def distance(name, low, value, high):
        return Measured(name, {"fd_classifier": score(low, value, high)}, None)

    champion = distance("g/1", 2.0, 3.0, 4.0)
    better = judge(FD, ALPHA, distance("g/2", 0.5, 1.0, 1.9), champion)
    assert better.better
    assert better.reasons == (
        "better, intervals apart: fd_classifier 1 [0.5, 1.9] against g/1's fd_classifier 3 [2, 4]",
    )
    for low, high in ((0.5, 2.0), (0.5, 2.1), (5.0, 6.0)):
        assert not judge(FD, ALPHA, distance("g/2", low, low, high), champion).better
    assert not judge(
        Gate(metric="fd_classifier", margin=0.2), ALPHA, distance("g/2", 0.5, 1.0, 1.9), champion
    ).better


@given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.5))
def test_no_two_versions_beat_each_other(seed, shift):
    rng = np.random.default_rng(seed)
    old = images(rng, 30)
    first, second = restorer("a/1", old), restorer("a/2", old + shift + rng.normal(0, 0.3, 30))
    beats = [judge(PSNR, ALPHA, a, b).better for a, b in ((first, second), (second, first))]
    assert sum(beats) <= 1


# -- how often it is wrong ---------------------------------------------------------------------

PAIRS = 200


def share_promoted(gate, draw, alpha=ALPHA):
    """Of simulated pairs, how many of the second versions are promoted.

    `draw` gives the scores of two versions.
    """
    rng = np.random.default_rng(20261123)
    promoted = 0
    for _ in range(PAIRS):
        old, new = draw(rng)
        promoted += judge(gate, alpha, new, old).better
    return promoted / PAIRS


def monte_carlo_error(rate):
    """Three standard errors of a share of `PAIRS` trials."""
    return 3 * math.sqrt(rate * (1 - rate) / PAIRS)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_of_equal_restorers_no_more_than_alpha_are_promoted(alpha):
    def equal(rng):
        hard = images(rng)
        return [restorer(name, hard + rng.normal(0, 0.3, 400)) for name in ("a/1", "a/2")]

    assert share_promoted(PSNR, equal, alpha) <= alpha + monte_carlo_error(alpha)


def test_of_equal_classifiers_no_more_than_alpha_are_promoted():
    def equal(rng):
        versions = []
        for name in ("a/1", "a/2"):
            hits = (rng.random(2000) < 0.91).astype(float)
            units = pd.DataFrame({"unit": [str(i) for i in range(2000)], "accuracy": hits})
            versions.append(Measured(name, {"accuracy": score(0.9, 0.91, 0.92)}, units))
        return versions

    assert share_promoted(Gate(metric="accuracy"), equal) <= ALPHA + monte_carlo_error(ALPHA)


def test_of_equal_generators_no_more_than_alpha_are_promoted():
    def equal(rng):
        shared = rng.normal(0.02, 0.003, 10)  # the real images of the ten blocks are the same
        return [
            Measured(
                name,
                generator(0.01, 0.02, 0.03).scores,
                pd.DataFrame(
                    {
                        "unit": list("0123456789"),
                        "kid_classifier": shared + rng.normal(0, 0.002, 10),
                    }
                ),
            )
            for name in ("g/1", "g/2")
        ]

    assert share_promoted(KID, equal) <= ALPHA + monte_carlo_error(ALPHA)


def test_a_true_gain_of_a_tenth_of_a_decibel_is_found_nine_times_in_ten():
    """Power by the normal approximation: Phi(0.1 / (0.5 / sqrt(400)) - 1.645) = 0.991."""

    def better(rng):
        hard = images(rng)
        return restorer("a/1", hard), restorer("a/2", hard + 0.1 + rng.normal(0, 0.5, 400))

    assert share_promoted(PSNR, better) >= 0.991 - monte_carlo_error(0.991)


def test_half_of_the_gains_of_a_size_that_has_even_odds_are_found():
    """A true gain of 1.645 standard errors is found in half of the cases, as the theory says.

    No more, no less.
    """

    def on_the_edge(rng):
        hard = images(rng)
        return restorer("a/1", hard), restorer(
            "a/2", hard + 1.645 * 0.5 / 20 + rng.normal(0, 0.5, 400)
        )

    assert share_promoted(PSNR, on_the_edge) == pytest.approx(0.5, abs=monte_carlo_error(0.5))


# -- slices ------------------------------------------------------------------------------------

SLICED = Gate(metric="psnr", slice_margin=0.2)
CLASSES = ["shirt", "shoe"] * 200


def test_a_version_that_is_better_on_the_whole_and_worse_in_a_class_is_refused():
    rng = np.random.default_rng(5)
    old = images(rng)
    change = np.where(np.array(CLASSES) == "shoe", -0.5, 1.5) + rng.normal(0, 0.3, 400)
    new, champion = (
        restorer(name, psnr, **{"class": CLASSES})
        for name, psnr in (("a/2", old + change), ("a/1", old))
    )
    quality = judge(SLICED, ALPHA, new, champion)
    assert quality.better
    (failure,) = quality.failures
    assert (
        failure.startswith("worse in the slice class shoe: psnr by 0.")
        and "on 200 images" in failure
    )
    assert not judge(
        Gate(metric="psnr"), ALPHA, new, champion
    ).failures  # only where the parameters ask for it
    assert not judge(Gate(metric="psnr", slice_margin=0.6), ALPHA, new, champion).failures


def test_levels_are_slices_and_small_slices_prove_nothing():
    rng = np.random.default_rng(6)
    old = images(rng)
    levels = ["low"] * 381 + ["high"] * 19
    change = np.where(np.array(levels) == "high", -2.0, 0.1)
    new, champion = (
        restorer(name, psnr, level=levels) for name, psnr in (("a/2", old + change), ("a/1", old))
    )
    assert slice_failures(SLICED, ALPHA, new, champion) == []
    levels[380] = "high"
    new, champion = (
        restorer(name, psnr, level=levels) for name, psnr in (("a/2", old + change), ("a/1", old))
    )
    assert [failure.split(":")[0] for failure in slice_failures(SLICED, ALPHA, new, champion)] == [
        "worse in the slice level high"
    ]


def test_of_versions_that_are_worse_nowhere_no_more_than_alpha_are_refused_for_a_slice():
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(PAIRS):
        old = images(rng)
        change = -0.2 + rng.normal(
            0, 0.5, 400
        )  # in every class exactly as much worse as is allowed
        names = [str(i % 10) for i in range(400)]
        versions = [
            restorer(name, psnr, **{"class": names})
            for name, psnr in (("a/2", old + change), ("a/1", old))
        ]
        refused += bool(slice_failures(SLICED, ALPHA, *versions))
    assert refused / PAIRS <= ALPHA + monte_carlo_error(ALPHA)
