"""Every schedule is a function of images seen, so neither batch size nor a resume changes it."""

from __future__ import annotations

import math


def learning_rate(peak: float, images_seen: int, total_images: int, warmup_images: int) -> float:
    """Linear warm-up to `peak`, cosine decay to 0 at `total_images` (arXiv:1608.03983, eq. 5)."""
    if images_seen < warmup_images:
        return peak * (images_seen + 1) / (warmup_images + 1)
    progress = (images_seen - warmup_images) / max(1, total_images - warmup_images)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def fitting_warmup(warmup_images: int, total_images: int) -> int:
    """The warm-up of a training: its recipe's, or half the training where that would be longer.

    `atelier.params.warmup` refuses one that can't be meant; a trial of a recipe, and CAS, train for
    a shorter time.
    """
    return warmup_images if warmup_images <= total_images else total_images // 2


def due(images_seen: int, batch_size: int, every_kimg: float) -> bool:
    """Whether the step to `images_seen` crossed a multiple of `every_kimg` thousand images."""
    every = max(1, round(every_kimg * 1000))
    return images_seen // every > (images_seen - batch_size) // every


def growth_stage(progress: float, growth: float, doublings: int) -> float:
    """How far a progressive GAN has grown: 0 at first, `doublings` after the share `growth`.

    Every doubling gets an equal share: as many images to settle at the lower resolution as to fade
    in the higher one.
    Source: Karras et al. 2018, arXiv:1710.10196, appendix A.1 (800 thousand images each there).
    """
    done = doublings * progress / growth
    if done >= doublings:
        return float(doublings)
    reached = math.floor(done)
    return reached + max(0.0, 2 * (done - reached) - 1)
