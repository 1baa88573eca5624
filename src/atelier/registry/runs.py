"""Training runs in MLflow: what happened, logged in batches."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.metrics.intervals import Score
from atelier.registry.connection import Connection

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FLUSH_SECONDS = 5.0  # metrics wait this long, then go in one batch: a single call costs 10 ms, a batch of 1,000 90 ms
SCORE_PARTS = {"value": "", "low": ".low", "high": ".high"}


class Runs:
    """The training runs; one experiment a model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, model: str, fingerprint: str, tags: Mapping[str, str]) -> str:
        """The run of the training with this fingerprint: an unfinished one is taken up again, else a new one."""
        with self._connection.explained("start a run"):
            experiment = self._experiment(model)
            unfinished = self._connection.client.search_runs(
                [experiment],
                f"tags.fingerprint = '{fingerprint}' and attributes.status != 'FINISHED'",
                max_results=1,
            )
            if unfinished:
                run_id = str(unfinished[0].info.run_id)
                self._connection.client.update_run(run_id, status="RUNNING")
            else:
                name = f"{model}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
                run_id = str(self._connection.client.create_run(experiment, run_name=name).info.run_id)
            for key, value in {**tags, "fingerprint": fingerprint, "kind": "training"}.items():
                self._connection.client.set_tag(run_id, key, value)
            return run_id

    def _experiment(self, model: str) -> str:
        existing = self._connection.client.get_experiment_by_name(model)
        if existing is not None:
            return str(existing.experiment_id)
        local = self._connection.uri.startswith("sqlite:")  # a server keeps artifacts where it was told to
        location = (self._connection.project.root / "mlruns").as_uri() if local else None
        return str(self._connection.client.create_experiment(model, artifact_location=location))

    def end(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        with self._connection.explained("end a run"):
            self._connection.client.set_terminated(run_id, status)

    def log_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log parameters; the same values may be logged again by a resumed run."""
        from mlflow.entities import Param

        with self._connection.explained("log parameters"):
            self._connection.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in values.items()])

    def log_files(self, run_id: str, folder: str, files: Mapping[str, str | np.ndarray | pd.DataFrame]) -> None:
        """Log artifacts by file name: text, uint8 HWC pictures, or tables (CSV)."""
        with self._connection.explained("log artifacts"):
            for name, content in files.items():
                target = f"{folder}/{name}" if folder else name
                if isinstance(content, str):
                    self._connection.client.log_text(run_id, content, target)
                elif hasattr(content, "to_csv"):
                    self._connection.client.log_text(run_id, content.to_csv(index=False), target)
                else:
                    self._connection.client.log_image(run_id, content, target)

    def read_json(self, run_id: str, path: str) -> dict[str, Any] | None:
        """A JSON artifact of a run, or None if it has none of that name."""
        try:
            local = self._connection.mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path)
        except (self._connection.mlflow.exceptions.MlflowException, OSError):
            return None
        return dict(json.loads(Path(local).read_text(encoding="utf-8")))

    def fetch_pictures(self, run_id: str, folder: Path, prefix: str) -> list[Path]:
        """Copy the pictures of a run's evaluation to `folder/PREFIX-NAME`; returns the copies."""
        copies = []
        with self._connection.explained("fetch pictures"), tempfile.TemporaryDirectory() as scratch:
            fetched = Path(self._connection.client.download_artifacts(run_id, "evaluation", scratch))
            folder.mkdir(parents=True, exist_ok=True)
            for picture in sorted(fetched.glob("*.png")):
                copies.append(Path(shutil.copy(picture, folder / f"{prefix}-{picture.name}")))
        return copies

    def log_scores(self, run_id: str, scores: Mapping[str, Score]) -> None:
        """Log each score as three metrics: `test/NAME`, `test/NAME.low`, `test/NAME.high`."""
        log = RunLog(self._connection, run_id)
        for name, score in scores.items():
            log.metrics(0, {f"test/{name}{suffix}": getattr(score, part) for part, suffix in SCORE_PARTS.items()})
        log.flush()

    def scores(self, run_id: str) -> dict[str, dict[str, float]]:
        """The newest test scores of a run: {metric: {"value", "low", "high"}}; empty if it wasn't evaluated."""
        with self._connection.explained("read scores"):
            metrics = self._connection.client.get_run(run_id).data.metrics
        names = [key.removeprefix("test/") for key in metrics if key.startswith("test/") and f"{key}.low" in metrics]
        return {name: {part: metrics[f"test/{name}{suffix}"] for part, suffix in SCORE_PARTS.items()} for name in names}


class RunLog:
    """Buffered metrics and pictures of a running training."""

    def __init__(self, connection: Connection, run_id: str) -> None:
        self._connection, self._run_id = connection, run_id
        self._buffer: list[Any] = []
        self._flushed = time.monotonic()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add metrics at a step (images seen); they are sent every few seconds."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._buffer += [Metric(key, float(value), now, step) for key, value in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS or len(self._buffer) > 900:
            self.flush()

    def image(self, step: int, key: str, picture: np.ndarray) -> None:
        """Add a uint8 HWC picture at a step."""
        with self._connection.explained("log a picture"):
            self._connection.client.log_image(self._run_id, picture, key=key, step=step)

    def flush(self) -> None:
        """Send what is buffered."""
        with self._connection.explained("log metrics"):
            for start in range(0, len(self._buffer), 1000):  # MLflow takes at most 1,000 at once
                self._connection.client.log_batch(self._run_id, metrics=self._buffer[start : start + 1000])
        self._buffer, self._flushed = [], time.monotonic()
