"""Models that fit what was seen of the pictures, with budgets for this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from atelier.init.survey import Survey

FEW = 1000  # training pictures below which they are augmented
VERY_FEW = 300  # below, a fifth and not a tenth is kept for the scores
FEWEST_OF_A_CLASS = 20  # below, there is nothing to learn of it
FEWEST_FOR_A_GAN = 400  # pictures; its scores need hundreds of test pictures
SIDES = (64, 32)  # of squares, in pixels: what a CPU learns in minutes
LARGE = 96  # pixels of the shorter side from which pictures are restored in their own size
CROP = 48  # pixels
WALL_MINUTES = 2.5  # for each model
MOST_CORES = 8  # that such small networks keep busy
FLIPPED = "flip: true"
TURNED = "flip: true, quarter_turns: true"


@dataclass(frozen=True)
class Proposal:
    """A params.yaml, and why it is so.

    Attributes:
        text: of the file, with comments.
        models: what it proposes, each with its reason.
    """

    text: str
    models: dict[str, str]


@dataclass(frozen=True)
class _Recipe:
    """One entry of `models`: its name, the reason for people, and its lines."""

    name: str
    reason: str
    lines: tuple[str, ...]


def propose(survey: Survey) -> Proposal:
    """Write the parameters that fit these pictures.

    Classes that are large enough get a classifier and a GAN, large pictures a denoiser and an
    enlarger of any size, small ones a denoiser and an inpainter.
    """
    name = dataset_name(survey.path)
    side = _side(survey)
    recipes = list(_recipes(survey, name, side))
    lines = [
        *_head(survey),
        "datasets:",
        *_dataset(survey, name, side),
        "",
        "models:",
    ]
    for recipe in recipes:
        lines += [f"  # {recipe.reason}.", f"  {recipe.name}:", *recipe.lines, ""]
    lines += _tail(survey)
    reasons = {recipe.name: recipe.reason for recipe in recipes}
    return Proposal("\n".join(lines) + "\n", reasons)


def dataset_name(path: str) -> str:
    """A name for params.yaml made of a path: small letters, digits and dashes."""
    stem = re.split(r"[/\\]", path.rstrip("/\\"))[-1].partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:40] or "pictures"


def _has_classes(survey: Survey) -> bool:
    counts = survey.classes.values()
    return len(counts) > 1 and min(counts) >= FEWEST_OF_A_CLASS


def _side(survey: Survey) -> int | None:
    """The side of the squares to be stored, in pixels; None: pictures keep their own size."""
    if survey.one_size and 16 <= survey.shortest <= SIDES[0] and survey.shortest % 4 == 0:
        return survey.shortest
    if not _has_classes(survey) and survey.typical >= LARGE:
        return None
    for side in SIDES:
        if survey.typical >= side:
            return side
    return 16


def _recipes(survey: Survey, name: str, side: int | None) -> Iterator[_Recipe]:
    is_small = survey.pictures < FEW
    if _has_classes(survey):
        yield _classifier(name, _batch(survey, 64))
        if survey.pictures >= FEWEST_FOR_A_GAN:
            yield _gan(name, _batch(survey, 32 if is_small else 64), is_small)
    elif side is None:
        yield _denoiser(name, _batch(survey, 32), None, is_small)
        yield _enlarger(name, _batch(survey, 32), is_small)
    else:
        yield _denoiser(name, _batch(survey, 32), side, is_small)
        yield _inpainter(name, _batch(survey, 32), side)


def _batch(survey: Survey, usual: int) -> int:
    """The usual size of batches, halved until the training pictures fill two of them."""
    training = survey.splits.get("train", 0) or survey.pictures * 0.7
    size = usual
    while size > 1 and 2 * size > training:
        size //= 2
    return size


def _classifier(name: str, batch: int) -> _Recipe:
    return _Recipe(
        f"{name}-classifier",
        "Tells the classes apart; its features also say how good the generated pictures are",
        (
            "    kind: classification",
            f"    dataset: {name}",
            "    network: {name: cnn, width: 24}",
            *_training(batch, "lr: 3e-3", FLIPPED),
        ),
    )


def _gan(name: str, batch: int, is_small: bool) -> _Recipe:
    lines = [
        "    kind: gan",
        f"    dataset: {name}",
        "    generator: {name: dcgan, width: 32, latent_dim: 64}",
        "    discriminator: {name: dcgan, width: 32}",
        "    loss: non-saturating",
        "    r1_gamma: 2.0",
        "    penalty_every: 4",
    ]
    if is_small:
        lines.append(
            "    discriminator_augment: "
            "{colour: true, translation: 0.125, cutout: 0.5, probability: 1.0}"
        )
        lines += _training(batch, "lr: 1e-3; betas: [0.0, 0.99]", FLIPPED)
    else:  # what it is shown mirrored it draws mirrored; only few pictures are worth that
        lines += _training(batch, "lr: 1.4e-3; betas: [0.0, 0.99]", "")
    return _Recipe(f"{name}-gan", "Draws new pictures of any of the classes", tuple(lines))


def _denoiser(name: str, batch: int, side: int | None, is_small: bool) -> _Recipe:
    changes = TURNED if is_small and side is None else FLIPPED
    return _Recipe(
        f"{name}-denoise",
        "Takes noise away, of any strength between the two (standard deviations, of a range of 1)",
        (
            "    kind: restoration",
            f"    dataset: {name}",
            "    degradation: [{noise: {sigma: [0.02, 0.2]}}]",
            "    network: {name: cnn, width: 32, depth: 6, noise_level: true}",
            "    loss: l2",
            *_training(batch, "lr: 1e-3; clip_gradients: 0.1", changes, side is None),
        ),
    )


def _enlarger(name: str, batch: int, is_small: bool) -> _Recipe:
    return _Recipe(
        f"{name}-enlarge",
        "Makes pictures twice as high and wide",
        (
            "    kind: restoration",
            f"    dataset: {name}",
            "    degradation: [{downsample: {factor: 2}}]",
            "    network: {name: cnn, width: 32, depth: 6}",
            "    loss: l1",
            *_training(batch, "lr: 1e-3", TURNED if is_small else FLIPPED, True),
        ),
    )


def _inpainter(name: str, batch: int, side: int) -> _Recipe:
    hole = max(4, round(side * 0.4))
    return _Recipe(
        f"{name}-inpaint",
        f"Fills a hidden box of {hole} x {hole} pixels",
        (
            "    kind: restoration",
            f"    dataset: {name}",
            f"    degradation: [{{mask: {{size: {hole}}}}}]",
            "    network: {name: crnn, width: 16, iterations: 3}",
            "    loss: l2",
            *_training(batch, "lr: 2e-3", FLIPPED),
        ),
    )


def _training(batch: int, own: str, changes: str, of_crops: bool = False) -> list[str]:
    """A budget in minutes of CPU time, which is what this machine does in `WALL_MINUTES`.

    Args:
        batch: its size.
        own: what this training needs, in entries that "; " divides.
        changes: of pictures, entries of `augment`; empty: none.
        of_crops: whether it learns from crops.
    """
    cores = min(os.cpu_count() or 1, MOST_CORES)
    lines = [
        f"minutes: {WALL_MINUTES * cores:g}    # of CPU time: {WALL_MINUTES:g} on {cores} cores",
        f"batch_size: {batch}",
        *own.split("; "),
        "warmup_kimg: 2",
        "ema_halflife_kimg: 5",
    ]
    if of_crops:
        lines.append(f"crop_size: {CROP}")
    if changes:
        lines.append(f"augment: {{{changes}}}")
    return ["    training:", *(f"      {line}" for line in lines)]


def _head(survey: Survey) -> list[str]:
    return [
        "# The desired state: `atelier run` brings data, models and registry to it; `atelier plan`",
        "# says what that would be. Written by `atelier init`; it is yours now.",
        f"# Seen: {in_words(survey)}.",
        "",
    ]


def in_words(survey: Survey) -> str:
    """What was seen, in one line."""
    colour = "grey" if survey.grey else "in colour"
    if survey.one_size:
        size = f"{survey.shortest} x {survey.shortest} pixels"
    else:
        size = f"sides of {survey.shortest} to {survey.longest} pixels"
    parts = [f"{survey.pictures:,} pictures {colour}, {size}"]
    if survey.classes:
        fewest = min(survey.classes.values())
        most = max(survey.classes.values())
        parts.append(f"{len(survey.classes)} classes of {fewest:,} to {most:,}")
    else:
        parts.append("no classes")
    if survey.splits:
        splits = ", ".join(f"{count:,} {split}" for split, count in survey.splits.items())
        parts.append(f"their own splits: {splits}")
    return "; ".join(parts)


def _dataset(survey: Survey, name: str, side: int | None) -> list[str]:
    values = [f"source: {survey.source}", f"path: {quote(survey.path)}"]
    if side is not None:
        values.append(f"image_size: {side}")
    elif survey.shortest < CROP:
        values.append(f"min_size: {CROP}")
    values.append(f"channels: {1 if survey.grey else 3}")
    if survey.pictures < VERY_FEW and "test" not in survey.splits:
        values.append("test_fraction: 0.2")
    if survey.unusable or survey.shortest < (side or CROP):
        # What is set aside is listed in data/NAME/quarantine.csv; the default is a twentieth.
        values.append("max_quarantined: 0.5")
    return [f"  {name}: {{{', '.join(values)}}}"]


def quote(text: str) -> str:
    """A string of YAML's flow style."""
    if re.fullmatch(r"[\w./-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tail(survey: Survey) -> list[str]:
    return [
        "# A version becomes champion if the floors hold and it is proven better than the last.",
        "promotion:",
        "  restoration: {metric: psnr, floors: {psnr_gain: 0.0}}",
        "",
        "# What runs by itself while `atelier up` is on:",
        "# schedules:",
        '#   nightly: {cron: "0 2 * * *"}',
        "#   watch: {every: 5m}    # only where the pictures changed",
    ]
