"""Training runs in MLflow: what happened, logged in batches."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from atelier.errors import RegistryError
from atelier.machine.places import is_database_file
from atelier.metrics.intervals import Score
from atelier.registry import artifacts
from atelier.registry.connection import Connection, every_page
from atelier.registry.records import (
    NOTE,
    SCORE_PARTS,
    RunRecord,
    explain_loss,
    process_tags,
    record_of,
    scores_in,
    why_without_files,
)
from atelier.registry.run_log import RunLog

if TYPE_CHECKING:
    import pandas as pd

# In tables, what would be read as a number or a gap: a class may be called 7, or NA.
TEXT_COLUMNS = ("unit", "class", "level", "slice")


class Runs:
    """The training runs; one experiment a model."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client = connection.client

    def start(
        self,
        experiment_name: str,
        fingerprint: str,
        tags: Mapping[str, str],
        kind: str = "training",
    ) -> str:
        """Take up the unfinished run of the work with this fingerprint again, else begin one."""
        with self._connection.explain_errors("start a run"):
            experiment = self.experiment(experiment_name)
            unfinished = self._client.search_runs(
                [experiment],
                f"tags.fingerprint = '{fingerprint}' and attributes.status != 'FINISHED'",
                max_results=1,
            )
            if unfinished:
                run_id = str(unfinished[0].info.run_id)
                self._client.update_run(run_id, status="RUNNING")
            else:
                name = f"{experiment_name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
                run = self._client.create_run(experiment, run_name=name)
                run_id = str(run.info.run_id)
            own_tags = {"fingerprint": fingerprint, "kind": kind, **process_tags()}
            for key, value in {**tags, **own_tags}.items():
                self._client.set_tag(run_id, key, value)
            return run_id

    def finished(self, experiment_name: str, fingerprint: str) -> bool:
        """Whether the work with this fingerprint has been done."""
        with self._connection.explain_errors("look for a run"):
            finished = self._client.search_runs(
                [self.experiment(experiment_name)],
                f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
        return bool(finished)

    def newest_training(self, experiment_name: str) -> RunRecord | None:
        """The newest training of this experiment that FINISHED; None if none did."""
        with self._connection.explain_errors("look for a run"):
            existing = self._client.get_experiment_by_name(experiment_name)
            if existing is None:
                return None
            newest = self._client.search_runs(
                [existing.experiment_id],
                "tags.kind = 'training' and attributes.status = 'FINISHED'",
                max_results=1,
                order_by=["attributes.start_time DESC"],
            )
        return record_of(newest[0]) if newest else None

    def experiment(self, name: str) -> str:
        """Number of the experiment of this name, which is made if it isn't there."""
        existing = self._client.get_experiment_by_name(name)
        if existing is not None and existing.lifecycle_stage == "deleted":
            raise RegistryError(
                f"the experiment {name} was deleted in MLflow, at {self._connection.uri}, "
                "and its runs with it. Bring it back: mlflow experiments restore --experiment-id "
                f"{existing.experiment_id} (with MLFLOW_TRACKING_URI set to that address)."
            )
        if existing is not None:
            return str(existing.experiment_id)
        location = None  # a server keeps artifacts where it was told to
        if is_database_file(self._connection.uri):
            location = (self._connection.project.root / "mlruns").as_uri()
        return str(self._client.create_experiment(name, artifact_location=location))

    def end(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        with self._connection.explain_errors("end a run"):
            self._client.set_terminated(run_id, status)

    def end_dead(self, why_dead: Callable[[Mapping[str, str]], str]) -> list[str]:
        """Close as KILLED the runs that can't be at work any more; one line for each.

        Args:
            why_dead: given the tags of a run that is said to be RUNNING, why its process is gone;
                empty if it may go on.
        """
        lines = []
        with self._connection.explain_errors("look for dead runs"):
            client = self._client
            experiments = every_page(client.search_experiments)
            running = every_page(
                client.search_runs,
                experiment_ids=[experiment.experiment_id for experiment in experiments],
                filter_string="attributes.status = 'RUNNING'",
            )
        for run in running:
            reason = why_dead(run.data.tags)
            if reason:
                self.note(run.info.run_id, f"killed: {reason}")
                self.end(run.info.run_id, "KILLED")
                lines.append(f"MLflow run {run.info.run_name}: {reason}")
        return lines

    def note(self, run_id: str, sentence: str) -> None:
        """Add a line to the description of a run, which MLflow shows above everything else."""
        with self._connection.explain_errors("add a note to a run"):
            before = self._client.get_run(run_id).data.tags.get(NOTE, "")
            self._client.set_tag(run_id, NOTE, f"{before}- {sentence}\n")

    def log_params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log parameters; the same values may be logged again by a resumed run."""
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in values.items()]
        with self._connection.explain_errors("log parameters"):
            self._client.log_batch(run_id, params=params)

    def log_input(
        self, run_id: str, dataset: str, md5: str, context: str, counts: Mapping[Any, int]
    ) -> None:
        """Log which version of a dataset a run used: MLflow shows it, and can search for it.

        Args:
            run_id: the run.
            dataset: its name.
            md5: the version of data/ as data.dvc names it, `<md5>.dir`: the 36 characters that
                MLflow has room for.
            context: what it was used for, such as "training".
            counts: images in each split.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"path": f"data/{dataset}", "dvc": "data.dvc", "md5": md5})
        version = Dataset(dataset, md5, "dvc", source, profile=json.dumps(counts))
        with self._connection.explain_errors("log a dataset"):
            tags = [InputTag("mlflow.data.context", context)]
            self._client.log_inputs(run_id, datasets=[DatasetInput(version, tags)])

    def log_files(self, run_id: str, folder: str, files: Mapping[str, artifacts.Content]) -> None:
        """Log artifacts by file name: text, bytes, uint8 HWC pictures, or tables (CSV)."""
        with self._connection.explain_errors("log artifacts"):
            for name, content in files.items():
                target = f"{folder}/{name}" if folder else name
                artifacts.upload(self._client, run_id, target, content)

    def record(self, run_id: str) -> RunRecord | None:
        """What MLflow knows of a run; None if there is none, or none any more."""
        with self._connection.explain_errors("read a run"):
            try:
                return record_of(self._client.get_run(run_id))
            except self._connection.mlflow.exceptions.MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def read_bytes(self, run_id: str, path: str) -> bytes | None:
        """An artifact of a run, or None if it has none of that name, or there is no such run.

        Raises:
            RegistryError: if the folder of its artifacts is not there.
        """
        with self._connection.explain_errors(f"read {path} of run {run_id}"):
            if self.record(run_id) is None:
                return None
            self._require_files(run_id)
            return artifacts.download(self._client, run_id, path)

    def why_without_files(self, run_id: str) -> str:
        """Why no artifact of a run can be had; empty if they are there, or it needn't have any."""
        with self._connection.explain_errors("read a run"):
            return why_without_files(self._client.get_run(run_id))

    def _require_files(self, run_id: str) -> None:
        """Refuse to read artifacts of a run whose folder is lost."""
        problem = self.why_without_files(run_id)
        if problem:
            raise RegistryError(problem)

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
        types = dict.fromkeys(TEXT_COLUMNS, str)
        return pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False)

    def pictures(self, run_id: str) -> dict[str, bytes]:
        """The PNG files of a run's evaluation, by name.

        Raises:
            RegistryError: if the folder of its artifacts is not there.
        """
        self._require_files(run_id)
        with self._connection.explain_errors("fetch pictures"):
            return artifacts.download_pictures(self._client, run_id)

    def log_scores(self, run_id: str, scores: Mapping[str, Score]) -> None:
        """Log each score as three metrics: `test/NAME`, `test/NAME.low`, `test/NAME.high`.

        Their step is the number of the evaluation: the newest scores are the last ones, whatever
        the clock says.
        """
        log = RunLog(self._connection, run_id)
        evaluation = self._evaluations(run_id, scores)
        for name, score in scores.items():
            parts = {
                f"test/{name}{suffix}": getattr(score, part) for part, suffix in SCORE_PARTS.items()
            }
            log.metrics(evaluation, parts)
        log.flush()

    def _evaluations(self, run_id: str, scores: Mapping[str, Score]) -> int:
        """How many evaluations of a run logged any of these scores."""
        evaluations = 0
        with self._connection.explain_errors("read scores"):
            logged = self._client.get_run(run_id).data.metrics
            for name in scores:
                if f"test/{name}" in logged:
                    history = self._client.get_metric_history(run_id, f"test/{name}")
                    newest = max((metric.step for metric in history), default=-1)
                    evaluations = max(evaluations, newest + 1)
        return evaluations

    def log_curve(self, run_id: str, name: str, table: pd.DataFrame) -> None:
        """Log the slices `NAME:NUMBER` of an evaluation as metrics `NAME/METRIC` at step NUMBER."""
        log = RunLog(self._connection, run_id)
        for slice_name, metric, value in zip(
            table["slice"], table["metric"], table["value"], strict=True
        ):
            kind, _, number = str(slice_name).partition(":")
            if kind == name:
                log.metrics(int(number), {f"{name}/{metric}": float(value)})
        log.flush()

    def scores(self, run_id: str) -> dict[str, dict[str, float]]:
        """The newest test scores of a run: {metric: {"value", "low", "high"}}.

        They are empty if it wasn't evaluated.

        Raises:
            RegistryError: if the run is gone.
        """
        record = self.record(run_id)
        if record is None:
            raise RegistryError(f"{explain_loss(record, run_id)}, and its scores with it.")
        return scores_in(record.metrics)

    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """All values of a metric by step (images seen), in this order; of one step the last."""
        with self._connection.explain_errors("read a metric"):
            points = self._client.get_metric_history(run_id, metric)
        points = sorted(points, key=lambda point: (point.step, point.timestamp))
        return {point.step: point.value for point in points}
