"""Champions by decree, for tests of what is built on champions in projects without DVC, which the gate would refuse."""

from atelier import promotion
from atelier.promotion.aliases import proposal_of


def crown(registry, name, number):
    """Make a version champion, as a promotion does, unless it is."""
    if "verdict" in registry.version(name, number).tags:
        return
    proposal = proposal_of(registry, registry.version(name, number), "promoted", ("by a test",))
    promotion.commit(registry, proposal)
