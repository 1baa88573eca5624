"""params.yaml and its overrides -> checked records.

Every mistake is reported at once, each with its dotted path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atelier.errors import ConfigError
from atelier.params.checks import combination_errors
from atelier.params.defaults import fill_defaults
from atelier.params.errors import describe_errors, fields_at, nearest
from atelier.params.models import Params
from atelier.params.warmup import warmup_errors


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read params.yaml, apply overrides and defaults, and check everything.

    Raises:
        ConfigError: naming every mistake at once, each with its dotted path.
    """
    raw = read_yaml(path)
    raw = fill_defaults(with_overrides(raw, overrides))
    try:
        params = Params.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        problems = describe_errors(error, raw, Params)
    else:
        problems = [*combination_errors(params), *warmup_errors(params, overrides)]
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        noun = "mistakes" if len(problems) > 1 else "mistake"
        raise ConfigError(f"{path.name}: {len(problems)} {noun}, nothing was run:\n{lines}")
    return params


def with_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """What was read, with `dotted.key=value` in it; a key may lie in what the file leaves out.

    Raises:
        ConfigError: naming the first override that can't be applied.
    """
    changed = fill_defaults(raw, budgets=False) if overrides else raw
    for override in overrides:
        _apply_override(changed, override)
    return changed


def read_yaml(path: Path) -> dict[str, Any]:
    """The file as plain JSON types, unchecked.

    Raises:
        ConfigError: if it isn't there, or is no mapping in YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist. Run atelier in a project folder, or give --params FILE."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from None
    try:
        raw = _parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path.name} is not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path.name} is empty or not a mapping; it needs the keys {list(Params.model_fields)}."
        )
    return raw


def _parse_yaml(text: str) -> Any:
    """Plain JSON types; any ValueError says what is wrong with the text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        # ruamel reads YAML 1.2 as DVC does: `1e-4` is a number and `no` a string, so both tools see
        # the same values.
        return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))
    except (YAMLError, TypeError) as error:  # TypeError: a key that is a list or a date
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"-S {override}: expected dotted.key=value, for example -S seed=8.")
    try:
        value = _parse_yaml(text)
    except ValueError:
        raise ConfigError(f"-S {override}: {text!r} is not a YAML value.") from None
    section: Any = raw
    for depth, part in enumerate(parts[:-1]):
        if isinstance(section, dict) and part in fields_at(tuple(parts[:depth]), Params):
            section.setdefault(part, {})  # a section that the file leaves out
        try:
            section = section[int(part)] if isinstance(section, list) else section[part]
        except (KeyError, IndexError, TypeError, ValueError):
            here = ".".join(parts[: depth + 1])
            keys = list(section) if isinstance(section, dict) else []
            raise ConfigError(
                f"-S {override}: there is no {here} in params.yaml.{nearest(part, keys)}"
            ) from None
    last: Any = parts[-1]
    try:
        if isinstance(section, list):
            last = int(last)
        section[last] = value
    except (IndexError, TypeError, ValueError):
        raise ConfigError(
            f"-S {override}: {'.'.join(parts[:-1])} has no key {parts[-1]!r}."
        ) from None
