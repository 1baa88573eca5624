"""Training runs in MLflow: what happened, logged in batches."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.errors import RegistryError
from atelier.machine.places import is_database_file
from atelier.machine.processes import identify
from atelier.metrics.intervals import Score
from atelier.registry.connection import Connection, every_page
from atelier.registry.records import (
    NOTE,
    SCORE_PARTS,
    RunRecord,
    gone,
    record_of,
    scores_in,
    without_files,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FLUSH_SECONDS = 5.0  # metrics wait this long, then go in one batch: a single call costs 10 ms, a batch of 1,000 90 ms


class Runs:
    """The training runs; one experiment a model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(
        self,
        experiment_name: str,
        fingerprint: str,
        tags: Mapping[str, str],
        kind: str = "training",
    ) -> str:
        """The run of the work with this fingerprint: an unfinished one is taken up again, else a new one."""
        with self._connection.explained("start a run"):
            experiment = self.experiment(experiment_name)
            unfinished = self._connection.client.search_runs(
                [experiment],
                f"tags.fingerprint = '{fingerprint}' and attributes.status != 'FINISHED'",
                max_results=1,
            )
            if unfinished:
                run_id = str(unfinished[0].info.run_id)
                self._connection.client.update_run(run_id, status="RUNNING")
            else:
                name = f"{experiment_name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
                run_id = str(
                    self._connection.client.create_run(experiment, run_name=name).info.run_id
                )
            own = {"fingerprint": fingerprint, "kind": kind, **_process_tags()}
            for key, value in {**tags, **own}.items():
                self._connection.client.set_tag(run_id, key, value)
            return run_id

    def finished(self, experiment_name: str, fingerprint: str) -> bool:
        """Whether the work with this fingerprint has been done."""
        with self._connection.explained("look for a run"):
            found = self._connection.client.search_runs(
                [self.experiment(experiment_name)],
                f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
        return bool(found)

    def experiment(self, name: str) -> str:
        """Number of the experiment of this name, which is made if it isn't there."""
        existing = self._connection.client.get_experiment_by_name(name)
        if existing is not None and existing.lifecycle_stage == "deleted":
            raise RegistryError(
                f"the experiment {name} was deleted in MLflow, at {self._connection.uri}, and its runs with it. "
                "Bring it back: mlflow experiments restore --experiment-id "
                f"{existing.experiment_id} (with MLFLOW_TRACKING_URI set to that address)."
            )
        if existing is not None:
            return str(existing.experiment_id)
        local = is_database_file(
            self._connection.uri
        )  # a server keeps artifacts where it was told to
        location = (self._connection.project.root / "mlruns").as_uri() if local else None
        return str(self._connection.client.create_experiment(name, artifact_location=location))

    def end(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        with self._connection.explained("end a run"):
            self._connection.client.set_terminated(run_id, status)

    def end_dead(self, why_dead: Callable[[Mapping[str, str]], str]) -> list[str]:
        """Close as KILLED the runs that can't be at work any more; one line for each.

        Args:
            why_dead: given the tags of a run that is said to be RUNNING, why its process is gone;
                empty if it may go on.
        """
        lines = []
        with self._connection.explained("look for dead runs"):
            client = self._connection.client
            experiments = [item.experiment_id for item in every_page(client.search_experiments)]
            at_work = "attributes.status = 'RUNNING'"
            running = every_page(
                client.search_runs, experiment_ids=experiments, filter_string=at_work
            )
        for run in running:
            if reason := why_dead(run.data.tags):
                self.note(run.info.run_id, f"killed: {reason}")
                self.end(run.info.run_id, "KILLED")
                lines.append(f"MLflow run {run.info.run_name}: {reason}")
        return lines

    def note(self, run_id: str, sentence: str) -> None:
        """Add a line to the description of a run, which MLflow shows above everything else."""
        with self._connection.explained("add a note to a run"):
            before = self._connection.client.get_run(run_id).data.tags.get(NOTE, "")
            self._connection.client.set_tag(run_id, NOTE, f"{before}- {sentence}\n")

    def log_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log parameters; the same values may be logged again by a resumed run."""
        from mlflow.entities import Param

        with self._connection.explained("log parameters"):
            self._connection.client.log_batch(
                run_id, params=[Param(key, str(value)) for key, value in values.items()]
            )

    def log_input(
        self, run_id: str, dataset: str, md5: str, context: str, counts: Mapping[Any, int]
    ) -> None:
        """Log which version of a dataset a run used, so that it is shown, and can be searched for, in MLflow.

        Args:
            run_id: the run.
            dataset: its name.
            md5: the version of data/ as data.dvc names it, `<md5>.dir`: the 36 characters that MLflow has room for.
            context: what it was used for, such as "training".
            counts: images in each split.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"path": f"data/{dataset}", "dvc": "data.dvc", "md5": md5})
        used = Dataset(dataset, md5, "dvc", source, profile=json.dumps(counts))
        with self._connection.explained("log a dataset"):
            tags = [InputTag("mlflow.data.context", context)]
            self._connection.client.log_inputs(run_id, datasets=[DatasetInput(used, tags)])

    def log_files(
        self,
        run_id: str,
        folder: str,
        files: Mapping[str, str | bytes | np.ndarray | pd.DataFrame],
    ) -> None:
        """Log artifacts by file name: text, bytes, uint8 HWC pictures, or tables (CSV)."""
        with self._connection.explained("log artifacts"):
            for name, content in files.items():
                target = f"{folder}/{name}" if folder else name
                if isinstance(content, str):
                    self._connection.client.log_text(run_id, content, target)
                elif isinstance(content, bytes):
                    with tempfile.TemporaryDirectory() as scratch:
                        file = Path(scratch) / name
                        file.write_bytes(content)
                        self._connection.client.log_artifact(run_id, str(file), folder or None)
                elif hasattr(content, "to_csv"):
                    self._connection.client.log_text(run_id, content.to_csv(index=False), target)
                else:
                    self._connection.client.log_image(run_id, content, target)

    def record(self, run_id: str) -> RunRecord | None:
        """What MLflow knows of a run; None if there is none, or none any more."""
        with self._connection.explained("read a run"):
            try:
                return record_of(self._connection.client.get_run(run_id))
            except self._connection.mlflow.exceptions.MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def read_bytes(self, run_id: str, path: str) -> bytes | None:
        """An artifact of a run, or None if it has none of that name, or there is no such run.

        Raises:
            RegistryError: if the folder of its artifacts is not there.
        """
        with self._connection.explained(f"read {path} of run {run_id}"):
            if self.record(run_id) is None:
                return None
            if problem := self.why_without_files(run_id):
                raise RegistryError(problem)
            found = self._connection.client.list_artifacts(run_id, path.rpartition("/")[0] or None)
            if path not in {item.path for item in found}:
                return None
            with tempfile.TemporaryDirectory() as scratch:
                return Path(
                    self._connection.client.download_artifacts(run_id, path, scratch)
                ).read_bytes()

    def why_without_files(self, run_id: str) -> str:
        """Why no artifact of a run can be had; empty if they are there, or it needn't have any."""
        with self._connection.explained("read a run"):
            return without_files(self._connection.client.get_run(run_id))

    def read_json(self, run_id: str, path: str) -> dict[str, Any] | None:
        """A JSON artifact of a run, or None if it has none of that name."""
        content = self.read_bytes(run_id, path)
        return None if content is None else dict(json.loads(content))

    def read_table(self, run_id: str, path: str) -> pd.DataFrame | None:
        """A table that was logged as CSV, or None if a run has none of that name."""
        import pandas as pd

        content = self.read_bytes(run_id, path)
        if content is None:
            return None
        names = {
            "unit": str,
            "class": str,
            "level": str,
            "slice": str,
        }  # a class may be called 7, or NA
        return pd.read_csv(io.BytesIO(content), dtype=names, keep_default_na=False)

    def pictures(self, run_id: str) -> dict[str, bytes]:
        """The PNG files of a run's evaluation, by name.

        Raises:
            RegistryError: if the folder of its artifacts is not there.
        """
        if problem := self.why_without_files(run_id):
            raise RegistryError(problem)
        with self._connection.explained("fetch pictures"), tempfile.TemporaryDirectory() as scratch:
            if "evaluation" not in {
                item.path for item in self._connection.client.list_artifacts(run_id)
            }:
                return {}
            fetched = Path(
                self._connection.client.download_artifacts(run_id, "evaluation", scratch)
            )
            return {picture.name: picture.read_bytes() for picture in sorted(fetched.glob("*.png"))}

    def log_scores(self, run_id: str, scores: Mapping[str, Score]) -> None:
        """Log each score as three metrics: `test/NAME`, `test/NAME.low`, `test/NAME.high`.

        Their step is the number of the evaluation: the newest scores are the last ones, whatever the clock says.
        """
        log = RunLog(self._connection, run_id)
        evaluation = self._evaluations(run_id, scores)
        for name, score in scores.items():
            log.metrics(
                evaluation,
                {
                    f"test/{name}{suffix}": getattr(score, part)
                    for part, suffix in SCORE_PARTS.items()
                },
            )
        log.flush()

    def _evaluations(self, run_id: str, scores: Mapping[str, Score]) -> int:
        """How many evaluations of a run logged any of these scores."""
        client = self._connection.client
        with self._connection.explained("read scores"):
            known = client.get_run(run_id).data.metrics
            logged = [f"test/{name}" for name in scores if f"test/{name}" in known]
            steps = [
                item.step for name in logged for item in client.get_metric_history(run_id, name)
            ]
        return max(steps, default=-1) + 1

    def log_curve(self, run_id: str, name: str, table: pd.DataFrame) -> None:
        """Log the rows of an evaluation whose slice is `NAME:NUMBER` as metrics `NAME/METRIC`, NUMBER as their step."""
        log = RunLog(self._connection, run_id)
        for slice_name, metric, value in zip(
            table["slice"], table["metric"], table["value"], strict=True
        ):
            kind, _, number = str(slice_name).partition(":")
            if kind == name:
                log.metrics(int(number), {f"{name}/{metric}": float(value)})
        log.flush()

    def scores(self, run_id: str) -> dict[str, dict[str, float]]:
        """The newest test scores of a run: {metric: {"value", "low", "high"}}; empty if it wasn't evaluated.

        Raises:
            RegistryError: if the run is gone.
        """
        record = self.record(run_id)
        if record is None:
            raise RegistryError(f"{gone(record, run_id)}, and its scores with it.")
        return scores_in(record.metrics)

    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """All values of a metric by step (images seen), in this order; of several of one step the last."""
        with self._connection.explained("read a metric"):
            logged = self._connection.client.get_metric_history(run_id, metric)
        return {
            item.step: item.value
            for item in sorted(logged, key=lambda item: (item.step, item.timestamp))
        }


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
                self._connection.client.log_batch(
                    self._run_id, metrics=self._buffer[start : start + 1000]
                )
        self._buffer, self._flushed = [], time.monotonic()


def _process_tags() -> dict[str, str]:
    """What a run says of the process that works on it."""
    process = identify()
    started = repr(process.started)
    return {
        "process.host": process.host,
        "process.pid": str(process.pid),
        "process.started": started,
    }
