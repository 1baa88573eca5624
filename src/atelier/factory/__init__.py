"""The factory: from the desired state to a judged version.

What every stage works with is a `Factory`; it knows what each model is to be made of today.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atelier.data.store import StoredDataset, dataset_digest, read_dataset
from atelier.errors import UsageError
from atelier.factory.fingerprint import (
    datasets_of,
    evaluation_inputs,
    training_inputs,
    uses_extractor,
)
from atelier.params import Params, RestorationModel
from atelier.params.references import source_of
from atelier.project import Project
from atelier.registry import CHAMPION, Registry, Version


@dataclass(frozen=True)
class Factory:
    """A project with its desired state and what there is.

    Attributes:
        project: where data and checkpoints lie.
        params: the desired state.
        registry: the versions that there are.
    """

    project: Project
    params: Params
    registry: Registry

    @classmethod
    def open(cls, project: Project, params: Params) -> Factory:
        """The factory of a project, with its own registry."""
        return cls(project, params, Registry(project))

    def datasets(self, name: str) -> list[StoredDataset]:
        """What a model learns from and is scored on; its own dataset is the first.

        Raises:
            DataError: if one is not there, or damaged.
        """
        root = self.project.root
        return [read_dataset(root, dataset) for dataset in datasets_of(self.params.models[name])]

    def digests(self, name: str) -> dict[str, str]:
        """The version of each of these datasets; empty for one that isn't there."""
        root = self.project.root
        used = datasets_of(self.params.models[name])
        return {dataset: dataset_digest(root, dataset) for dataset in used}

    def source(self, name: str) -> str:
        """The version that a model is to be built from, `name/number`; empty if from none.

        Raises:
            UsageError: if there is no such version.
        """
        source = source_of(self.params.models[name])
        if source is None:
            return ""
        try:
            return str(self.registry.resolve(str(source)))
        except UsageError as error:
            raise UsageError(f"models.{name} is built from {source}: {error}") from None

    def training_inputs(self, name: str) -> dict[str, Any]:
        """Everything that a training of a model would depend on."""
        return training_inputs(self.params, name, self.digests(name), self.source(name))

    def evaluation_inputs(self, version: Version) -> dict[str, Any]:
        """Everything that an evaluation of a version would depend on."""
        name = version.model
        extractor = self.extractor() if uses_extractor(self.params, name) else ""
        compared = self.compared_with(name)
        other = self.registry.version_at(compared, CHAMPION) if compared else None
        return evaluation_inputs(
            self.params,
            name,
            str(version),
            self.digests(name),
            extractor,
            str(other or ""),
        )

    def extractor(self) -> str:
        """The classifier's version, `name/number`, or the published weights; empty: none yet.

        Raises:
            UsageError: if one that was chosen by its number doesn't exist.
        """
        evaluation = self.params.evaluation
        if evaluation.classifier_version:
            try:
                return str(self.registry.resolve(evaluation.classifier_version))
            except UsageError as error:
                message = f"evaluation.features = {evaluation.features}: {error}"
                raise UsageError(message) from None
        if evaluation.published_weights:
            return evaluation.published_weights
        return str(self.registry.version_at(evaluation.classifier, CHAMPION) or "")

    def compared_with(self, name: str) -> str:
        """The model that a restorer's scores are compared with; empty: none."""
        model = self.params.models[name]
        if isinstance(model, RestorationModel):
            return model.compare_with or ""
        return ""
