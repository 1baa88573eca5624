"""Which values a key of params.yaml takes, in words, from its annotation."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from atelier.params.record import MODEL_NAME, ReferenceText

NAMES = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
REFERENCE_PATTERN = get_args(ReferenceText)[1].metadata[0].pattern
PATTERNS = {
    MODEL_NAME: "name of small letters, digits and dashes",
    REFERENCE_PATTERN: "`NAME`, `NAME@ALIAS` or `NAME/VERSION`",
    "^[0-9a-f]{64}$": "64 hexadecimal digits",
    r"^(auto|cpu|cuda(:\d+)?)$": "`auto`, `cpu`, `cuda` or `cuda:NUMBER`",
}
VALIDATORS = {
    "check_cron": "five fields of crontab",
    "check_zone": "time zone of the IANA database",
    "check_period": "number and unit: `30s`, `5m`, `2h`, `1d`",
    "_check_features": (
        "`classifier:MODEL`, `classifier:MODEL/VERSION`, `efficientnet_lite0` or `inception`"
    ),
}
LIMITS = {
    "gt": "above {}",
    "ge": "at least {}",
    "lt": "below {}",
    "le": "at most {}",
    "multiple_of": "a multiple of {}",
}


def describe(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """The values that an annotation with its metadata allows."""
    rules = list(_flatten(metadata))
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return describe(inner, [*more, *rules])
    for rule in rules:
        if isinstance(rule, BeforeValidator):
            number = inspect.getclosurevars(rule.func).nonlocals["one"]._type
            return f"{describe(number)}; or `[low, high]`, a range of such"
        if isinstance(rule, AfterValidator):
            return VALIDATORS[rule.func.__name__]
    if origin is Literal:
        return _either([f"`{value}`" for value in get_args(annotation)])
    if origin in (Union, types.UnionType):
        return _describe_union(annotation, rules)
    if origin is tuple:
        return _describe_tuple(annotation)
    if origin is list:
        return f"list of: {describe(get_args(annotation)[0])}"
    if origin is dict:
        return f"mapping of names to: {describe(get_args(annotation)[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _describe_plain(annotation, rules)


def _describe_union(annotation: Any, rules: list[Any]) -> str:
    members = [member for member in get_args(annotation) if member is not type(None)]
    texts = dict.fromkeys(describe(member, rules) for member in members)
    return _either(list(texts))


def _describe_tuple(annotation: Any) -> str:
    members = get_args(annotation)
    if members[-1] is Ellipsis:
        return f"list of: {describe(members[0])}"
    return f"list of {len(members)}, each: {describe(members[0])}"


def _describe_plain(annotation: Any, rules: list[Any]) -> str:
    for rule in rules:
        pattern = getattr(rule, "pattern", None)
        if pattern:
            return PATTERNS.get(pattern, f"text that matches `{pattern}`")
    limits = []
    for rule in rules:
        for attribute, words in LIMITS.items():
            limit = getattr(rule, attribute, None)
            if limit is not None:
                limits.append(words.format(f"{limit:,}"))
    name = NAMES[annotation]
    if annotation is str:
        longest = [rule.max_length for rule in rules if hasattr(rule, "max_length")]
        return f"text of at most {longest[0]} characters" if longest else name
    return " ".join([name, " and ".join(limits)]).strip()


def _flatten(metadata: Iterable[Any]) -> Iterable[Any]:
    for rule in metadata:
        if isinstance(rule, FieldInfo):
            yield from rule.metadata
        else:
            yield rule


def _either(texts: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
