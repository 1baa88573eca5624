"""`data.dvc` as a file: what DVC wrote into it."""

from __future__ import annotations

from typing import Any


def parse_data_dvc(content: bytes) -> dict[str, Any]:
    """What a `data.dvc` says.

    Raises:
        ValueError: if DVC didn't write it.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        parsed: dict[str, Any] = YAML(typ="safe", pure=True).load(content.decode("utf-8"))
        if isinstance(parsed["outs"][0]["md5"], str):
            return parsed
    except (YAMLError, KeyError, TypeError, IndexError):
        pass
    raise ValueError("not a file that DVC wrote")


def version_in(content: bytes) -> str:
    """The version that a `data.dvc` names: 32 hexadecimal digits and `.dir`.

    Raises:
        ValueError: if DVC didn't write it.
    """
    return str(parse_data_dvc(content)["outs"][0]["md5"])
