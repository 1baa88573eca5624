"""The sections of params.yaml: every record, at every place where it can stand."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from atelier.params import Params, Source
from atelier.params.datasets import SOURCE_KEYS

TAGS = ("kind", "name", "source")  # keys whose value says which other keys there are


@dataclass(frozen=True)
class Key:
    """One key of params.yaml.

    Attributes:
        path: dotted; NAME stands for a name that you choose, N for a position in a list.
        name: the last part of it.
        record: whose field it is.
        field: what pydantic knows of it.
    """

    path: str
    name: str
    record: type[BaseModel]
    field: FieldInfo


@dataclass(frozen=True)
class Section:
    """The keys of one record at one place.

    Attributes:
        prefix: the dotted path of the section; empty: the file.
        tag: what makes it this section and no other one at its place: `name: cnn`; or empty.
        kinds: of models that have it; none: it lies in no model.
        record: the record.
        keys: its own ones.
    """

    prefix: str
    tag: str
    kinds: tuple[str, ...]
    record: type[BaseModel]
    keys: tuple[Key, ...]

    @property
    def value(self) -> str:
        """Of its tag: `cnn` of `name: cnn`."""
        return self.tag.partition(": ")[2]


def all_sections() -> list[Section]:
    """Every section, in the order of the records; one that several kinds share occurs once."""
    found: dict[tuple[str, str, type[BaseModel]], Section] = {}
    for section in _walk(Params, "", "", ()):
        place = (section.prefix, section.tag, section.record)
        known = found.get(place)
        kinds = (*known.kinds, *section.kinds) if known else section.kinds
        unique = tuple(dict.fromkeys(kinds))
        found[place] = Section(*place[:2], unique, section.record, section.keys)
    return list(found.values())


def _walk(
    record: type[BaseModel], prefix: str, tag: str, kinds: tuple[str, ...]
) -> Iterator[Section]:
    keys = []
    for name, field in record.model_fields.items():
        path = f"{prefix}.{name}" if prefix else name
        keys.append(Key(path, name, record, field))
    if record is Source:
        yield from _sections_of_sources(prefix, keys)
        return
    yield Section(prefix, tag, kinds, record, tuple(keys))
    for key in keys:
        for path, inner in _records_in(key.field.annotation, key.path):
            inner_tag = _tag_of(inner)
            own_kinds = kinds
            if inner_tag.startswith("kind: "):
                own_kinds = (inner_tag.removeprefix("kind: "),)
            yield from _walk(inner, path, inner_tag, own_kinds)


def _sections_of_sources(prefix: str, keys: list[Key]) -> Iterator[Section]:
    """One record, of which each kind of source understands its own keys."""
    for source, understood in SOURCE_KEYS.items():
        own = tuple(key for key in keys if key.name in {"source", *understood})
        yield Section(prefix, f"source: {source}", (), Source, own)


def _tag_of(record: type[BaseModel]) -> str:
    for name in TAGS:
        field = record.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is Literal:
            return f"{name}: {get_args(field.annotation)[0]}"
    return ""


def _records_in(annotation: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The records that a field holds, and where."""
    origin = get_origin(annotation)
    members = get_args(annotation)
    if origin is Annotated:
        yield from _records_in(members[0], path)
    elif origin in (Union, types.UnionType):
        for member in members:
            yield from _records_in(member, path)
    elif origin is dict:
        yield from _records_in(members[1], f"{path}.NAME")
    elif origin is tuple and members[-1] is Ellipsis:
        yield from _records_in(members[0], f"{path}.N")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
