"""Everything that MLflow knows of all models, read in a few calls however many runs there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atelier.errors import RegistryError
from atelier.registry.connection import every_page
from atelier.registry.ledger import EXPERIMENT, HEAD, Entry, check_chain, entry_of, is_entry
from atelier.registry.records import RunRecord, Version, record_of, version_of
from atelier.registry.versions import Registry, is_ours


@dataclass(frozen=True)
class Fleet:
    """All registered models and all runs.

    Attributes:
        models: versions of each model, oldest first.
        runs: newest first, without the ledger's and those of other teams.
        experiments: name of each, by its id.
        ledgers: entries about each model, oldest first; of those that can be trusted.
        distrusted: of the others, why.
    """

    models: Mapping[str, tuple[Version, ...]]
    runs: tuple[RunRecord, ...]
    experiments: Mapping[str, str]
    ledgers: Mapping[str, tuple[Entry, ...]]
    distrusted: Mapping[str, str]


def read_fleet(registry: Registry) -> Fleet:
    """Read it.

    Raises:
        RegistryError: if MLflow fails.
    """
    client = registry._client
    with registry.explain_errors("list models, versions and runs"):
        experiments = {
            str(experiment.experiment_id): experiment.name
            for experiment in every_page(client.search_experiments)
        }
        registered_versions = every_page(client.search_model_versions)
        models = [model for model in every_page(client.search_registered_models) if is_ours(model)]
        runs = every_page(
            client.search_runs,
            experiment_ids=list(experiments),
            order_by=["attributes.start_time DESC"],
        )
    entries = [
        run for run in runs if experiments[run.info.experiment_id] == EXPERIMENT and is_entry(run)
    ]
    heads = {model.name: model.tags.get(HEAD) for model in models}
    ledgers, distrusted = _ledgers(entries, heads)
    return Fleet(
        models=_versions_by_model(models, registered_versions),
        runs=tuple(record_of(run) for run in runs if "fingerprint" in run.data.tags),
        experiments=experiments,
        ledgers=ledgers,
        distrusted=distrusted,
    )


def _versions_by_model(
    models: list[Any], registered_versions: list[Any]
) -> dict[str, tuple[Version, ...]]:
    """The versions of each model, oldest first, from what MLflow's client gives."""
    aliases = {model.name: model.aliases for model in models}
    versions: dict[str, list[Version]] = {model.name: [] for model in models}
    for registered in registered_versions:
        if registered.name in versions:  # some may have been deleted meanwhile
            version = version_of(registered, aliases[registered.name])
            versions[registered.name].append(version)
    return {
        name: tuple(sorted(versions[name], key=lambda version: version.number))
        for name in sorted(versions)
    }


def _ledgers(
    runs: list[Any], heads: Mapping[str, str | None]
) -> tuple[dict[str, tuple[Entry, ...]], dict[str, str]]:
    """The chain of each registered model, or why it is none."""
    by_model: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        by_model[run.data.tags.get("model", "")].append(run)
    ledgers = {}
    distrusted = {}
    for model, head in heads.items():
        try:
            ledgers[model] = tuple(check_chain(model, map(entry_of, by_model[model]), head))
        except RegistryError as error:
            distrusted[model] = str(error)
    return ledgers, distrusted
