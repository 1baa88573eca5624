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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from atelier.degradations import Steps, degrade
from atelier.networks.restorers import build_restorer
from atelier.params import Training, TranslationModel
from atelier.training.adversarial import ImagePool, Opponent
from atelier.training.augmentation import augmented
from atelier.training.batches import Batches, part_size
from atelier.training.budget import Position
from atelier.training.course import Course
from atelier.training.datasets import TrainingImages, first_images, validation_split
from atelier.training.distributed import share
from atelier.training.ema import averaged_copy, averaging
from atelier.training.outcome import Outcome
from atelier.training.pixels import to_images
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
    training = model.training
    steps = degradation_steps(model)
    torch.manual_seed(session.seed)
    rng = torch.Generator().manual_seed(session.seed)
    channels = dataset.info.channels
    config = {**model.network.model_dump(), "channels": channels, "upscale": 1}
    players = _set_up(model, config, session.device)
    update_average = averaging(players.average, players.restore, training)
    clean_batches, damaged_batches = unpaired_batches(model, dataset, damaged, session)
    course = Course(session, training, players.parts(), rng)

    def one_step(at: Position) -> None:
        x_BCHW = augmented(clean_batches.at(at.before)[0], training.augment, rng)
        y_BCHW = augmented(damaged_batches.at(at.before)[0], training.augment, rng)
        y_BCHW = degrade(y_BCHW, steps, rng)
        z_BCHW = torch.randn(x_BCHW.shape, generator=rng).to(session.device)
        z_back_BCHW = torch.randn(x_BCHW.shape, generator=rng).to(session.device)
        batch = [share(tensor) for tensor in (x_BCHW, y_BCHW, z_BCHW, z_back_BCHW)]
        losses = _play(players, model, course, batch, rng)
        update_average(at.after)
        if course.is_due(training.log_every_kimg):
            course.log(losses)
        if course.is_due(training.sample_every_kimg):
            _report(players.average, damaged or dataset, steps, training, course)

    course.open()
    course.run(one_step)
    return Trained(players.average, config, course.images_seen)


@dataclass(frozen=True)
class Players:
    """All that a training changes.

    Attributes:
        restore: generator of clean images from damaged ones.
        damage: generator of damaged images from clean ones and noise.
        average: of the generator that restores.
        optimizer: of both generators.
        of_clean: tells clean images from restored ones.
        of_damaged: tells damaged images from those that the generator damaged.
        restored_pool: former restored images.
        damaged_pool: former images that the generator damaged.
    """

    restore: nn.Module
    damage: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    of_clean: Opponent
    of_damaged: Opponent
    restored_pool: ImagePool
    damaged_pool: ImagePool

    def parts(self) -> dict[str, Any]:
        """By name, for checkpoints."""
        return {
            "network": self.restore,
            "damage": self.damage,
            "average": self.average,
            "optimizer": self.optimizer,
            "D_clean": self.of_clean.D,
            "opt_D_clean": self.of_clean.optimizer,
            "restored_pool": self.restored_pool,
            "D_damaged": self.of_damaged.D,
            "opt_D_damaged": self.of_damaged.optimizer,
            "damaged_pool": self.damaged_pool,
        }


def _set_up(model: TranslationModel, config: dict[str, Any], device: torch.device) -> Players:
    """Networks with random weights, and what trains them."""
    training = model.training
    channels = config["channels"]
    restore = placed(build_restorer(**config), device)
    damage = placed(build_restorer(**{**config, "channels": 2 * channels}), device)
    players = Players(
        restore=restore,
        damage=damage,
        average=averaged_copy(restore),
        optimizer=adam(nn.ModuleList([restore, damage]), training),
        of_clean=Opponent(model.adversarial, channels, training, device),
        of_damaged=Opponent(model.adversarial, channels, training, device),
        restored_pool=ImagePool(model.pool_size),
        damaged_pool=ImagePool(model.pool_size),
    )
    if training.compile:
        restore.compile()
        damage.compile()
    return players


def _play(
    players: Players,
    model: TranslationModel,
    course: Course,
    batch: Sequence[Tensor],
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """A step of both generators, then one of each discriminator.

    Args:
        players: all of them.
        model: has the weights of the losses.
        course: of the training.
        batch: clean images, damaged images, noise for the clean and for the restored ones.
        rng: exchanges images with the pools.

    Returns:
        Losses by name, to be logged.
    """
    objective = _objective(players, model)
    outcome = course.minimise("the generators' loss", players.optimizer, objective, *batch)
    kept = dict(outcome.kept)
    restored_BCHW = players.restored_pool.exchange(kept.pop("x_hat"), rng)
    damaged_BCHW = players.damaged_pool.exchange(kept.pop("y_hat"), rng)
    losses = {name: of_parts.mean() for name, of_parts in kept.items()}
    x_BCHW, y_BCHW, *_ = batch
    d_clean = players.of_clean.learn(course, "the loss d_clean", x_BCHW, restored_BCHW)
    d_damaged = players.of_damaged.learn(course, "the loss d_damaged", y_BCHW, damaged_BCHW)
    return {"loss": outcome.loss, **losses, "d_clean": d_clean, "d_damaged": d_damaged}


def _objective(players: Players, model: TranslationModel) -> Callable[..., Outcome]:
    """What both generators are to minimise.

    Returns:
        (x_BCHW, y_BCHW, z_BCHW, z_back_BCHW) -> their loss; kept are x_hat and y_hat, the restored
        and the damaged images, and each loss of the sum by its name, one value for each part of a
        batch.
    """
    restore = players.restore
    damage = players.damage

    def objective(x_BCHW: Tensor, y_BCHW: Tensor, z_BCHW: Tensor, z_back_BCHW: Tensor) -> Outcome:
        x_hat_BCHW = restore(y_BCHW)
        y_hat_BCHW = damaged_by(damage, x_BCHW, z_BCHW)
        fooling = players.of_clean.judge(x_hat_BCHW) + players.of_damaged.judge(y_hat_BCHW)
        losses = {"adversarial": fooling}
        losses["cycle"] = l1_loss(restore(y_hat_BCHW), x_BCHW)
        losses["cycle_back"] = l1_loss(damaged_by(damage, x_hat_BCHW, z_back_BCHW), y_BCHW)
        if model.identity_weight > 0:
            losses["identity"] = l1_loss(restore(x_BCHW), x_BCHW)
        kept = {name: loss.detach()[None] for name, loss in losses.items()}
        kept |= {"x_hat": x_hat_BCHW.detach(), "y_hat": y_hat_BCHW.detach()}
        return Outcome(weighted(losses, model), kept)

    return objective


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
    training = model.training

    def batches(images: TrainingImages, part: slice, seed: int) -> Batches:
        return Batches(
            images,
            "train",
            training.batch_size,
            seed,
            session.device,
            training.crop_size,
            model.data.limit,
            part=part,
        )

    other_seed = session.seed + 1
    if damaged is not None:
        clean = batches(dataset, slice(None), session.seed)
        return clean, batches(damaged, slice(None), other_seed)
    clean = batches(dataset, slice(0, None, 2), session.seed)
    return clean, batches(dataset, slice(1, None, 2), other_seed)


def _report(
    network: nn.Module, dataset: TrainingImages, steps: Steps, training: Training, course: Course
) -> None:
    """PSNR and pictures where the clean images are known, else damaged and restored ones."""
    count = NUM_VALIDATION if steps else NUM_SHOWN
    size = part_size(training)
    shown_NHWC = first_images(dataset, validation_split(dataset), count, training.crop_size)
    if steps:
        psnr_N, rows_BCHW = validate(network, shown_NHWC, steps, course.device, size)
        # Logged alone: it compares pairs, which this training must not learn from.
        course.log({"validation/psnr": psnr_N.mean()})
    else:
        y_BCHW = to_images(shown_NHWC, course.device)
        with torch.inference_mode():
            restored = [network(part).clamp(0, 1) for part in torch.split(y_BCHW, size)]
        rows_BCHW = torch.cat([y_BCHW, *restored])
    course.sample(rows_BCHW)
