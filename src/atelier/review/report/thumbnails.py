"""Pictures of versions, small enough for a page that has many."""

from __future__ import annotations

import base64
import io

from PIL import Image

from atelier.errors import RegistryError
from atelier.registry import Registry, Version
from atelier.review.report.contents import Thumbnail

MAIN = {  # the picture that says most of a version, by kind of model
    "classification": "confusion.png",
    "gan": "generated.png",
    "restoration": "restored.png",
    "translation": "restored.png",
}
SIDE = 320  # pixels at most; 10 to 30 kB as WebP
MOST = 6  # of one model
MOST_IN_ALL = 120  # of all together: they are 1 to 4 MB
LEAST = 2  # of one model, whatever the number of models


class Thumbnails:
    """Fetches pictures from the registry.

    After the first failure it fetches none any more, for each may wait for a timeout.
    """

    def __init__(self, registry: Registry, num_models: int) -> None:
        self._runs = registry.runs
        self.limit = max(LEAST, min(MOST, MOST_IN_ALL // max(1, num_models)))
        self.problems: list[str] = []

    def of(self, version: Version, kind: str) -> Thumbnail | None:
        """The main picture of a version; None if it has none, or none that can be read."""
        if self.problems or kind not in MAIN:
            return None
        try:
            png = self._runs.read_bytes(version.run_id, f"evaluation/{MAIN[kind]}")
        except RegistryError as error:
            self.problems.append(f"pictures are missing: {error}")
            return None
        return None if png is None else shrink(png)


def shrink(png: bytes) -> Thumbnail | None:
    """Reduce a picture by a whole factor, so that the pixels of small images stay even.

    Returns:
        None if it can't be read.
    """
    try:
        with Image.open(io.BytesIO(png)) as image:
            small = image.convert("RGB").reduce(-(-max(image.size) // SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    target = io.BytesIO()
    small.save(target, "WEBP", quality=80)
    content = base64.b64encode(target.getvalue()).decode()
    return Thumbnail(f"data:image/webp;base64,{content}", *small.size)
