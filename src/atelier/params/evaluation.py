"""The records below `evaluation` in params.yaml."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atelier.params.record import Record


class Pixels(Record):
    """What is done to images before they are compared; published tables of a task agree on it."""

    luma: bool = False  # of colour images compare Y of BT.601 alone, as MATLAB's rgb2ycbcr makes it
    # Pixels that are left out all round; of enlarged images their factor.
    border: int = Field(default=0, ge=0)
    round: bool = False  # to 8 bits, as in a file


class Lpips(Record):
    """Weights of LPIPS, which nobody may have to download: a TorchScript file of yours."""

    # Of two NCHW images in [-1, 1] it makes N distances; from the project folder.
    path: str = Field(min_length=1)
    # Of the file: numbers of other weights can't be compared.
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def resolve_paths(self, project_root: Path) -> Lpips:
        """The same file as it is to be opened from anywhere."""
        return self.model_copy(update={"path": str(project_root / self.path)})
