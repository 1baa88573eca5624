"""What the source says of each field of a record: the comment above or beside it."""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from functools import cache
from pathlib import Path
from typing import Any


def meaning_of(record: type[Any], name: str) -> str:
    """The comment of a field, on one line; of an inherited field that of the base.

    Empty if it has none.
    """
    for owner in record.__mro__:
        if name in owner.__dict__.get("__annotations__", {}):
            return _comments_of_class(owner)[name]
    return ""


@cache
def _comments_of_class(record: type[Any]) -> dict[str, str]:
    source = Path(inspect.getsourcefile(record) or "").read_text(encoding="utf-8")
    own_lines, beside = _comments_of_file(source)
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == record.__name__:
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    found[field.target.id] = _comment_of(field, own_lines, beside)
    return found


def _comment_of(field: ast.AnnAssign, own_lines: dict[int, str], beside: dict[int, str]) -> str:
    above = []
    line = field.lineno - 1
    while line in own_lines:
        above.append(own_lines[line])
        line -= 1
    after = []
    for number in range(field.lineno, (field.end_lineno or field.lineno) + 1):
        if number in beside:
            after.append(beside[number])
    return " ".join([*reversed(above), *after])


def _comments_of_file(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Comments by line: those that have it for themselves, and those beside code."""
    own_lines, beside = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.removeprefix("#").strip()
            stands_alone = not token.line[: token.start[1]].strip()
            (own_lines if stands_alone else beside)[token.start[0]] = text
    return own_lines, beside
