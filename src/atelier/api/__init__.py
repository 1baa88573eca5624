"""What a notebook needs: `atelier.open(folder)`.

A project from Python: its datasets as torch datasets, its models as torch modules, its history as
pandas frames. Everything here only reads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atelier.project import Project, find_project, set_environment

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from atelier.api.pictures import Pictures
    from atelier.data.splits import Split
    from atelier.registry import Registry


class Workshop:
    """A project, opened for reading.

    Attributes:
        root: the project's folder.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.root = project.root

    def __repr__(self) -> str:
        return f"atelier.open({str(self.root)!r})"

    @property
    def models(self) -> list[str]:
        """Names of the registered models."""
        return self._registry().model_names()

    def dataset(self, name: str, split: Split = "train") -> Pictures:
        """A split of a stored dataset, for torch's `DataLoader`.

        Args:
            name: of the dataset in params.yaml.
            split: train, validation or test.

        Raises:
            DataError: if it was not ingested yet, or is damaged.
        """
        from atelier.api.pictures import Pictures
        from atelier.data.store import read_dataset

        return Pictures(read_dataset(self.root, name), split)

    def model(self, reference: str) -> nn.Module:
        """The network of a registered version, in evaluation mode, on the CPU.

        Restorers take and give images in [0, 1], float32 NCHW; a GAN's takes latents and labels,
        and gives images in [-1, 1]. `pyfunc` has the same for all kinds.

        Args:
            reference: NAME (its champion), NAME@ALIAS or NAME/VERSION.

        Raises:
            UsageError: if there is no such version.
            RegistryError: if its files are lost or damaged.
        """
        network: nn.Module = self.pyfunc(reference).unwrap_python_model().network
        return network.eval()

    def pyfunc(self, reference: str) -> Any:
        """The same as MLflow serves it: `.predict(...)`, images in [0, 1].

        Raises:
            UsageError: if there is no such version.
            RegistryError: if its files are lost or damaged.
        """
        registry = self._registry()
        return registry.load(registry.resolve(reference))

    def history(self, model: str | None = None) -> pd.DataFrame:
        """All versions, one a line: verdict, aliases, and every score with its interval.

        Args:
            model: only this one's.

        Returns:
            Columns model, version, created, aliases, verdict, reasons, git_commit, data_md5,
            run_id; for each metric METRIC, METRIC.low and METRIC.high.
        """
        import pandas as pd

        from atelier.review.history import history_entry

        registry = self._registry()
        names = registry.model_names() if model is None else [model]
        rows = []
        for name in names:
            for version in registry.versions(name):
                rows.append(_flatten(history_entry(registry, version)))
        return pd.DataFrame(rows)

    def scores(self, reference: str) -> pd.DataFrame:
        """What the last evaluation found: one line a metric, subject and slice, with protocol.

        Raises:
            UsageError: if there is no such version.
        """
        import pandas as pd

        registry = self._registry()
        version = registry.resolve(reference)
        table = registry.runs.read_table(version.run_id, "evaluation/scores.csv")
        return pd.DataFrame() if table is None else table

    def requests(self, name: str) -> pd.DataFrame:
        """Statistics of what `atelier serve` was asked, one line a request, the oldest first.

        Args:
            name: under which the model was asked: NAME, NAME@ALIAS or NAME/VERSION.

        Returns:
            Columns time, version, format, depth, bytes, seconds; height, width, channels, mean,
            std, p1, p99, sigma, sharpness of the picture; change, the RMS difference that the model
            made. Empty if none were kept.
        """
        import pandas as pd

        from atelier.service.sightings import FOLDER, read_lines

        return pd.DataFrame(read_lines(self._project.cache / FOLDER, name))

    def _registry(self) -> Registry:
        _point_at(self._project)
        from atelier.registry import Registry

        return Registry(self._project)


def open(folder: str | Path = ".") -> Workshop:
    """Open the project that a folder is in.

    Raises:
        UsageError: if it is in none.
    """
    return Workshop(find_project(Path(folder)))


# What was set for the project that was looked at last; another one takes it away.
_variables: dict[str, str] = {}


def _point_at(project: Project) -> None:
    """Point MLflow at the project's servers; what the user set stays."""
    for name, value in _variables.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    before = dict(os.environ)
    set_environment(project)
    _variables.clear()
    for name, value in os.environ.items():
        if before.get(name) != value:
            _variables[name] = value


def _flatten(entry: dict[str, Any]) -> dict[str, Any]:
    """Scores as columns of their own."""
    metrics = entry.pop("metrics")
    entry.pop("fingerprint")
    for metric, score in metrics.items():
        entry[metric] = score["value"]
        entry[f"{metric}.low"] = score["low"]
        entry[f"{metric}.high"] = score["high"]
    return entry
