"""Pydantic's errors in the project's words: path, what was given, what is allowed, nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from atelier.params.datasets import Source

# What pydantic adds to a path for a branch of a plain union, and for the key of a mapping.
BRANCHES = (
    "literal['auto']",
    "literal['adaptive']",
    "constrained-int",
    "constrained-float",
    "int",
    "[key]",
)


def nearest(word: str, names: Sequence[str]) -> str:
    """A hint for a typo: the nearest known name, else all of them; empty if there are none."""
    texts = [str(name) for name in names]
    matches = difflib.get_close_matches(word, texts, n=1)
    if matches:
        return f" Did you mean {matches[0]!r}?"
    return f" Known: {', '.join(texts)}." if texts else ""


def describe_errors(
    error: ValidationError, raw: Mapping[str, Any], root: type[BaseModel]
) -> list[str]:
    """One line for each place in `raw` at which pydantic found a mistake."""
    lines: dict[str, str] = {}
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            continue  # items that are wrong don't count; their own lines say what is wrong
        if details["type"] == "default_factory_not_called":
            # A default that depends on another value, which is wrong: its own line says so.
            continue
        path = ".".join(_path_in_file(tuple(details["loc"]), raw))
        line = _describe(details, path, root)
        if path in lines:  # the other branch of a plain union
            start = f"{path} = {_short(details['input'])}: "
            line = f"{lines[path].removesuffix('.')} and {line.removeprefix(start)}"
        lines[path] = line
    return list(lines.values())


def _describe(details: Any, path: str, root: type[BaseModel]) -> str:
    loc = tuple(details["loc"])
    given = details["input"]
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key.{nearest(str(loc[-1]), fields_at(loc[:-1], root))}"
        case "missing":
            return f"{path}: missing. Add it."
        case "literal_error":
            allowed = context["expected"].replace(" or ", ", ")
            return f"{path} = {given!r} is not one of [{allowed}]."
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            return f"{path}.{tag} = {context['tag']!r} is not one of [{context['expected_tags']}]."
        case "union_tag_not_found":
            return f"{path}.{context['discriminator'].strip(chr(39))}: missing. Add it."
        case "value_error":
            return f"{path}: {context['error']}."
        case "string_pattern_mismatch":
            return f"{path} = {given!r} does not match {context['pattern']}."
        case _:
            text = details["msg"].removeprefix("Input ")
            return f"{path} = {_short(given)}: {text[0].lower()}{text[1:]}."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _path_in_file(loc: tuple[str | int, ...], raw: Any) -> list[str]:
    """`loc` without the tags of discriminated unions, which the file does not have."""
    path: list[str] = []
    section = raw
    outer = raw
    for position, part in enumerate(loc):
        if isinstance(section, Mapping) and part not in section and part in section.values():
            continue  # a tag such as 'gan' or 'crnn'
        if part == 0 and path[-1:] == ["sources"] and section is None:
            path.pop()  # the keys of a single source stand in the dataset itself
            section = outer
            continue
        if position == len(loc) - 1 and part in BRANCHES:
            continue
        path.append(str(part))
        outer = section
        try:
            section = section[part]
        except (KeyError, IndexError, TypeError):
            section = None
    return path


def fields_at(loc: tuple[str | int, ...], root: type[BaseModel]) -> list[str]:
    """Names of the keys that are allowed at `loc` (a pydantic location, union tags included)."""
    candidates: list[Any] = [root]
    for part in loc:
        candidates = list(chain.from_iterable(_step(candidate, part) for candidate in candidates))
    names: list[str] = []
    for candidate in filter(_is_record, candidates):
        names += candidate.model_fields
    if "sources" in names:  # a single source stands in its dataset
        names += Source.model_fields
    return names


def _step(annotation: Any, part: str | int) -> list[Any]:
    if _is_record(annotation):
        if part in annotation.model_fields:
            return _records(annotation.model_fields[str(part)].annotation)
        literals = filter(_is_literal, annotation.model_fields.values())
        # A union's tag selects this record.
        is_tag = any(part in get_args(field.annotation) for field in literals)
        return [annotation] if is_tag else []
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is dict:
        return _records(arguments[1])
    if origin is tuple:
        return _records(arguments[0])
    return []


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_literal(field: Any) -> bool:
    return get_origin(field.annotation) is Literal


def _records(annotation: Any) -> list[Any]:
    """The records and containers inside an annotation, unions and Annotated opened."""
    if _is_record(annotation) or get_origin(annotation) in (dict, tuple):
        return [annotation]
    return list(chain.from_iterable(map(_records, get_args(annotation))))
