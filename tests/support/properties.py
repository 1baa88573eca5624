"""How many examples a property is tried on: as many as the profile in conftest.py says, or more."""

from hypothesis import settings


def examples(times: int) -> settings:
    """So many times the examples of the profile, for a property that needs many of them."""
    return settings(max_examples=times * settings().max_examples)
