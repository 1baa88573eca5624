"""What a model and an evaluation are made of, hashed: with equal fingerprints nothing would differ.

Code counts as what it does: the source of every Atelier module that an entry module imports,
directly or not, without comments, docstrings and log calls. The modules are read as text, so that
a plan imports no torch.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from atelier.params import GanModel, Model, Params, RestorationModel, TranslationModel

TRAINING_MODULES = {
    "classification": "atelier.training.classification",
    "gan": "atelier.training.gan",
    "restoration": "atelier.training.restoration",
    "translation": "atelier.training.translation",
}
EVALUATION_MODULE = "atelier.evaluation"
# What these do reaches a model through its resolved parameters or not at all.
IGNORED_MODULES = {
    "atelier",
    "atelier.errors",
    "atelier.params",
    "atelier.project",
    "atelier.data.staging",
}
# How often a training reports and saves doesn't change what it ends with.
RHYTHM = {"log_every_kimg", "sample_every_kimg", "checkpoint_every_kimg"}
LOG_CALLS = {"debug", "info", "warning", "error", "log", "sample", "on_log", "on_note"}


def digest(inputs: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of `inputs`."""
    return hashlib.sha256(
        json.dumps(inputs, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def datasets_of(model: Model) -> list[str]:
    """The datasets that a model learns from and is scored on; its own is the first."""
    damaged = model.damaged if isinstance(model, TranslationModel) else None
    return [model.dataset, *([damaged] if damaged else [])]


def training_inputs(
    params: Params, name: str, dataset_digests: Mapping[str, str], source: str = ""
) -> dict[str, Any]:
    """Everything that a training's result depends on.

    Args:
        params: the desired state.
        name: the model.
        dataset_digests: version of each of its datasets.
        source: the version that it is built from, `name/number`, whatever the parameters call it;
            empty if it is built from none.
    """
    model = params.models[name]
    left_out: Any = {"training": RHYTHM, "data": {"extend": {"gan"}}}
    left_out |= {"refine": True, "sampling": True, "compare_with": True, "purpose": True}
    return {
        "params": {
            "seed": params.seed,
            **model.model_dump(mode="json", exclude_none=True, exclude=left_out),
        },
        "data": dict(dataset_digests),
        "code": module_hashes(TRAINING_MODULES[model.kind]),
        **({"source": source} if source else {}),
    }


def evaluation_inputs(
    params: Params,
    name: str,
    version: str,
    dataset_digests: Mapping[str, str],
    extractor: str,
    compared: str = "",
) -> dict[str, Any]:
    """Everything that an evaluation's result depends on.

    Args:
        params: the desired state.
        name: the model.
        version: the version to be scored, `name/number`.
        dataset_digests: version of each of its datasets.
        extractor: the classifier version used, `name/number`, or the published weights; or empty.
        compared: the version of `compare_with`, `name/number`; empty if there is none.
    """
    return {
        "version": version,
        "data": dict(dataset_digests),
        "params": evaluation_params(params, params.models[name]),
        "extractor": extractor,
        "code": module_hashes(EVALUATION_MODULE),
        **({"compared": compared} if compared else {}),
    }


def evaluation_params(params: Params, model: Model) -> dict[str, Any]:
    """The part of `evaluation` that matters to this kind of model."""
    asked = params.evaluation
    relevant: dict[str, Any] = {
        "num_images": asked.num_images,
        "confidence": asked.confidence,
        "seed": params.seed,
    }
    if isinstance(model, GanModel):
        if model.sampling is not None and not model.sampling.changes_nothing:
            relevant["sampling"] = model.sampling.model_dump()
        if not asked.classifier:
            return relevant
        relevant["cas_kimg"] = asked.cas_kimg
        recipe = params.models[asked.classifier]  # trained anew, on generated images, for cas_kimg
        relevant["cas"] = recipe.model_dump(
            mode="json",
            include={"network": True, "training": True},
            exclude={"training": RHYTHM | {"kimg", "minutes"}},
        )
    if isinstance(model, (RestorationModel, TranslationModel)) and model.degradation is not None:
        relevant["degradation"] = model.model_dump(mode="json", exclude_none=True)["degradation"]
        relevant["pixels"] = asked.pixels.model_dump()
        if asked.lpips is not None:
            relevant["lpips"] = asked.lpips.sha256  # wherever the file lies
        if params.datasets[model.dataset].image_size is None:
            relevant["max_side"] = asked.max_side
    return relevant


def uses_extractor(params: Params, name: str) -> bool:
    """Whether the extractor helps to score this model.

    A classifier does if it learnt the same dataset, and isn't the model itself. Published weights
    know no classes, so they only tell how sets of images differ.
    """
    model = params.models[name]
    classifier = params.models.get(params.evaluation.classifier)
    if model.kind == "classification":
        return False
    if classifier is None:
        unpaired = isinstance(model, TranslationModel) and model.damaged is not None
        return bool(params.evaluation.published_weights) and (
            isinstance(model, GanModel) or unpaired
        )
    return model.dataset == classifier.dataset


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Why two inputs differ, for people: "params: training.kimg 200 -> 500", "code: losses.py"."""
    reasons = [
        f"params: {line}" for line in _value_differences(before.get("params", {}), after["params"])
    ]
    for name, new in after["data"].items():
        old = before.get("data", {}).get(name)
        if old != new:
            reasons.append(f"data: {name} changed ({(old or 'none')[:8]} -> {new[:8]})")
    for key in ("extractor", "source", "compared"):
        if before.get(key) != after.get(key):
            reasons.append(f"{key}: {before.get(key) or 'none'} -> {after.get(key) or 'none'}")
    old_code = before.get("code", {})
    new_code = after["code"]
    changed = sorted(
        file
        for file in old_code.keys() | new_code.keys()
        if old_code.get(file) != new_code.get(file)
    )
    if changed:
        reasons.append(f"code: {', '.join(changed)}")
    return reasons


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one level of dotted keys."""
    if isinstance(values, Mapping):
        items = list(values.items())
    elif isinstance(values, (list, tuple)):
        items = list(enumerate(values))
    else:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _value_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old = flatten(before)
    new = flatten(after)
    keys = [*new, *(key for key in old if key not in new)]
    return [
        f"{key} {_show(old, key)} -> {_show(new, key)}"
        for key in keys
        if old.get(key, ...) != new.get(key, ...)
    ]


def _show(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "(not set)")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@cache
def module_hashes(entry: str) -> dict[str, str]:
    """{file below atelier/: hash of what it does} for `entry` and all of ours that it imports."""
    hashes: dict[str, str] = {}
    waiting = [entry]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen or _is_ignored(module):
            continue
        seen.add(module)
        path = _source_file(module)
        behaviour, imported = _read_module(path.read_text(encoding="utf-8"))
        waiting += imported
        hashes[str(path.relative_to(_PACKAGE))] = behaviour
    return dict(sorted(hashes.items()))


@cache  # the entries share most modules
def _read_module(source: str) -> tuple[str, list[str]]:
    """Hash of what a module does, and the Atelier modules that it imports."""
    tree = ast.parse(source)
    imported = sorted(_imported_modules(tree))
    behaviour = ast.unparse(_WithoutNotes().visit(tree))
    return hashlib.sha256(behaviour.encode()).hexdigest()[:16], imported


_PACKAGE = Path(__file__).parents[1]


def _is_ignored(module: str) -> bool:
    return module in IGNORED_MODULES or module.startswith("atelier.params.")


def _source_file(module: str) -> Path:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported_modules(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("atelier.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("atelier"):
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module, *(name for name in submodules if _source_file(name).is_file())}
    return found


class _WithoutNotes(ast.NodeTransformer):
    """Drops docstrings and log calls; comments are gone after parsing anyway."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        call = node.value
        is_log = (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in LOG_CALLS
        )
        is_text = isinstance(call, ast.Constant) and isinstance(call.value, str)
        return None if is_log or is_text else node
