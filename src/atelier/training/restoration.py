"""Train a restorer f: minimise ||f(y) - x||^2 (or L1, Charbonnier), where y is the degraded x.

A recurrent restorer is trained on the estimate of every iteration, so each iteration has to improve
on the one before. With `adversarial` a patch discriminator, which sees y beside f(y) or x, is the
other player of f: pix2pix, Isola et al. 2017, arXiv:1611.07004, eq. 4.
"""

from __future__ import annotations

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
from atelier.params import RestorationModel, TranslationModel
from atelier.training.adversarial import Opponent, beside
from atelier.training.augmentation import augmented
from atelier.training.batches import (
    TrainingImages,
    first_images,
    part_size,
    to_images,
    training_batches,
    validation_split,
)
from atelier.training.course import Course
from atelier.training.distributed import share
from atelier.training.ema import averaged_copy, averaging
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
    training, steps = model.training, degradation_steps(model)
    torch.manual_seed(session.seed)
    config = restorer_config(model, dataset.info)
    network: Any = placed(build_restorer(**config), session.device)
    average, optimizer = averaged_copy(network), adam(network, training)
    rng = torch.Generator().manual_seed(session.seed)
    pixel_loss = PIXEL_LOSSES[model.loss]
    batches = training_batches(model, dataset, session)

    parts = {"network": network, "average": average, "optimizer": optimizer}
    opponent, restored = None, []
    if model.adversarial is not None:
        opponent = Opponent(model.adversarial, 2 * dataset.info.channels, training, session.device)
        parts |= {"D": opponent.D, "opt_D": opponent.optimizer}
    estimates_of = torch.compile(network.estimates) if training.compile else network.estimates

    def objective(x_BCHW: Tensor, y_BCHW: Tensor, *sigma_B: Tensor) -> Tensor:
        estimates = estimates_of(y_BCHW, *sigma_B)
        loss = torch.stack([pixel_loss(x_hat_BCHW, x_BCHW) for x_hat_BCHW in estimates]).mean()
        if opponent is not None:
            restored.append(estimates[-1].detach())
            loss = loss + opponent.weight * opponent.judge(beside(y_BCHW, estimates[-1]))
        return loss

    update_average = averaging(average, network, training)
    course = Course(session, training, parts, rng)
    while course.goes_on():
        with course.step():
            x_BCHW, _ = batches.at(course.start)
            x_BCHW = augmented(x_BCHW, training.augment, rng)
            degraded: tuple[
                Tensor, ...
            ]  # the images, and their noise level if the network is told it
            if model.network.noise_level:
                degraded = degrade_with_level(x_BCHW, steps, rng)
            else:
                degraded = (degrade(x_BCHW, steps, rng),)
            x_BCHW, y_BCHW, *sigma_B = map(share, (x_BCHW, *degraded))
            restored.clear()
            losses = {
                "loss": course.minimise(
                    f"the {model.loss} loss", optimizer, objective, x_BCHW, y_BCHW, *sigma_B
                )
            }
            if opponent is not None:
                pairs = beside(y_BCHW, x_BCHW), beside(y_BCHW, torch.cat(restored))
                losses["d_loss"] = course.minimise(
                    "the discriminator's loss", opponent.optimizer, opponent.objective, *pairs
                )
            update_average(course.images_seen)

            if course.due(training.log_every_kimg):
                course.log(losses)
            if course.due(training.sample_every_kimg):
                shown_NHWC = first_images(
                    dataset, validation_split(dataset), NUM_VALIDATION, training.crop_size
                )
                scores, rows_BCHW = validate(
                    average, shown_NHWC, steps, session.device, part_size(training)
                )
                course.log(scores)
                course.sample(rows_BCHW)
    return Trained(average, config, course.images_seen)


@torch.inference_mode()
def validate(
    network: Any,
    pixels_NHWC: NDArray[np.uint8],
    steps: Steps,
    device: torch.device,
    batch_size: int = 8,
) -> tuple[dict[str, float], Tensor]:
    """PSNR on these images, and eight of them: clean, then restored.

    Args:
        network: the restorer.
        pixels_NHWC: as stored.
        steps: the degradation; image n has the seed n.
        device: where the network lives.
        batch_size: images in one pass; the result is the same for any, up to rounding.
    """
    psnr, clean, restored = [], [], []
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
    return {"validation/psnr": torch.cat(psnr).mean().item()}, torch.cat(shown)
