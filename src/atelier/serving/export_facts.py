"""What is told of an exported model: its card, and what an ONNX file says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atelier import __version__


def facts_of(config: Mapping[str, Any], version: str, run_id: str) -> dict[str, str]:
    """Where a model comes from and what it is, by name.

    Args:
        config: of its bundle.
        version: name/number.
        run_id: of the MLflow run that trained it.
    """
    facts = {
        "version": version,
        "MLflow run": run_id,
        "kind": config["kind"],
        "network": config["builder"],
        "colours": {1: "grey, one channel", 3: "RGB, three channels in this order"}[
            config["channels"]
        ],
    }
    if config["kind"] != "restoration" and config["class_names"]:
        names = enumerate(config["class_names"])
        facts["classes"] = ", ".join(f"{number} {name}" for number, name in names)
    if "refiner" in config:
        facts["refined by"] = f"{config['refiner']['version']}, inside"
    facts["exported by"] = f"Atelier {__version__}"
    return facts


def render_card(title: str, facts: Mapping[str, str], more: str = "") -> str:
    """Markdown: a title, the facts as a table, and what else is to be said."""
    rows = [f"| {name} | {_in_a_cell(value)} |" for name, value in facts.items()]
    return "\n".join([f"# {title}", "", "| | |", "|---|---|", *rows, "", more]).rstrip() + "\n"


def _in_a_cell(text: str) -> str:
    """Names of classes may hold anything; a line or a bar would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")
