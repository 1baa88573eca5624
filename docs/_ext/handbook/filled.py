"""What a key is where a file leaves it out: the record's default, or a recipe's."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from atelier.params import Gate, Promotion, defaults
from handbook.sections import Key, Section

MODEL = "models.NAME"
EVERY = ""  # of a value that does not depend on a kind


def record_default(section: Section, key: Key) -> str:
    """Of the record; empty: the key has to be given, by the file or by a recipe."""
    field = key.field
    if section.record is Gate and field.is_required():
        whole = Promotion.model_fields[section.prefix.rpartition(".")[2]].default
        return f"`{show(getattr(whole, key.name))}` where the section is left out"
    if field.default_factory is not None:
        return _computed(field.default_factory)
    if field.default is PydanticUndefined:
        return ""
    if field.default is None:
        return "none"
    return f"`{show(field.default)}`"


def recipe_default(section: Section, key: Key) -> str:
    """Of the recipes, by the kinds that it holds for; empty: none has a word about it."""
    of_kinds: dict[str, list[str]] = {}
    for kind, recipe in _recipes(section):
        if key.name in recipe:
            of_kinds.setdefault(show(recipe[key.name]), []).append(kind)
    texts = []
    for value, kinds in of_kinds.items():
        named = ", ".join(filter(None, kinds))
        texts.append(f"`{value}` ({named})" if named else f"`{value}`")
    return ", ".join(texts)


def _recipes(section: Section) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What is filled in at the place of a section, by kind."""
    prefix = section.prefix
    if not prefix:
        sections = {"evaluation": defaults.EVALUATION, "promotion": defaults.PROMOTION}
        yield EVERY, {**defaults.TOP, **sections}
    elif prefix == "evaluation":
        yield EVERY, defaults.EVALUATION
    elif prefix.startswith("promotion"):
        yield EVERY, _below(defaults.PROMOTION, prefix.removeprefix("promotion"))
    elif prefix == "datasets.NAME":
        yield from defaults.DATASETS.items()
    elif prefix.startswith(MODEL):
        yield from _recipes_of_models(section, prefix.removeprefix(MODEL).removeprefix("."))


def _recipes_of_models(section: Section, part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind in section.kinds:
        named = kind if len(section.kinds) > 1 or part.startswith("training") else EVERY
        if part.startswith("training"):
            below = part.removeprefix("training")
            yield named, _below(defaults.TRAININGS[kind], below)
            if not below and kind in ("restoration", "translation"):
                yield named, {"crop_size": defaults.CROP}
        elif part:
            networks = defaults.NETWORKS.get(f"{kind}.{part}", {})
            yield named, networks.get(section.value, {})
        else:
            yield named, {**defaults.MODELS[kind], "training": defaults.TRAININGS[kind]}


def _below(recipe: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """A section of a recipe, by its dotted path."""
    inner: Any = recipe
    for part in filter(None, path.split(".")):
        inner = inner.get(part, {}) if isinstance(inner, Mapping) else {}
    return inner if isinstance(inner, Mapping) else {}


def show(value: Any) -> str:
    """As params.yaml has it, in one line."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True, exclude_none=True)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)


def _computed(factory: Any) -> str:
    """A default that is made anew for each record: empty, or a formula of other keys."""
    if factory in (dict, list):
        return "`{}`" if factory is dict else "`[]`"
    source = textwrap.dedent(inspect.getsource(factory))
    body = re.search(r"lambda given: (.+)\)\s*$", source)
    if body is None:
        raise ValueError(f"{source.strip()} is no formula that a page could show")
    formula = ast.unparse(ast.parse(body[1].strip(), mode="eval"))
    return f"`{formula.replace('_kimg(given)', 'kimg')}`"
