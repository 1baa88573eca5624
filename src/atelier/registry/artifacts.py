"""The files of a run: up to MLflow, and down from it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    Content = str | bytes | np.ndarray | pd.DataFrame

PICTURES = "evaluation"  # the folder of a run's pictures


def upload(client: Any, run_id: str, target: str, content: Content) -> None:
    """Log a file by its path in the run: text, bytes, a uint8 HWC picture, or a table (CSV)."""
    if isinstance(content, str):
        client.log_text(run_id, content, target)
    elif isinstance(content, bytes):
        _upload_bytes(client, run_id, target, content)
    elif hasattr(content, "to_csv"):
        client.log_text(run_id, content.to_csv(index=False), target)
    else:
        client.log_image(run_id, content, target)


def _upload_bytes(client: Any, run_id: str, target: str, content: bytes) -> None:
    folder, _, name = target.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / name
        file.write_bytes(content)
        client.log_artifact(run_id, str(file), folder or None)


def download(client: Any, run_id: str, path: str) -> bytes | None:
    """The content of a file, or None if the run has none of that name."""
    folder, _, _ = path.rpartition("/")
    if path not in _paths_in(client, run_id, folder or None):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        return Path(client.download_artifacts(run_id, path, scratch)).read_bytes()


def download_pictures(client: Any, run_id: str) -> dict[str, bytes]:
    """The PNG files of a run's evaluation, by name."""
    if PICTURES not in _paths_in(client, run_id, None):
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(client.download_artifacts(run_id, PICTURES, scratch))
        return {picture.name: picture.read_bytes() for picture in sorted(folder.glob("*.png"))}


def _paths_in(client: Any, run_id: str, folder: str | None) -> set[str]:
    return {file.path for file in client.list_artifacts(run_id, folder)}
