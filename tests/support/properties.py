"""How many examples a property is tried on: what the profile says (see tests/conftest.py), or a multiple of it."""

from hypothesis import settings


def examples(times: int) -> settings:
    """Settings for a property whose examples are cheap, or that needs many to meet what it looks for."""
    return settings(max_examples=times * settings().max_examples)
