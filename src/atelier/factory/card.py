"""The model card of a version: its purpose, data, scores, failures and cost.

Source of the sections: Mitchell et al. 2019, arXiv:1810.03993.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atelier.errors import RegistryError
from atelier.factory.fingerprint import flatten
from atelier.params import GanModel, Model, Params, RestorationModel, TranslationModel
from atelier.registry import Registry, Version
from atelier.ui.pages import render

if TYPE_CHECKING:
    import pandas as pd

# Licences of what Atelier fetches itself.
LICENCES = {"fashion-mnist": "MIT, Zalando SE (github.com/zalandoresearch/fashion-mnist)"}
UNSTATED = "not stated (`licence:` of the dataset in params.yaml): don't pass the pictures on"
PROVENANCE = {
    "fingerprint": "fingerprint",
    "git.commit": "git commit",
    "git.dirty": "uncommitted changes",
    "params.sha256": "sha256 of params",
    "seed": "seed",
    "prefect.flow_run_id": "Prefect flow run",
    "built.from": "built from",
}
CAPTIONS = {
    "restored.png": "Clean, degraded, best baseline, restored",
    "generated.png": "Generated, a class a row",
    "errors.png": "The worst test images: clean, degraded, restored, and where it errs "
    "(white: a quarter of the range)",
    "attribution.png": "Which pixels the details in the marked patch come from",
    "unrefined.png": "The same before they passed through the restorer",
    "sampled.png": "The same as `sampling` draws them",
    "interpolation.png": "On the way from one latent to another, a class a row",
    "memorisation.png": "The generated images nearest to a training image, above that image",
    "confusion.png": "True classes (rows) against predicted ones; black: all",
    "gradcam.png": "Mistakes, and what in the image speaks for the wrong class",
}


def begin_card(
    params: Params, name: str, counts: Mapping[str, Mapping[Any, int]], tags: Mapping[str, str]
) -> dict[str, Any]:
    """The part of a card that is known before a version is registered.

    Args:
        params: the desired state.
        name: the model.
        counts: images in each split of each of its datasets.
        tags: of the version that is to be.

    Returns:
        The facts, as plain JSON types.

    Raises:
        RegistryError: naming each required field that is missing.
    """
    model = params.models[name]
    facts: dict[str, Any] = {
        "model": name,
        "kind": model.kind,
        "purpose": model.purpose or _purpose(model),
        "data": {
            "md5": tags.get("data.md5", ""),
            "images": {dataset: dict(splits) for dataset, splits in counts.items()},
            "licence": {dataset: _licence(params, dataset) for dataset in counts},
        },
        "parameters": flatten(
            model.model_dump(mode="json", exclude_none=True, exclude={"purpose"})
        ),
        "provenance": {label: tags.get(tag, "") for tag, label in PROVENANCE.items()},
    }
    # A card without one of these is none, and a version without a card is not registered.
    required = {
        "purpose": facts["purpose"],
        "data.licence": facts["data"]["licence"],
        "data.images": facts["data"]["images"],
        "parameters": facts["parameters"],
        "provenance.fingerprint": facts["provenance"]["fingerprint"],
        "provenance.seed": facts["provenance"]["seed"],
    }
    missing = [field for field, value in required.items() if not value]
    if missing:
        raise RegistryError(
            f"the model card of {name} lacks {', '.join(missing)}, so no version is registered: "
            "nobody could say what it is, or make it again. Run `atelier doctor`."
        )
    return facts


def _purpose(model: Model) -> str:
    if isinstance(model, GanModel):
        asked = {
            True: " of a class that is asked for",
            None: ", of a class that is asked for if they have classes",
        }
        return f"Draws new images like those of {model.dataset}{asked.get(model.conditional, '')}."
    if isinstance(model, (RestorationModel, TranslationModel)):
        steps: list[str] = []
        for step in model.degradation or ():
            steps += step.model_dump(exclude_none=True)
        if not steps:
            return (
                f"Makes pictures of {getattr(model, 'damaged', '')} like those of {model.dataset}."
            )
        damage = " and then ".join(steps).replace("_", " ")
        return f"Restores images like those of {model.dataset} from: {damage}."
    return f"Tells the classes of {model.dataset} apart."


def _licence(params: Params, name: str) -> str:
    dataset = params.datasets[name]
    known = [LICENCES[source.source] for source in dataset.sources if source.source in LICENCES]
    return dataset.licence or "; ".join(known) or UNSTATED


def complete_card(
    registry: Registry, version: Version, verdict: str, reasons: tuple[str, ...]
) -> dict[str, Any]:
    """The facts of a version that was evaluated, inspected and judged.

    Raises:
        RegistryError: if its training left no card.
    """
    run = registry.runs.record(version.run_id)
    facts = registry.runs.read_json(version.run_id, "card/card.json")
    if run is None or facts is None:
        raise RegistryError(
            f"{version} has no model card, or no run: it can't be judged. Train it again."
        )
    table = registry.runs.read_table(version.run_id, "evaluation/scores.csv")
    inspected = registry.runs.read_json(version.run_id, "blessings/infrastructure.json") or {}
    cost = {
        "weights": run.metrics.get("cost/parameters"),
        "multiplications for an image": run.metrics.get("cost/macs_per_image"),
        "images/s on the machine that trained it": run.metrics.get("cost/images_per_second"),
        "minutes of training": run.metrics.get("minutes"),
        "ms for one image on one core": inspected.get("milliseconds"),
    }
    return {
        **facts,
        "version": str(version),
        "created": version.created,
        "run_id": version.run_id,
        "verdict": verdict,
        "reasons": list(reasons),
        "metrics": [] if table is None else _metrics(table),
        "slices": [] if table is None else _slices(table),
        "cost": {name: value for name, value in cost.items() if value is not None},
        "machine": {name: run.params.get(name, "") for name in ("device", "threads", "processes")},
    }


def _metrics(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a metric and subject, of all images."""
    rows = table[table["slice"] == "all"]
    columns = ["metric", "subject", "value", "low", "high", "num_samples", "protocol"]
    found: list[dict[str, Any]] = json.loads(rows[columns].to_json(orient="records"))
    return found


def _slices(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The model's scores in classes, levels and iterations."""
    rows = table[(table["slice"] != "all") & (table["subject"] == "model")]
    found: list[dict[str, Any]] = json.loads(
        rows[["slice", "metric", "value", "low", "high"]].to_json(orient="records")
    )
    return found


def render_card(facts: Mapping[str, Any], pictures: Mapping[str, bytes]) -> dict[str, str]:
    """The card as `card.md` and `card.html`; whatever comes from outside is escaped.

    Args:
        facts: of `complete_card`.
        pictures: PNG files by name.
    """
    known = list(CAPTIONS)  # the results first, then why and where it errs
    names = sorted(pictures, key=lambda name: known.index(name) if name in known else len(known))
    shown = [
        (CAPTIONS.get(name, name), name, base64.b64encode(pictures[name]).decode())
        for name in names
    ]
    return {
        "card.md": render("card.md", {"cell": cell}, card=facts, pictures=shown),
        "card.html": render("card.html", card=facts, pictures=shown),
    }


def cell(value: object) -> str:
    """Text that stays text in Markdown: no column, line, tag, link or emphasis begins in it."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    # Inside of a word `_` is a letter; a heading, a list or a quotation begins at the beginning.
    return re.sub(r"[\\`*~|\[\]]|(?<!\w)_|_(?!\w)|^[#>+-]", r"\\\g<0>", text)
