"""A line over two axes as a small picture (matplotlib, which MLflow brings)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure


def draw(path: Path, points: Sequence[tuple[float, float]], titles: tuple[str, str]) -> None:
    """Write a picture of at least two points, joined in their order.

    Args:
        path: of the file.
        points: pairs of x and y.
        titles: of the axes.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), marker=".")
    axes.set(xlabel=titles[0], ylabel=titles[1])
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
