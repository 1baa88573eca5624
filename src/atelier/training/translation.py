"""Train a restorer on damaged and clean pictures of which no two belong together (CycleGAN).

Two generators, one that restores and one that damages, each against a patch discriminator that
knows the real pictures of the kind that it makes. A picture that goes there and back again has to
come out as it was.

Source: Zhu et al. 2017, arXiv:1703.10593, eq. 3; identity loss of section 5.2, image pool of
section 4. As in Almahairi et al. 2018, arXiv:1802.10151, the damaging generator sees noise beside
the image: nothing in a clean image tells where the grains of a damaged one would lie. Restorers
start as the identity, which both cycles like best, and the paper's cycle weight of 10 held them
there (measured), so 1 is the default.
Shapes: B batch, C channels, H height, W width. Images are float32 in [0, 1].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from atelier.degradations import Steps, degrade
from atelier.networks.restorers import build_restorer
from atelier.params import Training, TranslationModel
from atelier.training.adversarial import ImagePool, Opponent
from atelier.training.augmentation import augmented
from atelier.training.batches import (
    Batches,
    TrainingImages,
    first_images,
    part_size,
    to_images,
    validation_split,
)
from atelier.training.course import Course
from atelier.training.distributed import share
from atelier.training.ema import averaged_copy, averaging
from atelier.training.restoration import NUM_SHOWN, NUM_VALIDATION, degradation_steps, validate
from atelier.training.session import Session, Trained, adam, placed


def train_translation(
    model: TranslationModel,
    dataset: TrainingImages,
    session: Session,
    damaged: TrainingImages | None = None,
) -> Trained:
    """Train for `training.kimg` thousand clean and as many damaged images, or from a checkpoint on.

    Args:
        model: what to train.
        dataset: clean pictures; without `damaged` half of them are degraded instead.
        session: connections to the outside.
        damaged: pictures that are damaged already.

    Returns:
        The generator that restores.
    """
    training, steps, channels = model.training, degradation_steps(model), dataset.info.channels
    torch.manual_seed(session.seed)
    config: dict[str, Any] = {**model.network.model_dump(), "channels": channels, "upscale": 1}
    restore = placed(build_restorer(**config), session.device)
    damage = placed(build_restorer(**{**config, "channels": 2 * channels}), session.device)
    average, optimizer = averaged_copy(restore), adam(nn.ModuleList([restore, damage]), training)
    of_clean, of_damaged = (
        Opponent(model.adversarial, channels, training, session.device) for _ in range(2)
    )
    restored_pool, damaged_pool = ImagePool(model.pool_size), ImagePool(model.pool_size)
    rng = torch.Generator().manual_seed(session.seed)
    clean_batches, damaged_batches = unpaired_batches(model, dataset, damaged, session)

    parts = {"network": restore, "damage": damage, "average": average, "optimizer": optimizer}
    parts |= {
        "D_clean": of_clean.D,
        "opt_D_clean": of_clean.optimizer,
        "restored_pool": restored_pool,
    }
    parts |= {
        "D_damaged": of_damaged.D,
        "opt_D_damaged": of_damaged.optimizer,
        "damaged_pool": damaged_pool,
    }
    if training.compile:
        restore.compile()
        damage.compile()
    fakes: list[
        tuple[Tensor, Tensor]
    ] = []  # restored and damaged images of a step, for the discriminators
    logged: dict[str, Tensor] = {}  # losses of the last part of a step

    def objective(x_BCHW: Tensor, y_BCHW: Tensor, z_BCHW: Tensor, z_back_BCHW: Tensor) -> Tensor:
        x_hat_BCHW, y_hat_BCHW = restore(y_BCHW), damaged_by(damage, x_BCHW, z_BCHW)
        fakes.append((x_hat_BCHW.detach(), y_hat_BCHW.detach()))
        losses = {"adversarial": of_clean.judge(x_hat_BCHW) + of_damaged.judge(y_hat_BCHW)}
        losses["cycle"] = l1_loss(restore(y_hat_BCHW), x_BCHW)
        losses["cycle_back"] = l1_loss(damaged_by(damage, x_hat_BCHW, z_back_BCHW), y_BCHW)
        if model.identity_weight > 0:
            losses["identity"] = l1_loss(restore(x_BCHW), x_BCHW)
        logged.update({name: loss.detach() for name, loss in losses.items()})
        return weighted(losses, model)

    update_average = averaging(average, restore, training)
    course = Course(session, training, parts, rng)
    while course.goes_on():
        with course.step():
            x_BCHW = augmented(clean_batches.at(course.start)[0], training.augment, rng)
            y_BCHW = degrade(
                augmented(damaged_batches.at(course.start)[0], training.augment, rng), steps, rng
            )
            z_2BCHW = [
                torch.randn(x_BCHW.shape, generator=rng).to(session.device) for _ in range(2)
            ]
            x_BCHW, y_BCHW, *z_2BCHW = map(share, (x_BCHW, y_BCHW, *z_2BCHW))
            fakes.clear()
            loss = course.minimise(
                "the generators' loss", optimizer, objective, x_BCHW, y_BCHW, *z_2BCHW
            )

            x_hat_BCHW, y_hat_BCHW = (torch.cat(made) for made in zip(*fakes, strict=True))
            players = [("d_clean", of_clean, x_BCHW, restored_pool.exchange(x_hat_BCHW, rng))]
            players += [("d_damaged", of_damaged, y_BCHW, damaged_pool.exchange(y_hat_BCHW, rng))]
            d_losses = {
                name: course.minimise(
                    f"the loss {name}", opponent.optimizer, opponent.objective, real, shown
                )
                for name, opponent, real, shown in players
            }
            update_average(course.images_seen)

            if course.due(training.log_every_kimg):
                course.log({"loss": loss, **logged, **d_losses})
            if course.due(training.sample_every_kimg):
                _report(average, damaged or dataset, steps, training, course)
    return Trained(average, config, course.images_seen)


def damaged_by(damage: nn.Module, x_BCHW: Tensor, z_BCHW: Tensor) -> Tensor:
    """What the damaging generator makes of clean images and noise.

    Of its two outputs the noise's own is of no use.
    """
    y_hat_BCHW: Tensor = damage(torch.cat((x_BCHW, z_BCHW), dim=1))[:, : x_BCHW.shape[1]]
    return y_hat_BCHW


def weighted(losses: dict[str, Tensor], model: TranslationModel) -> Tensor:
    """The generators' loss: the sum of its parts by their weights."""
    weights = {
        "adversarial": model.adversarial.weight,
        "cycle": model.cycle_weight,
        "cycle_back": model.cycle_weight,
        "identity": model.identity_weight,
    }
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def unpaired_batches(
    model: TranslationModel,
    dataset: TrainingImages,
    damaged: TrainingImages | None,
    session: Session,
) -> tuple[Batches, Batches]:
    """Clean images, and those that are damaged or to be degraded; no image is in both.

    Without a dataset of damaged pictures every second training image is one, in the order of their
    content hashes.

    Raises:
        TrainingError: if there are fewer images than a batch needs.
    """

    def batches(images: TrainingImages, part: slice, seed: int) -> Batches:
        size, crop_size, limit = (
            model.training.batch_size,
            model.training.crop_size,
            model.data.limit,
        )
        return Batches(images, "train", size, seed, session.device, crop_size, limit, part=part)

    if damaged is not None:
        return batches(dataset, slice(None), session.seed), batches(
            damaged, slice(None), session.seed + 1
        )
    return batches(dataset, slice(0, None, 2), session.seed), batches(
        dataset, slice(1, None, 2), session.seed + 1
    )


def _report(
    network: nn.Module, dataset: TrainingImages, steps: Steps, training: Training, course: Course
) -> None:
    """PSNR and pictures where the clean images are known, else damaged and restored ones."""
    count, size = NUM_VALIDATION if steps else NUM_SHOWN, part_size(training)
    shown_NHWC = first_images(dataset, validation_split(dataset), count, training.crop_size)
    if steps:
        scores, rows_BCHW = validate(network, shown_NHWC, steps, course.device, size)
        course.log(scores)
    else:
        y_BCHW = to_images(shown_NHWC, course.device)
        with torch.inference_mode():
            restored = [network(part).clamp(0, 1) for part in torch.split(y_BCHW, size)]
        rows_BCHW = torch.cat([y_BCHW, *restored])
    course.sample(rows_BCHW)
