"""Every command, its arguments and its options, as Typer knows them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from atelier.cli import app

TYPES = {str: "TEXT", list[str]: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}
UNLIMITED = 2**31  # what a page need not say


def all_commands() -> dict[str, Any]:
    """Every command by its words: `run`, `data status`, ..."""
    return dict(_commands_of(typer.main.get_command(app), ""))


def _commands_of(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        words = f"{prefix}{name}"
        if hasattr(command, "commands"):
            yield from _commands_of(command, f"{words} ")
        else:
            yield words, command


def render() -> str:
    """A section for each command, in alphabetical order."""
    parts = []
    for words, command in sorted(all_commands().items()):
        parts += _render_command(words, command)
    return "\n".join(parts) + "\n"


def _render_command(words: str, command: Any) -> Iterator[str]:
    usage = [f"atelier {words}"]
    for parameter in command.params:
        if is_argument(parameter):
            usage.append(_metavar(parameter))
    yield f"## `atelier {words}`\n"
    yield f"```{{program}} atelier {words}\n```\n"
    yield f"```sh\n{' '.join([*usage, '[OPTIONS]'])}\n```\n"
    yield f"{escape(inspect.cleandoc(command.help or ''))}\n"
    for parameter in command.params:
        yield _render_parameter(parameter)


def is_argument(parameter: Any) -> bool:
    """Whether it is given by its place, not by a name."""
    return parameter.param_type_name == "argument"


def is_flag(parameter: Any) -> bool:
    """Whether an option takes no value."""
    return parameter.type_descriptor.annotation is bool


def _render_parameter(parameter: Any) -> str:
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if is_argument(parameter):
        names = _metavar(parameter)
    elif not is_flag(parameter):
        names += f" {_metavar(parameter)}"
    said = [getattr(parameter, "help", None) or "", _limits(parameter), _default(parameter)]
    text = " ".join(part for part in said if part)
    return f"```{{option}} {names}\n\n{escape(text)}\n```\n"


def _metavar(parameter: Any) -> str:
    if is_argument(parameter):
        shown = parameter.metavar or str(parameter.name).upper()
        return shown if parameter.required or shown.startswith("[") else f"[{shown}]"
    return parameter.metavar or TYPES[parameter.type_descriptor.annotation]


def _limits(parameter: Any) -> str:
    if parameter.min is None:
        return ""
    if parameter.max is None or parameter.max >= UNLIMITED:
        return f"At least {parameter.min}."
    return f"From {parameter.min} to {parameter.max:,}."


def _default(parameter: Any) -> str:
    """The default as words; what the help says of it is not said twice."""
    said = "[default:" in (getattr(parameter, "help", None) or "")
    if said or callable(parameter.default):
        return ""
    if parameter.required:
        return "Required."
    is_silent = parameter.default is None or parameter.default is False or parameter.default == ""
    return "" if is_silent or parameter.multiple else f"[default: {parameter.default}]"


def escape(text: str) -> str:
    """Text of a help page in Markdown: brackets and angles mean nothing there."""
    for sign in "\\*_<[":
        text = text.replace(sign, f"\\{sign}")
    return text
