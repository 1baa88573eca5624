"""Where each value of the resolved parameters comes from: the file, an override, or a default."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from atelier.params.datasets import Source
from atelier.params.loading import load_params, read_yaml

Origin = Literal["file", "override", "default"]


@dataclass(frozen=True)
class Value:
    """One leaf of the resolved parameters."""

    key: str
    value: Any
    origin: Origin

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def values_of(path: Path, overrides: Sequence[str] = ()) -> list[Value]:
    """Every value that would be used, in the order of the file's sections.

    Raises:
        ConfigError: as `load_params`.
    """
    resolved = leaves(load_params(path, overrides).as_json())
    in_file = {_canonical(key) for key in leaves(read_yaml(path))}
    overridden = [_canonical(override.partition("=")[0].strip()) for override in overrides]
    values = []
    for key, value in resolved.items():
        values.append(Value(key, value, _origin(_canonical(key), in_file, overridden)))
    return values


def _origin(key: str, in_file: set[str], overridden: Sequence[str]) -> Origin:
    if any(key == other or key.startswith(f"{other}.") for other in overridden):
        return "override"
    # `extend: GAN` is short for `extend: {gan: GAN}`.
    above = key.rpartition(".")[0]
    return "file" if key in in_file or above in in_file else "default"


def _canonical(key: str) -> str:
    """A dataset's single source may stand beside its other keys."""
    match = re.fullmatch(r"datasets\.([^.]+)\.(?:sources\.0\.)?(.+)", key)
    if match and match.group(2) in Source.model_fields:
        return f"datasets.{match.group(1)}.sources.0.{match.group(2)}"
    return key


def leaves(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one level of dotted keys; an empty one is a leaf itself."""
    if isinstance(values, Mapping) and values:
        entries = list(values.items())
    elif isinstance(values, list | tuple) and values:
        entries = list(enumerate(values))
    else:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in entries:
        flat |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
