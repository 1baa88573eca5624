"""The exit codes of commands."""

from __future__ import annotations

from atelier import errors
from atelier.cli.ending import NAMES

MEANINGS = {
    0: "it was done, or there was nothing to do",
    1: "it failed, or what it looked at is not as it should be",
    2: "the command or `params.yaml` has a mistake; nothing was done",
}
# Of commands that look: 1 is an answer, not a failure.
ANSWERS = (
    "`atelier doctor`, `atelier status`: something is wrong",
    "`atelier ledger`: aliases differ from what was decided",
    "`atelier reproduce`: the weights are not identical",
    "`atelier lineage`: a link leads nowhere",
)


def error_kinds() -> dict[int, list[str]]:
    """The errors that end with each exit code."""
    kinds: dict[int, list[str]] = {}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.AtelierError):
            kinds.setdefault(kind.exit_code, []).append(name)
    return kinds


def render() -> str:
    """A table of all exit codes."""
    kinds = error_kinds()
    lines = ["| exit code | meaning | errors |", "|---|---|---|"]
    for code, meaning in MEANINGS.items():
        names = ", ".join(f"`{name}`" for name in kinds.get(code, []))
        lines.append(f"| {code} | {meaning} | {names} |")
    for number, name in NAMES.items():
        lines.append(f"| {128 + number} | ended by {name}: 128 + {int(number)} | |")
    lines += ["", "An exit code of 1 can also be an answer:", ""]
    lines += [f"- {answer}" for answer in ANSWERS]
    return "\n".join(lines) + "\n"
