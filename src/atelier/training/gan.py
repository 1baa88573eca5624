"""Train a class-conditional GAN.

One discriminator step and one generator step per batch, in the paper's order.

Images are float32 in [-1, 1] here and nowhere else.
Shapes: B batch, Z latent, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from atelier.data.store import DatasetInfo
from atelier.errors import TrainingError
from atelier.losses import (
    GAN_LOSSES,
    GanLoss,
    gradient_penalty,
    interpolated,
    unit_gradient_penalty,
)
from atelier.networks.discriminators import build_discriminator
from atelier.networks.generators import build_generator
from atelier.params import GanModel
from atelier.training.augmentation import augmented
from atelier.training.batches import TrainingImages, part_size, require_labels, training_batches
from atelier.training.course import Course
from atelier.training.discriminator_augmentation import DiscriminatorAugmentation
from atelier.training.distributed import share
from atelier.training.diversity import Diversity
from atelier.training.ema import averaged_copy, averaging
from atelier.training.growth import faded, grow
from atelier.training.session import Session, Trained, adam, placed

NUM_SAMPLES = 256  # images in a sampling, in all


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
    training, game = model.training, GAN_LOSSES[model.loss]
    if model.conditional and dataset.info.num_classes < 2:
        raise TrainingError(
            f"conditional: true needs at least two classes, the dataset {model.dataset!r} has "
            f"{dataset.info.num_classes}. Put the pictures of each class into a subfolder of their "
            "own, or remove it."
        )
    if model.conditional is not False:
        require_labels(dataset)
    torch.manual_seed(session.seed)
    config = generator_config(model, dataset.info)
    G = placed(build_generator(**config), session.device)
    D_config: dict[str, Any] = {
        **model.discriminator.model_dump(),
        **_image_config(model, dataset.info),
    }
    D = placed(build_discriminator(**D_config), session.device)
    G_ema, opt_G, opt_D = averaged_copy(G), adam(G, training), adam(D, training)
    rng = torch.Generator().manual_seed(session.seed)
    augment = DiscriminatorAugmentation(model.discriminator_augment, game.boundary, rng).to(
        session.device
    )
    batches = training_batches(model, dataset, session)
    samples_z, samples_labels = _sample_latents(model, config["num_classes"], session)
    diversity = Diversity(dataset, config["num_classes"] > 1, session.device)
    one_pass = (
        training.accumulate == 1
    )  # of G for both players; in parts, G's graph of all parts would fill the memory
    if training.compile:
        G.compile()
        if not _penalised(model):  # second derivatives don't go through compiled code (torch 2.13)
            D.compile()

    logits: list[Tensor] = []  # of the last real and generated images, to be logged

    def d_objective(real_BCHW: Tensor, fake_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        loss, *both = discriminator_loss(
            D, game, real_BCHW, fake_BCHW, labels_B, model, augment, rng
        )
        logits[:] = both
        return loss

    def g_objective(real_BCHW: Tensor, source_B: Tensor, labels_B: Tensor) -> Tensor:
        fake_BCHW = source_B if one_pass else G(source_B, labels_B)
        with torch.no_grad():  # the generator's gradient does not reach the real images
            real_logits_B = (
                D(augment(real_BCHW), labels_B).float()
                if game.generator_needs_real
                else torch.zeros(0)
            )
        return game.generator(real_logits_B, D(augment(fake_BCHW), labels_B).float())

    parts = {"G": G, "D": D, "G_ema": G_ema, "opt_G": opt_G, "opt_D": opt_D, "augment": augment}
    update_average = averaging(G_ema, G, training)
    course = Course(session, training, parts, rng)
    while course.goes_on():
        with course.step():
            real_BCHW, labels_B = batches.at(course.start)
            labels_B = labels_B % config["num_classes"]  # all 0 if it is unconditional
            grow(G, (D, G_ema), course.progress())
            real_BCHW = faded(G, augmented(real_BCHW, training.augment, rng) * 2 - 1)
            z_BZ = torch.randn(len(real_BCHW), model.generator.latent_dim, generator=rng).to(
                session.device
            )
            real_BCHW, labels_B, z_BZ = share(real_BCHW), share(labels_B), share(z_BZ)

            D.requires_grad_(True)
            with torch.set_grad_enabled(one_pass), course.precision():
                fake_BCHW = G(z_BZ, labels_B)
            batch = real_BCHW, fake_BCHW.detach(), labels_B
            d_loss = course.minimise("the discriminator's loss", opt_D, d_objective, *batch)

            D.requires_grad_(
                False
            )  # the generator's step needs the gradient through D, not of its weights
            batch = real_BCHW, fake_BCHW if one_pass else z_BZ, labels_B
            g_loss = course.minimise("the generator's loss", opt_G, g_objective, *batch)
            update_average(course.images_seen)

            if course.due(training.log_every_kimg):
                course.log(
                    {
                        "d_loss": d_loss,
                        "g_loss": g_loss,
                        **signals(game, *logits),
                        **augment.values(),
                    }
                )
            if course.due(training.sample_every_kimg):
                with torch.inference_mode():
                    latents, labels = (
                        torch.split(part, part_size(training))
                        for part in (samples_z, samples_labels)
                    )
                    samples_BCHW = torch.cat(list(map(G_ema, latents, labels))) * 0.5 + 0.5
                course.log(diversity.of(samples_BCHW, samples_labels))
                shown_N = _eight_of_each(samples_labels)
                course.sample(samples_BCHW[shown_N])
    return Trained(G_ema, config, course.images_seen)


def _penalised(model: GanModel) -> bool:
    return model.r1_gamma > 0 or model.r2_gamma > 0 or model.gp_weight > 0


def discriminator_loss(
    D: nn.Module,
    game: GanLoss,
    real_BCHW: Tensor,
    fake_BCHW: Tensor,
    labels_B: Tensor,
    model: GanModel,
    augment: DiscriminatorAugmentation,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """The discriminator's side of the game plus the gradient penalties whose weight is above zero.

    These are (r1_gamma/2) and (r2_gamma/2) times the zero-centred penalty on real and on generated
    images, and gp_weight times the one-centred penalty between them. With augmentation the first
    two are of slopes with respect to the images before it, as in the code of StyleGAN2-ADA and
    R3GAN; the third is taken between the images that D sees.

    Args:
        D: discriminator, (x_BCHW, labels_B) -> logits_B.
        game: an entry of `GAN_LOSSES`.
        real_BCHW: real images in [-1, 1].
        fake_BCHW: generated images in [-1, 1], detached from the generator.
        labels_B: classes of both.
        model: has the weights of the penalties.
        augment: changes what D sees, and is told its logits.
        rng: draws the points between real and generated images.

    Returns:
        Scalar to minimise, and the float32 logits of the real and of the generated images,
        detached.
    """
    real_BCHW.requires_grad_(model.r1_gamma > 0)
    fake_BCHW.requires_grad_(model.r2_gamma > 0)
    seen_real_BCHW, seen_fake_BCHW = augment(real_BCHW), augment(fake_BCHW)
    real_logits_B, fake_logits_B = (
        D(seen_real_BCHW, labels_B).float(),
        D(seen_fake_BCHW, labels_B).float(),
    )
    augment.observe(real_logits_B, fake_logits_B)
    loss = game.discriminator(real_logits_B, fake_logits_B)
    if model.r1_gamma > 0:
        loss = loss + model.r1_gamma / 2 * gradient_penalty(real_logits_B, real_BCHW).mean()
    if model.r2_gamma > 0:
        loss = loss + model.r2_gamma / 2 * gradient_penalty(fake_logits_B, fake_BCHW).mean()
    if model.gp_weight > 0:
        x_BCHW = interpolated(seen_real_BCHW.detach(), seen_fake_BCHW.detach(), rng).requires_grad_(
            True
        )
        loss = (
            loss
            + model.gp_weight * unit_gradient_penalty(D(x_BCHW, labels_B).float(), x_BCHW).mean()
        )
    return loss, real_logits_B.detach(), fake_logits_B.detach()


def signals(game: GanLoss, real_logits_B: Tensor, fake_logits_B: Tensor) -> dict[str, float]:
    """How the game stands, as values to log.

    Returns:
        d_signal, g_signal: the mean size of a loss's derivative by a logit, of the discriminator
            and the generator; where it vanishes that player learns nothing. logits: the largest
            size of one. d_accuracy: the share of pairs in which the real image's logit is the
            higher one; 0.5 if the two can't be told apart.
    """
    real_B, fake_B = real_logits_B.requires_grad_(True), fake_logits_B.requires_grad_(True)
    d_grads = torch.autograd.grad(game.discriminator(real_B, fake_B), (real_B, fake_B))
    (g_grad,) = torch.autograd.grad(game.generator(real_B.detach(), fake_B), fake_B)
    return {
        "d_signal": sum(float(grad.abs().sum()) for grad in d_grads) / 2,
        "g_signal": float(g_grad.abs().sum()),
        "logits": float(torch.stack([real_B, fake_B]).detach().abs().max()),
        "d_accuracy": float((real_B > fake_B).float().mean()),
    }


def _sample_latents(model: GanModel, num_classes: int, session: Session) -> tuple[Tensor, Tensor]:
    """Latents and labels of samples, the same at every sampling, equally many of each class."""
    labels_N = torch.arange(num_classes).repeat_interleave(max(8, NUM_SAMPLES // num_classes))
    rng = torch.Generator().manual_seed(session.seed + 1)
    z_NZ = torch.randn(len(labels_N), model.generator.latent_dim, generator=rng)
    return z_NZ.to(session.device), labels_N.to(session.device)


def _eight_of_each(labels_N: Tensor) -> Tensor:
    """Places of the first eight images of each class, which lie in the order of their classes."""
    return torch.arange(len(labels_N)).view(int(labels_N[-1]) + 1, -1)[:, :8].flatten()
