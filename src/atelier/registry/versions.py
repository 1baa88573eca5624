"""Registered versions and their aliases."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from atelier.errors import RegistryError, UsageError
from atelier.params.errors import nearest
from atelier.params.references import Reference
from atelier.project import Project
from atelier.registry.connection import Connection, every_page, quoted
from atelier.registry.ledger import EXPERIMENT, HEAD, Ledger
from atelier.registry.records import Version, gone
from atelier.registry.runs import RunLog, Runs
from atelier.serving import SERVED_MODEL
from atelier.serving.signatures import requirements, signature_of

MAX_DESCRIPTION = 5000  # characters that MLflow's tables have room for
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
OURS = {
    "atelier": "model"
}  # tag of a registered model: other teams keep theirs in the same registry


def is_ours(registered: Any) -> bool:
    """Whether Atelier made a registered model; before it marked them, its versions had a fingerprint."""
    tags = registered.tags
    if OURS.items() <= tags.items() or HEAD in tags:
        return True
    return any("fingerprint" in version.tags for version in registered.latest_versions)


class Registry:
    """The registered models at `uri`; `runs` holds the trainings behind them, `ledger` what was decided about them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._connection = Connection(project)
        self._client = self._connection.client
        self.runs = Runs(self._connection)
        self.explained = self._connection.explained
        self.uri = self._connection.uri

    @cached_property
    def ledger(self) -> Ledger:
        """All decisions about versions."""
        with self._connection.explained("open the ledger"):
            return Ledger(self._connection, self.runs.experiment(EXPERIMENT))

    def run_log(self, run_id: str) -> RunLog:
        """A buffered log for a running training."""
        return RunLog(self._connection, run_id)

    def scores(self, version: Version) -> dict[str, dict[str, float]]:
        """The newest test scores of a version: {metric: {"value", "low", "high"}}; empty if it wasn't evaluated."""
        return self.runs.scores(version.run_id)

    def why_lost(self, version: Version) -> str:
        """Why nothing can be read of a version's training, the beginning of a sentence; empty if it is there."""
        return gone(self.runs.record(version.run_id), version.run_id)

    def why_unservable(self, version: Version) -> str:
        """Why the files that serve a version can't be had, the beginning of a sentence; empty if they can."""
        artifacts = self._connection.mlflow.artifacts
        try:
            with self._connection.explained(f"list the files of {version}"):
                listed = artifacts.list_artifacts(artifact_uri=f"models:/{version}")
        except RegistryError as error:
            return str(error)
        return "" if listed else "the files that serve it are gone"

    def register(self, model: str, run_id: str, bundle: Path, tags: Mapping[str, str]) -> Version:
        """Log the bundle as a pyfunc from code and make it a version; the same run twice gives the same version.

        Args:
            model: name of the registered model.
            run_id: the run that trained it.
            bundle: folder with config.json, network.py and weights.safetensors.
            tags: of the new version.
        """
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        signature, example = signature_of(config)
        with self._connection.explained(f"register {model}"):
            already = [version for version in self.versions(model) if version.run_id == run_id]
            if already:
                return self._as_challenger(already[-1])
            with self._connection.mlflow.start_run(run_id=run_id):
                logged = self._connection.mlflow.pyfunc.log_model(
                    name=model,
                    python_model=str(SERVED_MODEL),
                    artifacts={"bundle": str(bundle)},
                    signature=signature,
                    input_example=example,
                    pip_requirements=requirements(),
                )
            if model not in self.model_names():
                self._client.create_registered_model(model, tags=OURS)
            created = self._client.create_model_version(
                model, logged.model_uri, run_id, tags=dict(tags), model_id=logged.model_id
            )
        return self._as_challenger(self.version(model, int(created.version)))

    def _as_challenger(self, version: Version) -> Version:
        """The newest version waits to be judged; a process that was killed may have left it without the alias."""
        if "verdict" in version.tags or version.number != self.versions(version.model)[-1].number:
            return version
        self.set_alias(version.model, CHALLENGER, version.number)
        return self.version(version.model, version.number)

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first; empty if the model isn't registered.

        Raises:
            RegistryError: if it is a stranger's.
        """
        with self._connection.explained(f"list versions of {model}"):
            registered = self._client.search_registered_models(f"name = {quoted(model)}")
            if not registered:
                return []
            if not is_ours(registered[0]):
                raise RegistryError(
                    f"the registry at {self.uri} has a model {model!r} that Atelier did not make. It is left alone: "
                    "give yours another name in params.yaml."
                )
            aliases: Mapping[str, Any] = registered[0].aliases
            found = every_page(
                self._client.search_model_versions, filter_string=f"name = {quoted(model)}"
            )
        versions = [self._version(item, aliases) for item in found]
        return sorted(versions, key=lambda version: version.number)

    @staticmethod
    def _version(item: Any, aliases: Mapping[str, Any]) -> Version:
        number = int(item.version)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item.creation_timestamp / 1000))
        own = tuple(sorted(alias for alias, target in aliases.items() if int(target) == number))
        return Version(item.name, number, str(item.run_id), created, own, dict(item.tags))

    def model_names(self) -> list[str]:
        """Names of all registered models of Atelier's; those of other teams are none of them."""
        with self._connection.explained("list models"):
            registered = every_page(self._client.search_registered_models)
        return sorted(model.name for model in registered if is_ours(model))

    def version(self, model: str, number: int) -> Version:
        """One version by number.

        Raises:
            UsageError: if there is none.
        """
        versions = self.versions(model)
        for version in versions:
            if version.number == number:
                return version
        known = ", ".join(str(version.number) for version in versions) or "none"
        raise UsageError(
            f"{model} has no version {number}; its versions: {known}. See `atelier history {model}`."
        )

    def aliased(self, model: str, alias: str) -> Version | None:
        """The version that an alias points to, or None."""
        return next((version for version in self.versions(model) if alias in version.aliases), None)

    def resolve(self, reference: str) -> Version:
        """The version that `name` (its champion), `name@alias` or `name/number` names.

        Raises:
            UsageError: naming what exists.
        """
        named = Reference.parse(reference)
        model = named.model
        known = self.model_names()
        if model not in known:
            hint = nearest(model, known)
            raise UsageError(
                f"no model {model!r} is registered.{hint} `atelier run` trains models."
            )
        if named.number is not None:
            return self.version(model, named.number)
        alias = named.alias or CHAMPION
        version = self.aliased(model, alias)
        if version is None:
            aliases = sorted(known for version in self.versions(model) for known in version.aliases)
            raise UsageError(
                f"{model} has no {alias}; its aliases: {', '.join(aliases) or 'none'}. "
                f"Name a version ({model}/1), or see `atelier history {model}`."
            )
        return version

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias to a version."""
        with self._connection.explained(f"move {alias} of {model}"):
            self._client.set_registered_model_alias(model, alias, number)

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; nothing happens if it isn't there."""
        with self._connection.explained(f"remove {alias} of {model}"):
            self._client.delete_registered_model_alias(model, alias)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._connection.explained(f"tag {version}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.model, version.number, key, value)

    def describe(self, version: Version, markdown: str) -> None:
        """Give a version the description that MLflow shows on its page."""
        with self._connection.explained(f"describe {version}"):
            self._client.update_model_version(
                version.model, str(version.number), markdown[:MAX_DESCRIPTION]
            )

    def fetch_bundle(self, version: Version, folder: Path) -> Path:
        """Copy a version's bundle (config.json, network.py, weights.safetensors) into a new folder; returns it."""
        with (
            self._connection.explained(f"fetch {version}"),
            tempfile.TemporaryDirectory() as scratch,
        ):
            fetched = self.fetch_files(version, Path(scratch))
            shutil.copytree(fetched / "artifacts" / "bundle", folder)
        return folder

    def fetch_files(self, version: Version, folder: Path) -> Path:
        """Copy everything that serves a version, its code too, into a folder; returns where it lies."""
        with self._connection.explained(f"fetch {version}"):
            folder.mkdir(parents=True, exist_ok=True)
            uri, target = f"models:/{version}", str(folder)
            return Path(
                self._connection.mlflow.artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=target
                )
            )

    def load(self, version: Version) -> Any:
        """The pyfunc of a version; `.unwrap_python_model()` holds `network` and `config`.

        Raises:
            RegistryError: if its files are damaged, or not what Atelier registers.
        """
        with self._connection.explained(f"load {version}"):
            try:
                # Copied first: of a path with `%`, `#` or `?` MLflow would make another one.
                with tempfile.TemporaryDirectory() as folder:
                    load = self._connection.mlflow.pyfunc.load_model
                    return load(f"models:/{version}", dst_path=folder)
            except (self._connection.mlflow.exceptions.MlflowException, OSError):
                raise
            except Exception as error:  # damaged files fail in as many ways as they have bytes
                reason = (str(error).splitlines() or [""])[0]
                raise RegistryError(
                    f"{version} can't be loaded: {type(error).__name__}: {reason}. Its files are damaged or were "
                    f"replaced: `atelier rollback {version.model}`, or `atelier reproduce {version}` makes it again."
                ) from error
