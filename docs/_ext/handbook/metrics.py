"""Every metric that evaluations store: formula, range, direction, protocol, source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import atelier.metrics
from atelier.metrics import classification, generation
from atelier.metrics.directions import higher_is_better
from atelier.metrics.pixel_protocol import PixelProtocol
from atelier.params.measures import metrics

KINDS = ("classification", "gan", "restoration", "translation")
EXTRACTORS = ("", "classifier", "efficientnet", "inception")
FEATURES = "features of the extractor"
# Of what lies outside of atelier.metrics.
PAPERS = {"cas": "Ravuri & Vinyals 2019, arXiv:1905.10887"}
PROTOCOLS = {
    **PixelProtocol().texts,
    **generation.PROTOCOLS,
    **classification.PROTOCOLS,
    "fd": "Gaussians, covariances of N - 1; number of features, real and generated images",
    "kid": "kernel (x.y / number of features + 1)^3, disjoint blocks of about 1000, at least 10",
    "precision": "balls reach the 3rd neighbour and are held fixed",
    "recall": "balls reach the 3rd neighbour and are held fixed",
    "density": "balls reach the 5th neighbour and are held fixed",
    "coverage": "balls reach the 5th neighbour and are held fixed",
    "memorisation": "distance to the nearest training image over that to the 5th nearest",
    "cas": "trained for `evaluation.cas_kimg` by the classifier's recipe; real test images",
    "psnr_gain": "that of PSNR; the baseline with the best mean",
    "accuracy_gain": "paired, restored minus degraded",
    "lpips": "weights of `evaluation.lpips`, named by their sha256; grey repeated in 3 channels",
}


@dataclass(frozen=True)
class Metric:
    """What a metric's name stands for.

    Attributes:
        formula: in words.
        span: the values that it can take.
        where: module and function of `atelier.metrics` whose docstring has the source.
    """

    formula: str
    span: str
    where: str = ""


TABLE = {
    "accuracy": Metric(
        "right predictions / images",
        "0 to 1",
    ),
    "macro_recall": Metric(
        "mean over the classes of: recognised images of the class / images of the class",
        "0 to 1",
    ),
    "macro_f1": Metric(
        "mean over the classes of: 2 TP / (2 TP + FP + FN)",
        "0 to 1",
        "classification.classification_scores",
    ),
    "fd": Metric(
        "|m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)) of means m and covariances S of the "
        f"{FEATURES}, of real and of generated images",
        "0 and more; biased upwards by about 1/N + 1/M",
        "distances.frechet_distance",
    ),
    "kid": Metric(
        f"squared maximum mean discrepancy of the {FEATURES}, unbiased",
        "about 0 and more; below 0 by chance",
        "distances.kid",
    ),
    "precision": Metric(
        "share of generated images that lie in some real image's ball",
        "0 to 1",
        "neighbours.neighbour_scores",
    ),
    "recall": Metric(
        "share of real images that lie in some generated image's ball",
        "0 to 1",
        "neighbours.neighbour_scores",
    ),
    "density": Metric(
        "mean number of real balls that a generated image lies in, over 5",
        "0 and more; 1 for samples of one distribution",
        "neighbours.neighbour_scores",
    ),
    "coverage": Metric(
        "share of real balls that hold a generated image",
        "0 to 1",
        "neighbours.neighbour_scores",
    ),
    "memorisation": Metric(
        "share of generated images that come closer to a training image than all but 1 % of "
        "the test images do",
        "0 to 1; at most 0.01 if nothing is copied",
        "neighbours.memorisation",
    ),
    "is": Metric(
        "exp of the mean over images of KL(class probabilities, their mean)",
        "1 to the number of classes",
        "generation.inception_score",
    ),
    "class_balance": Metric(
        "entropy of the predicted classes / log of their number",
        "0 to 1",
        "generation.class_balance",
    ),
    "rarest_class": Metric(
        "share of the rarest predicted class * number of classes",
        "0 to 1",
        "generation.rarest_class",
    ),
    "class_accuracy": Metric(
        "share of generated images that the classifier takes for the class that was asked for",
        "0 to 1",
        "generation.class_accuracy",
    ),
    "cas": Metric(
        "accuracy on real test images of a classifier that saw generated images only",
        "0 to 1",
    ),
    "mse": Metric("mean of (restored - clean)^2", "0 to 1", "pixels.mse_N"),
    "psnr": Metric("mean over images of -10 log10(MSE), in dB", "0 to 100", "pixels.psnr_N"),
    "ssim": Metric(
        "mean over windows of luminance * contrast * structure", "-1 to 1", "pixels.ssim_N"
    ),
    "ms_ssim": Metric(
        "product over five scales of contrast * structure, of the last one with luminance, "
        "each to its weight",
        "0 to 1",
        "pixels.ms_ssim_N",
    ),
    "lpips": Metric("distance of two images in a network's features", "0 and more", "lpips.Lpips"),
    "psnr_gain": Metric(
        "PSNR minus that of the best classical baseline, image by image", "-100 to 100"
    ),
    "accuracy_gain": Metric(
        "accuracy of the classifier on restored minus on degraded images, image by image",
        "-1 to 1",
    ),
}
# Scores that only some models have, beside those that the gate can always ask for.
SOMETIMES = {
    "psnr_difference": (
        "PSNR minus that of the champion of `compare_with`, image by image",
        "psnr_difference",
    ),
    "kid_EXTRACTOR_difference": (
        "KID of what a GAN draws through `refine` minus KID of what it draws without; of the "
        "subject `sampled`: of what `sampling` draws minus of what the GAN draws by itself",
        "kid_classifier_difference",
    ),
    "psnr_gain_NAME": (
        "PSNR minus that of non-local means or BM3D, on the first test images",
        "psnr_gain_bm3d",
    ),
}


def all_names() -> dict[str, list[str]]:
    """Every stored metric, and the kinds of models that have it."""
    kinds: dict[str, list[str]] = {}
    for kind in KINDS:
        for extractor in EXTRACTORS:
            for name in metrics(kind, extractor):
                holders = kinds.setdefault(name, [])
                if kind not in holders:
                    holders.append(kind)
    return kinds


def base_of(name: str) -> str:
    """The entry of the table that a name belongs to: `kid` of `kid_classifier`."""
    if name == "fid":
        return "fd"
    base = name
    while base not in TABLE:
        base = base.rpartition("_")[0]
        if not base:
            raise KeyError(f"{name} is no metric that the table explains")
    return base


def source_of(where: str) -> str:
    """The source that a docstring gives, on one line; empty if it gives none."""
    if not where:
        return ""
    module, name = where.split(".")
    file = Path(atelier.metrics.__file__).with_name(f"{module}.py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            text = ast.get_docstring(node) or ""
            return " ".join(text.partition("Source: ")[2].split()).removesuffix(".")
    raise KeyError(f"{where} is no function of atelier.metrics")


def render() -> str:
    """A section for each metric, with all names that it is stored under."""
    names: dict[str, list[str]] = {}
    kinds_of = all_names()
    for name in kinds_of:
        names.setdefault(base_of(name), []).append(name)
    parts = []
    for base, stored in names.items():
        kinds = dict.fromkeys(kind for name in stored for kind in kinds_of[name])
        parts += _render_metric(base, stored, list(kinds))
    parts.append("## Of some models only\n")
    for name, (formula, example) in SOMETIMES.items():
        parts.append(f"`{name}`\n: {formula}. Better: {_direction(example)}.\n")
    return "\n".join(parts) + "\n"


def _render_metric(base: str, stored: list[str], kinds: list[str]) -> list[str]:
    metric = TABLE[base]
    shown = ", ".join(f"`{name}`" for name in stored)
    lines = [f"## {shown if len(stored) < 3 else f'`{base}`'}\n"]
    lines.append(f"{metric.formula[:1].upper()}{metric.formula[1:]}.\n".replace("*", "\\*"))
    facts = {
        "Stored as": shown,
        "Of": ", ".join(kinds),
        "Range": metric.span,
        "Better": _direction(stored[0]),
        "Protocol": PROTOCOLS[base],
        "Source": PAPERS.get(base) or source_of(metric.where) or "none: it is what its name says",
    }
    lines += [f"- **{name}:** {value}".replace("^", "\\^") for name, value in facts.items()]
    return [*lines, ""]


def _direction(name: str) -> str:
    return "higher" if higher_is_better(name) else "lower"
