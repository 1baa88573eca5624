"""Registered versions and their aliases."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from atelier.errors import RegistryError, UsageError
from atelier.params.errors import nearest
from atelier.params.references import Reference
from atelier.project import Project
from atelier.registry.connection import Connection, every_page, quote
from atelier.registry.ledger import EXPERIMENT, HEAD, Ledger
from atelier.registry.records import Version, explain_loss, version_of
from atelier.registry.run_log import RunLog
from atelier.registry.runs import Runs
from atelier.serving import SERVED_MODEL
from atelier.serving.signatures import requirements, signature_of

MAX_DESCRIPTION = 5000  # characters that MLflow's tables have room for
CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
# Tag of a registered model: other teams keep theirs in the same registry.
OURS = {"atelier": "model"}


def is_ours(registered: Any) -> bool:
    """Whether Atelier made a registered model.

    Before it marked them, its versions had a fingerprint.
    """
    tags = registered.tags
    if OURS.items() <= tags.items() or HEAD in tags:
        return True
    return any("fingerprint" in version.tags for version in registered.latest_versions)


class Registry:
    """The registered models at `uri`.

    `runs` holds the trainings behind them, `ledger` what was decided about them.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._connection = Connection(project)
        self._client = self._connection.client
        self.runs = Runs(self._connection)
        self.explain_errors = self._connection.explain_errors
        self.uri = self._connection.uri

    @cached_property
    def ledger(self) -> Ledger:
        """All decisions about versions."""
        with self._connection.explain_errors("open the ledger"):
            return Ledger(self._connection, self.runs.experiment(EXPERIMENT))

    def run_log(self, run_id: str) -> RunLog:
        """A buffered log for a running training."""
        return RunLog(self._connection, run_id)

    def scores(self, version: Version) -> dict[str, dict[str, float]]:
        """The newest test scores of a version: {metric: {"value", "low", "high"}}.

        They are empty if it wasn't evaluated.
        """
        return self.runs.scores(version.run_id)

    def explain_loss(self, version: Version) -> str:
        """Why nothing can be read of a version's training, the beginning of a sentence.

        Empty if it is there.
        """
        return explain_loss(self.runs.record(version.run_id), version.run_id)

    def why_unservable(self, version: Version) -> str:
        """Why the files that serve a version can't be had, the beginning of a sentence.

        Empty if they can.
        """
        artifacts = self._connection.mlflow.artifacts
        try:
            with self._connection.explain_errors(f"list the files of {version}"):
                files = artifacts.list_artifacts(artifact_uri=f"models:/{version}")
        except RegistryError as error:
            return str(error)
        return "" if files else "the files that serve it are gone"

    def register(self, model: str, run_id: str, bundle: Path, tags: Mapping[str, str]) -> Version:
        """Log the bundle as a pyfunc from code and make it a version.

        The same run twice gives the same version.

        Args:
            model: name of the registered model.
            run_id: the run that trained it.
            bundle: folder with config.json, network.py and weights.safetensors.
            tags: of the new version.
        """
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        signature, example = signature_of(config)
        with self._connection.explain_errors(f"register {model}"):
            registered = [version for version in self.versions(model) if version.run_id == run_id]
            if registered:
                return self._make_challenger(registered[-1])
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
        return self._make_challenger(self.version(model, int(created.version)))

    def _make_challenger(self, version: Version) -> Version:
        """Let the newest version wait to be judged.

        A process that was killed may have left it without the alias.
        """
        if "verdict" in version.tags or version.number != self.versions(version.model)[-1].number:
            return version
        self.set_alias(version.model, CHALLENGER, version.number)
        return self.version(version.model, version.number)

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, oldest first; empty if the model isn't registered.

        Raises:
            RegistryError: if it is a stranger's.
        """
        with self._connection.explain_errors(f"list versions of {model}"):
            by_name = f"name = {quote(model)}"
            registered = self._client.search_registered_models(by_name)
            if not registered:
                return []
            if not is_ours(registered[0]):
                raise RegistryError(
                    f"the registry at {self.uri} has a model {model!r} that Atelier did not make. "
                    "It is left alone: give yours another name in params.yaml."
                )
            aliases: Mapping[str, Any] = registered[0].aliases
            model_versions = every_page(self._client.search_model_versions, filter_string=by_name)
        versions = [version_of(model_version, aliases) for model_version in model_versions]
        return sorted(versions, key=lambda version: version.number)

    def model_names(self) -> list[str]:
        """Names of all registered models of Atelier's; those of other teams are none of them."""
        with self._connection.explain_errors("list models"):
            registered = every_page(self._client.search_registered_models)
        return sorted(model.name for model in registered if is_ours(model))

    def aliases(self) -> dict[str, dict[str, int]]:
        """The number behind each alias of each model of Atelier's; one short question for all."""
        with self._connection.explain_errors("list aliases"):
            registered = every_page(self._client.search_registered_models)
        numbers: dict[str, dict[str, int]] = {}
        for model in registered:
            if is_ours(model):
                own = model.aliases.items()
                numbers[model.name] = {alias: int(number) for alias, number in own}
        return numbers

    def version(self, model: str, number: int) -> Version:
        """One version by number.

        Raises:
            UsageError: if there is none.
        """
        versions = self.versions(model)
        for version in versions:
            if version.number == number:
                return version
        numbers = ", ".join(str(version.number) for version in versions) or "none"
        raise UsageError(
            f"{model} has no version {number}; its versions: {numbers}. "
            f"See `atelier history {model}`."
        )

    def version_at(self, model: str, alias: str) -> Version | None:
        """The version that an alias points to, or None."""
        return next((version for version in self.versions(model) if alias in version.aliases), None)

    def resolve(self, reference: str) -> Version:
        """The version that `name` (its champion), `name@alias` or `name/number` names.

        Raises:
            UsageError: naming what exists.
        """
        parsed = Reference.parse(reference)
        model = parsed.model
        names = self.model_names()
        if model not in names:
            hint = nearest(model, names)
            raise UsageError(
                f"no model {model!r} is registered.{hint} `atelier run` trains models."
            )
        if parsed.number is not None:
            return self.version(model, parsed.number)
        alias = parsed.alias or CHAMPION
        version = self.version_at(model, alias)
        if version is None:
            aliases = ", ".join(self._aliases(model)) or "none"
            raise UsageError(
                f"{model} has no {alias}; its aliases: {aliases}. "
                f"Name a version ({model}/1), or see `atelier history {model}`."
            )
        return version

    def _aliases(self, model: str) -> list[str]:
        aliases: list[str] = []
        for version in self.versions(model):
            aliases += version.aliases
        return sorted(aliases)

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias to a version."""
        with self._connection.explain_errors(f"move {alias} of {model}"):
            self._client.set_registered_model_alias(model, alias, number)

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; nothing happens if it isn't there."""
        with self._connection.explain_errors(f"remove {alias} of {model}"):
            self._client.delete_registered_model_alias(model, alias)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._connection.explain_errors(f"tag {version}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.model, version.number, key, value)

    def describe(self, version: Version, markdown: str) -> None:
        """Give a version the description that MLflow shows on its page."""
        with self._connection.explain_errors(f"describe {version}"):
            self._client.update_model_version(
                version.model, str(version.number), markdown[:MAX_DESCRIPTION]
            )

    def fetch_bundle(self, version: Version, folder: Path) -> Path:
        """Copy a version's bundle into a new folder, and return it.

        A bundle is config.json, network.py and weights.safetensors.
        """
        with (
            self._connection.explain_errors(f"fetch {version}"),
            tempfile.TemporaryDirectory() as scratch,
        ):
            files = self.fetch_files(version, Path(scratch))
            shutil.copytree(files / "artifacts" / "bundle", folder)
        return folder

    def fetch_files(self, version: Version, folder: Path) -> Path:
        """Copy all that serves a version, its code too, into a folder; return where it lies."""
        download = self._connection.mlflow.artifacts.download_artifacts
        with self._connection.explain_errors(f"fetch {version}"):
            folder.mkdir(parents=True, exist_ok=True)
            return Path(download(artifact_uri=f"models:/{version}", dst_path=str(folder)))

    def load(self, version: Version) -> Any:
        """The pyfunc of a version; `.unwrap_python_model()` holds `network` and `config`.

        Raises:
            RegistryError: if its files are damaged, or not what Atelier registers.
        """
        with self._connection.explain_errors(f"load {version}"):
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
                    f"{version} can't be loaded: {type(error).__name__}: {reason}. Its files are "
                    f"damaged or were replaced: `atelier rollback {version.model}`, or "
                    f"`atelier reproduce {version}` makes it again."
                ) from error
