"""The GANs that the benchmarks compare are what they say they are."""

from atelier.params import load_params
from benchmarks.gan_recipes import gan_model
from tests.support.places import REPOSITORY

BUDGET = {"kimg": None, "minutes": None, "checkpoint_every_kimg": None}


def test_the_second_recipe_is_the_shipped_one():
    shipped = load_params(REPOSITORY / "params.yaml").models["fashion-gan"].model_dump()
    compared = gan_model("fashion", "dcgan", "non-saturating", minutes=4).model_dump()
    for recipe in (shipped, compared):
        recipe["training"] |= BUDGET
    assert compared == shipped
