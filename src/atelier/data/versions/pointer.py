"""`data.dvc` as a file: what DVC wrote into it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

FIRST_CONTENT = "outs:\n- hash: md5\n  path: data\n"


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


def write_data_dvc(path: Path, md5: str, size: int, num_files: int) -> None:
    """Write a `data.dvc` as `dvc add` would, so that git sees no change where there is none."""
    from ruamel.yaml import YAML

    yaml = YAML()
    before = path.read_text(encoding="utf-8") if path.exists() else FIRST_CONTENT
    content = yaml.load(before)
    content["outs"][0].update(md5=md5, size=size, nfiles=num_files)
    text = io.StringIO()
    yaml.dump(content, text)
    new = path.with_suffix(".dvc.new")
    new.write_text(text.getvalue(), encoding="utf-8")
    new.replace(path)
