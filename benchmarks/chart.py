"""A line over two axes as a small picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE, MARGIN = (640, 400), (56, 24, 24, 40)  # pixels; left, top, right, bottom
NUM_TICKS = 6


def draw(path: Path, points: Sequence[tuple[float, float]], titles: tuple[str, str]) -> None:
    """Write a picture of at least two points, joined in their order.

    Args:
        path: of the file.
        points: pairs of x and y.
        titles: of the axes.
    """
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = MARGIN[0], MARGIN[1], SIZE[0] - MARGIN[2], SIZE[1] - MARGIN[3]
    points_N2 = np.array(points)
    low_2, high_2 = points_N2.min(axis=0), points_N2.max(axis=0)
    span_2 = np.where(high_2 > low_2, high_2 - low_2, 1.0)
    for share in np.linspace(0, 1, NUM_TICKS):
        x, y = left + share * (right - left), bottom + share * (top - bottom)
        at_x, at_y = low_2 + share * span_2
        pen.line((left, y, right, y), "#dddddd")
        pen.text((left - 6, y), f"{at_y:.2f}", "black", anchor="rm")
        pen.text((x, bottom + 6), f"{at_x:.3g}", "black", anchor="mt")
    shares_N2 = (points_N2 - low_2) / span_2
    line = [(left + x * (right - left), bottom + y * (top - bottom)) for x, y in shares_N2.tolist()]
    pen.line(line, "#1f5fbf", width=2)
    pen.text(((left + right) / 2, SIZE[1] - 6), titles[0], "black", anchor="mb")
    pen.text((left, 4), titles[1], "black", anchor="lt")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
