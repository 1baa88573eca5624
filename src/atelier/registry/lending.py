"""Copies of registered versions in another registry: work on them can't touch the real one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atelier.registry.connection import quote
from atelier.registry.records import Version
from atelier.registry.versions import OURS, Registry


def lend(
    registry: Registry, version: Version, uri: str, folder: Path, aliases: Sequence[str] = ()
) -> int:
    """Copy a version, with its own serving code, into another registry.

    MLflow counts versions from 1, so the numbers before it are filled with the same copy; where
    the borrower is past this number already, the copy gets the next one.

    Args:
        registry: that holds the version.
        version: to be copied.
        uri: of the registry that borrows it, `sqlite:///...`; made if missing.
        folder: for the files of the copy; one for each registry.
        aliases: that shall point to the copy.

    Returns:
        The number of the copy.
    """
    model = version.model
    inputs = registry.runs.read_bytes(version.run_id, "fingerprint.json")
    files = registry.fetch_files(version, folder / model / str(version.number))
    with registry.explain_errors(f"lend {version}"):
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = client.get_experiment_by_name("lent")
        if experiment:
            experiment_id = experiment.experiment_id
        else:
            place = (folder / "artifacts").as_uri()
            experiment_id = client.create_experiment("lent", artifact_location=place)
        run_id = client.create_run(experiment_id, run_name=str(version)).info.run_id
        if inputs is not None:
            client.log_text(run_id, inputs.decode("utf-8"), "fingerprint.json")
        if not client.search_registered_models(f"name = {quote(model)}"):
            client.create_registered_model(model, tags=OURS)
        copy = 0
        while copy < version.number:
            copy = int(client.create_model_version(model, files.as_uri(), run_id).version)
        for alias in aliases:
            client.set_registered_model_alias(model, alias, str(copy))
    return copy
