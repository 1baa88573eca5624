"""The page generates images: in a real browser, by a real champion."""

import numpy as np
import pytest

from tests.support.page_visits import ask_generate, choose, pixels_in, rgb, wait_for_result

pytestmark = [pytest.mark.service, pytest.mark.slow]


def test_images_come_by_class_and_seed_and_the_address_brings_them_back(tab, address):
    choose(tab, address, "clothes")
    tab.get("document.querySelector('#class').value = 'shoe'")
    tab.write("#number", "4")
    tab.write("#truncation", "0.7")
    tab.write("#seed", "3")
    tab.press("Enter")
    tab.wait_for_text("#status", "clothes version 1 generated 4 images of shoe by seed 3.")
    wait_for_result(tab)
    wish = {"class": "shoe", "seed": 3, "number": 4, "truncation": 0.7}
    third = rgb(ask_generate(address, **wish))
    assert np.array_equal(pixels_in(tab, "after"), third)
    shared = tab.get("location.href")

    tab.write("#seed", "4")
    tab.press("Enter")
    tab.wait_for_text("#status", "generated 4 images of shoe by seed 4")
    wait_for_result(tab)
    assert np.array_equal(
        pixels_in(tab, "after"), rgb(ask_generate(address, **{**wish, "seed": 4}))
    )
    tab.get("history.back()")
    tab.wait_for_text("#status", "generated 4 images of shoe by seed 3")
    wait_for_result(tab)
    assert np.array_equal(pixels_in(tab, "after"), third)

    tab.open("about:blank")
    tab.open(shared)
    wait_for_result(tab)
    assert np.array_equal(pixels_in(tab, "after"), third)
    fields = (
        "['class', 'seed', 'number', 'truncation'].map((id) => document.getElementById(id).value)"
    )
    assert tab.get(fields) == ["shoe", "3", "4", "0.7"]


def test_another_seed_is_another(tab, address):
    choose(tab, address, "clothes")
    tab.write("#seed", "3")
    tab.click("#another")
    wait_for_result(tab)
    seed = int(tab.get("document.querySelector('#seed').value"))
    assert seed != 3
    assert f"seed={seed}" in tab.get("location.hash")
    assert np.array_equal(pixels_in(tab, "after"), rgb(ask_generate(address, seed=seed)))
