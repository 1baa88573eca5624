"""The stages of a plan that will do something, as they are shown while a run goes on."""

from __future__ import annotations

from collections.abc import Iterable

from atelier.factory.plan import Item
from atelier.ui.fleet import Stage


def stages_of(plan: Iterable[Item]) -> list[Stage]:
    """In the order of the plan."""
    stages: list[Stage] = []
    for item in plan:
        stages += _of_item(item)
    return stages


def _of_item(item: Item) -> list[Stage]:
    name = item.name
    if not item.action:
        return []
    if item.action == "ingest":
        return [Stage(name, "ingest")]
    stages = []
    if item.action == "train":
        stages.append(Stage(name, "train", item.seconds))
    if item.action != "judge":
        stages.append(Stage(name, "evaluate"))
    tags = item.version.tags if item.version else {}
    if "blessing.infrastructure" not in tags:
        stages.append(Stage(name, "inspect"))
    if "verdict" not in tags:
        stages.append(Stage(name, "judge"))
    return stages
