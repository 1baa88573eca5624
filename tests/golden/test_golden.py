"""Twenty steps of each loop give the losses they always gave.

A change of a network, a loss, a schedule or the order of random numbers shows up here. If it is
meant, write the new losses with `python -m tests.golden.regenerate` in the repository's folder, and
say in the commit why they changed.
"""

import json

import numpy as np
import pytest

from tests.golden.regenerate import CASES, GOLDEN, NUM_STEPS, losses

RTOL = 1e-3  # kernels of other CPUs round differently


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_every_loop_has_golden_losses(golden):
    assert list(golden) == list(CASES)
    assert {len(curve) for curves in golden.values() for curve in curves.values()} == {NUM_STEPS}


@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_give_the_golden_losses(golden, case):
    found = losses(case)
    assert list(found) == list(golden[case])
    for name, curve in found.items():
        np.testing.assert_allclose(curve, golden[case][name], rtol=RTOL, err_msg=f"{case}: {name}")
