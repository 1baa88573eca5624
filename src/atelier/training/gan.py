"""Train a class-conditional GAN.

One discriminator step and one generator step per batch, in the paper's order.

Images are float32 in [-1, 1] here and nowhere else.
Shapes: B batch, Z latent, C channels, H height, W width, N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.losses import GAN_LOSSES
from atelier.networks.discriminators import build_discriminator
from atelier.networks.generators import build_generator
from atelier.params import GanModel
from atelier.training.augmentation import augmented
from atelier.training.batches import part_size, training_batches
from atelier.training.budget import Position
from atelier.training.course import Course
from atelier.training.datasets import TrainingImages, require_labels
from atelier.training.discriminator_augmentation import DiscriminatorAugmentation
from atelier.training.distributed import share
from atelier.training.diversity import Diversity
from atelier.training.ema import averaged_copy, averaging
from atelier.training.game import Game, Penalties
from atelier.training.growth import faded, grow
from atelier.training.outcome import Outcome
from atelier.training.session import Session, Trained, adam, placed

NUM_SAMPLES = 256  # images in a sampling, in all


@dataclass(frozen=True)
class Players:
    """All that the training of a GAN changes.

    Attributes:
        game: generator and discriminator with their losses.
        G_ema: the generator's average.
        opt_G: optimizer of the generator.
        opt_D: optimizer of the discriminator.
    """

    game: Game
    G_ema: nn.Module
    opt_G: torch.optim.Optimizer
    opt_D: torch.optim.Optimizer

    def parts(self) -> dict[str, Any]:
        """By name, for checkpoints."""
        return {
            "G": self.game.G,
            "D": self.game.D,
            "G_ema": self.G_ema,
            "opt_G": self.opt_G,
            "opt_D": self.opt_D,
            "augment": self.game.augment,
        }


@dataclass(frozen=True)
class Deal:
    """What both players get in a step: real images, their classes, and latents."""

    real_BCHW: Tensor
    labels_B: Tensor
    z_BZ: Tensor


def generator_config(model: GanModel, info: DatasetInfo) -> dict[str, Any]:
    """Keyword arguments of `build_generator` for this model on this dataset."""
    return {**model.generator.model_dump(), **_image_config(model, info)}


def _image_config(model: GanModel, info: DatasetInfo) -> dict[str, int]:
    assert info.image_size is not None  # params.checks
    # With one class the conditional networks are unconditional.
    num_classes = 1 if model.conditional is False else max(1, info.num_classes)
    return {"channels": info.channels, "image_size": info.image_size, "num_classes": num_classes}


def train_gan(model: GanModel, dataset: TrainingImages, session: Session) -> Trained:
    """Train for `training.kimg` thousand real images, or go on from the checkpoint.

    Raises:
        TrainingError: if classes are asked for that the dataset doesn't have.
    """
    training = model.training
    _require_classes(model, dataset)
    torch.manual_seed(session.seed)
    rng = torch.Generator().manual_seed(session.seed)
    config = generator_config(model, dataset.info)
    players = _set_up(model, dataset.info, session.device, rng)
    batches = training_batches(model, dataset, session)
    samples = Samples(model, dataset, config["num_classes"], session)
    update_average = averaging(players.G_ema, players.game.G, training)
    course = Course(session, training, players.parts(), rng)

    def one_step(at: Position) -> None:
        grow(players.game.G, (players.game.D, players.G_ema), course.progress())
        real_BCHW, labels_B = batches.at(at.before)
        labels_B = labels_B % config["num_classes"]  # all 0 if it is unconditional
        deal = _deal(model, players.game.G, real_BCHW, labels_B, rng)
        step = at.before // training.batch_size
        penalties = players.game.penalties.at(step)
        d_outcome, g_outcome = _play(players, deal, penalties, course, training.accumulate == 1)
        update_average(at.after)
        if course.is_due(training.log_every_kimg):
            signals = {**players.game.signals(d_outcome.kept), **players.game.augment.values()}
            course.log({"d_loss": d_outcome.loss, "g_loss": g_outcome.loss, **signals})
        if course.is_due(training.sample_every_kimg):
            samples.report(players.G_ema, course)

    course.open()
    course.run(one_step)
    return Trained(players.G_ema, config, course.images_seen)


def _require_classes(model: GanModel, dataset: TrainingImages) -> None:
    if model.conditional and dataset.info.num_classes < 2:
        raise TrainingError(
            f"conditional: true needs at least two classes, the dataset {model.dataset!r} has "
            f"{dataset.info.num_classes}. Put the pictures of each class into a subfolder of their "
            "own, or remove it."
        )
    if model.conditional is not False:
        require_labels(dataset)


def _set_up(
    model: GanModel, info: DatasetInfo, device: torch.device, rng: torch.Generator
) -> Players:
    """Networks with random weights, and what trains them."""
    training = model.training
    D_config: dict[str, Any] = {**model.discriminator.model_dump(), **_image_config(model, info)}
    G = placed(build_generator(**generator_config(model, info)), device)
    D = placed(build_discriminator(**D_config), device)
    loss = GAN_LOSSES[model.loss]
    penalties = Penalties(
        r1_gamma=model.r1_gamma,
        r2_gamma=model.r2_gamma,
        gp_weight=model.gp_weight,
        every=model.penalty_every,
    )
    augment = DiscriminatorAugmentation(model.discriminator_augment, loss.boundary, rng)
    game = Game(G, D, loss, penalties, augment.to(device), rng)
    players = Players(game, averaged_copy(G), adam(G, training), adam(D, training))
    if training.compile:
        G.compile()
        # Second derivatives don't go through compiled code (torch 2.13).
        if not penalties.are_asked():
            D.compile()
    return players


def _deal(
    model: GanModel, G: nn.Module, real_BCHW: Tensor, labels_B: Tensor, rng: torch.Generator
) -> Deal:
    """This process's share of a batch, as the players get it.

    Args:
        model: how images are changed, and how long latents are.
        G: the generator; a progressive one doesn't know the finest details of images yet.
        real_BCHW: real images in [0, 1].
        labels_B: their classes.
        rng: of the training.
    """
    real_BCHW = faded(G, augmented(real_BCHW, model.training.augment, rng) * 2 - 1)
    z_BZ = torch.randn(len(real_BCHW), model.generator.latent_dim, generator=rng)
    return Deal(share(real_BCHW), share(labels_B), share(z_BZ.to(real_BCHW.device)))


def _play(
    players: Players, deal: Deal, penalties: Penalties, course: Course, once: bool
) -> tuple[Outcome, Outcome]:
    """A step of the discriminator, then one of the generator.

    Args:
        players: both, with their optimizers.
        deal: what they get.
        penalties: of this step.
        course: of the training.
        once: whether images are drawn once for both steps. Where a batch is taken in parts, the
            graph of all parts would fill the memory.

    Returns:
        Of the discriminator and of the generator.
    """
    game = players.game
    real_BCHW = deal.real_BCHW
    labels_B = deal.labels_B
    with torch.set_grad_enabled(once), course.precision():
        fake_BCHW = game.G(deal.z_BZ, labels_B)
    d_step = partial(course.minimise, "the discriminator's loss", players.opt_D)
    d_loss = partial(game.discriminator_loss, penalties)
    d_outcome = d_step(d_loss, real_BCHW, fake_BCHW.detach(), labels_B)
    g_step = partial(course.minimise, "the generator's loss", players.opt_G)
    if once:
        g_outcome = g_step(game.generator_loss, real_BCHW, fake_BCHW, labels_B)
    else:
        g_outcome = g_step(game.generator_loss_at, real_BCHW, deal.z_BZ, labels_B)
    return d_outcome, g_outcome


class Samples:
    """Images of the same latents at every sampling, equally many of each class.

    Args:
        model: whose generator draws them.
        dataset: what their diversity is compared with.
        num_classes: of the generator.
        session: has seed and device.
    """

    def __init__(
        self, model: GanModel, dataset: TrainingImages, num_classes: int, session: Session
    ) -> None:
        labels_N = torch.arange(num_classes).repeat_interleave(max(8, NUM_SAMPLES // num_classes))
        rng = torch.Generator().manual_seed(session.seed + 1)
        z_NZ = torch.randn(len(labels_N), model.generator.latent_dim, generator=rng)
        self._z_NZ = z_NZ.to(session.device)
        self._labels_N = labels_N.to(session.device)
        self._part_size = part_size(model.training)
        self._diversity = Diversity(dataset, num_classes > 1, session.device)

    def report(self, G_ema: nn.Module, course: Course) -> None:
        """Log their diversity, and show eight of each class."""
        with torch.inference_mode():
            latents = torch.split(self._z_NZ, self._part_size)
            labels = torch.split(self._labels_N, self._part_size)
            samples_NCHW = torch.cat(list(map(G_ema, latents, labels))) * 0.5 + 0.5
        course.log(self._diversity.of(samples_NCHW, self._labels_N))
        course.sample(samples_NCHW[_eight_of_each(self._labels_N)])


def _eight_of_each(labels_N: Tensor) -> Tensor:
    """Places of the first eight images of each class, which lie in the order of their classes."""
    return torch.arange(len(labels_N)).view(int(labels_N[-1]) + 1, -1)[:, :8].flatten()
