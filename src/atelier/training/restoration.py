"""Train a restorer f: minimise ||f(y) - x||^2 (or L1, Charbonnier), where y is the degraded x.

A recurrent restorer is trained on the estimate of every iteration, so each iteration has to improve
on the one before. With `adversarial` a patch discriminator, which sees y beside f(y) or x, is the
other player of f: pix2pix, Isola et al. 2017, arXiv:1611.07004, eq. 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from atelier.data.store import DatasetInfo
from atelier.degradations import (
    Steps,
    degrade,
    degrade_fixed,
    degrade_with_level,
    noise_levels,
    upscale_of,
)
from atelier.losses import PIXEL_LOSSES
from atelier.networks.restorers import build_restorer
from atelier.params import RestorationModel, Training, TranslationModel
from atelier.training.adversarial import Opponent, beside
from atelier.training.augmentation import augmented
from atelier.training.batches import part_size, training_batches
from atelier.training.budget import Position
from atelier.training.course import Course
from atelier.training.datasets import TrainingImages, first_images, validation_split
from atelier.training.distributed import share
from atelier.training.ema import averaged_copy, averaging
from atelier.training.outcome import Outcome
from atelier.training.pixels import to_images
from atelier.training.session import Session, Trained, adam, placed

NUM_VALIDATION = 512  # images, or central crops of images, in each validation
NUM_SHOWN = 8  # of them


def degradation_steps(model: RestorationModel | TranslationModel) -> Steps:
    """The forward model as plain one-key mappings.

    None for a translation that learns from damaged pictures.
    """
    return [item.model_dump(exclude_none=True) for item in model.degradation or ()]


def restorer_config(model: RestorationModel, info: DatasetInfo) -> dict[str, Any]:
    """Keyword arguments of `build_restorer` for this model on this dataset."""
    return {
        **model.network.model_dump(),
        "channels": info.channels,
        "upscale": upscale_of(degradation_steps(model)),
    }


def train_restorer(model: RestorationModel, dataset: TrainingImages, session: Session) -> Trained:
    """Train for `training.kimg` thousand images, or go on from the checkpoint."""
    training = model.training
    steps = degradation_steps(model)
    torch.manual_seed(session.seed)
    config = restorer_config(model, dataset.info)
    network: Any = placed(build_restorer(**config), session.device)
    average = averaged_copy(network)
    optimizer = adam(network, training)
    rng = torch.Generator().manual_seed(session.seed)
    batches = training_batches(model, dataset, session)
    opponent = _opponent_of(model, dataset.info, session.device)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    if opponent is not None:
        parts |= {"D": opponent.D, "opt_D": opponent.optimizer}
    objective = _objective(model, network, opponent)
    update_average = averaging(average, network, training)
    course = Course(session, training, parts, rng)

    def one_step(at: Position) -> None:
        x_BCHW, _ = batches.at(at.before)
        x_BCHW = augmented(x_BCHW, training.augment, rng)
        degraded = _degrade(x_BCHW, steps, rng, model.network.noise_level)
        batch = [share(tensor) for tensor in (x_BCHW, *degraded)]
        outcome = course.minimise(f"the {model.loss} loss", optimizer, objective, *batch)
        losses = {"loss": outcome.loss}
        if opponent is not None:
            x_BCHW, y_BCHW, *_ = batch
            pairs = (beside(y_BCHW, x_BCHW), beside(y_BCHW, outcome.kept["x_hat"]))
            losses["d_loss"] = opponent.learn(course, "the discriminator's loss", *pairs)
        update_average(at.after)
        if course.is_due(training.log_every_kimg):
            course.log(losses)
        if course.is_due(training.sample_every_kimg):
            _report(average, dataset, steps, training, course)

    course.open()
    course.run(one_step)
    return Trained(average, config, course.images_seen)


def _opponent_of(
    model: RestorationModel, info: DatasetInfo, device: torch.device
) -> Opponent | None:
    """The other player, which sees degraded images beside clean or restored ones."""
    if model.adversarial is None:
        return None
    return Opponent(model.adversarial, 2 * info.channels, model.training, device)


def _objective(
    model: RestorationModel, network: Any, opponent: Opponent | None
) -> Callable[..., Outcome]:
    """What the restorer is to minimise.

    Returns:
        (x_BCHW, y_BCHW, and sigma_B if the network is told it) -> the mean loss of its estimates;
        with an opponent x_hat, the last estimate, is kept for it.
    """
    pixel_loss = PIXEL_LOSSES[model.loss]
    compile_it = model.training.compile
    estimates_of = torch.compile(network.estimates) if compile_it else network.estimates

    def objective(x_BCHW: Tensor, y_BCHW: Tensor, *sigma_B: Tensor) -> Outcome:
        estimates = estimates_of(y_BCHW, *sigma_B)
        loss = torch.stack([pixel_loss(x_hat_BCHW, x_BCHW) for x_hat_BCHW in estimates]).mean()
        if opponent is None:
            return Outcome(loss)
        x_hat_BCHW = estimates[-1]
        loss = loss + opponent.weight * opponent.judge(beside(y_BCHW, x_hat_BCHW))
        return Outcome(loss, {"x_hat": x_hat_BCHW.detach()})

    return objective


def _degrade(
    x_BCHW: Tensor, steps: Steps, rng: torch.Generator, with_level: bool
) -> tuple[Tensor, ...]:
    """Degraded images and, for a network that is told it, the noise level of each."""
    if with_level:
        return degrade_with_level(x_BCHW, steps, rng)
    return (degrade(x_BCHW, steps, rng),)


def _report(
    average: Any, dataset: TrainingImages, steps: Steps, training: Training, course: Course
) -> None:
    """Log the PSNR on validation images, and show some of them."""
    split = validation_split(dataset)
    shown_NHWC = first_images(dataset, split, NUM_VALIDATION, training.crop_size)
    psnr_N, rows_BCHW = validate(average, shown_NHWC, steps, course.device, part_size(training))
    course.validate("validation/psnr", psnr_N)
    course.sample(rows_BCHW)


@torch.inference_mode()
def validate(
    network: Any,
    pixels_NHWC: NDArray[np.uint8],
    steps: Steps,
    device: torch.device,
    batch_size: int = 8,
) -> tuple[Tensor, Tensor]:
    """PSNR of each of these images, and eight of them: clean, then restored.

    Args:
        network: the restorer.
        pixels_NHWC: as stored.
        steps: the degradation; image n has the seed n.
        device: where the network lives.
        batch_size: images in one pass; the result is the same for any, up to rounding.
    """
    psnr = []
    clean = []
    restored = []
    for first in range(0, len(pixels_NHWC), batch_size):
        x_BCHW = to_images(pixels_NHWC[first : first + batch_size], device)
        seeds = range(first, first + len(x_BCHW))
        sigma_B = (
            noise_levels(x_BCHW.shape, steps, seeds).to(device) if network.noise_level else None
        )
        x_hat_BCHW = network(degrade_fixed(x_BCHW, steps, seeds), sigma_B).clamp(0, 1)
        psnr.append(
            peak_signal_noise_ratio(
                x_hat_BCHW, x_BCHW, data_range=1.0, reduction="none", dim=(1, 2, 3)
            )
        )
        if first < NUM_SHOWN:
            clean.append(x_BCHW)
            restored.append(x_hat_BCHW)
    shown = [torch.cat(parts)[:NUM_SHOWN] for parts in (clean, restored)]
    return torch.cat(psnr), torch.cat(shown)
