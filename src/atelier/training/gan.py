"""Train a class-conditional GAN: one discriminator step and one generator step per batch, in the paper's order.

Images are float32 in [-1, 1] here and nowhere else.
Shapes: B batch, Z latent, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from atelier.data.store import DatasetInfo
from atelier.losses import GAN_LOSSES, GanLoss, gradient_penalty, interpolated, unit_gradient_penalty
from atelier.networks.discriminators import build_discriminator
from atelier.networks.generators import build_generator
from atelier.params import GanModel
from atelier.training.augmentation import augmented
from atelier.training.batches import TrainingImages, require_labels, training_batches
from atelier.training.ema import averaged_copy, update_average
from atelier.training.schedules import due
from atelier.training.session import Session, Stopwatch, Trained, adam, full_state, placed, restore_state, step


def generator_config(model: GanModel, info: DatasetInfo) -> dict[str, Any]:
    """Keyword arguments of `build_generator` for this model on this dataset."""
    return {**model.generator.model_dump(), **_image_config(info)}


def _image_config(info: DatasetInfo) -> dict[str, int]:
    assert info.image_size is not None  # params.checks
    # A dataset without labels has one class: the conditional networks are then unconditional.
    return {"channels": info.channels, "image_size": info.image_size, "num_classes": max(1, info.num_classes)}


def train_gan(model: GanModel, dataset: TrainingImages, session: Session) -> Trained:
    """Train for `training.kimg` thousand real images, or go on from the checkpoint."""
    training, game = model.training, GAN_LOSSES[model.loss]
    require_labels(dataset)
    torch.manual_seed(session.seed)
    config = generator_config(model, dataset.info)
    G = placed(build_generator(**config), session.device)
    D_config: dict[str, Any] = {**model.discriminator.model_dump(), **_image_config(dataset.info)}
    D = placed(build_discriminator(**D_config), session.device)
    G_ema, opt_G, opt_D = averaged_copy(G), adam(G, training), adam(D, training)
    rng = torch.Generator().manual_seed(session.seed)
    batches = training_batches(model, dataset, session)
    samples_z, samples_labels = _sample_grid(model, config["num_classes"], session)

    parts = {"G": G, "D": D, "G_ema": G_ema, "opt_G": opt_G, "opt_D": opt_D}
    images_seen = restore_state(parts, rng, session.checkpoints.load())
    watch = Stopwatch(images_seen)
    while images_seen < training.kimg * 1000:
        real_BCHW, labels_B = batches.at(images_seen)
        real_BCHW = augmented(real_BCHW, training.augment, rng) * 2 - 1

        fake_BCHW = G(_latents(model, rng, session.device), labels_B)  # both players see the same images: one pass of G
        d_loss = discriminator_loss(D, game, real_BCHW, fake_BCHW.detach(), labels_B, model, rng)
        step(opt_D, d_loss, training, images_seen, "the discriminator's loss")

        D.requires_grad_(False)  # the generator's step needs the gradient through D, not of its weights
        with torch.no_grad():  # nor does it reach the real images
            real_logits_B = D(real_BCHW, labels_B) if game.generator_needs_real else torch.zeros(0)
        g_loss = game.generator(real_logits_B, D(fake_BCHW, labels_B))
        step(opt_G, g_loss, training, images_seen, "the generator's loss")
        D.requires_grad_(True)

        images_seen += training.batch_size
        update_average(G_ema, G, training.batch_size, images_seen, training.ema_halflife_kimg)

        if due(images_seen, training.batch_size, training.log_every_kimg):
            losses = {"d_loss": d_loss.item(), "g_loss": g_loss.item()}
            session.on_log(images_seen, {**losses, **watch.rate(images_seen)})
        if due(images_seen, training.batch_size, training.sample_every_kimg):
            with torch.inference_mode():
                session.on_sample(images_seen, G_ema(samples_z, samples_labels) * 0.5 + 0.5)
        if due(images_seen, training.batch_size, training.checkpoint_every_kimg):
            session.checkpoints.save(full_state(parts, rng, images_seen))
    return Trained(G_ema, config)


def discriminator_loss(
    D: nn.Module,
    game: GanLoss,
    real_BCHW: Tensor,
    fake_BCHW: Tensor,
    labels_B: Tensor,
    model: GanModel,
    rng: torch.Generator,
) -> Tensor:
    """The discriminator's side of the game plus the gradient penalties whose weight is above zero.

    These are (r1_gamma/2) and (r2_gamma/2) times the zero-centred penalty on real and on generated images, and
    gp_weight times the one-centred penalty between them.

    Args:
        D: discriminator, (x_BCHW, labels_B) -> logits_B.
        game: an entry of `GAN_LOSSES`.
        real_BCHW: real images in [-1, 1].
        fake_BCHW: generated images in [-1, 1], detached from the generator.
        labels_B: classes of both.
        model: has the weights of the penalties.
        rng: draws the points between real and generated images.

    Returns:
        Scalar to minimise.
    """
    real_BCHW.requires_grad_(model.r1_gamma > 0)
    fake_BCHW.requires_grad_(model.r2_gamma > 0)
    real_logits_B, fake_logits_B = D(real_BCHW, labels_B), D(fake_BCHW, labels_B)
    loss = game.discriminator(real_logits_B, fake_logits_B)
    if model.r1_gamma > 0:
        loss = loss + model.r1_gamma / 2 * gradient_penalty(real_logits_B, real_BCHW).mean()
    if model.r2_gamma > 0:
        loss = loss + model.r2_gamma / 2 * gradient_penalty(fake_logits_B, fake_BCHW).mean()
    if model.gp_weight > 0:
        x_BCHW = interpolated(real_BCHW.detach(), fake_BCHW.detach(), rng).requires_grad_(True)
        loss = loss + model.gp_weight * unit_gradient_penalty(D(x_BCHW, labels_B), x_BCHW).mean()
    return loss


def _latents(model: GanModel, rng: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(model.training.batch_size, model.generator.latent_dim, generator=rng).to(device)


def _sample_grid(model: GanModel, num_classes: int, session: Session) -> tuple[Tensor, Tensor]:
    """Latents and labels of the sample grid: the same ones at every sampling, eight images a class."""
    labels_N = torch.arange(num_classes).repeat_interleave(8)
    rng = torch.Generator().manual_seed(session.seed + 1)
    z_NZ = torch.randn(len(labels_N), model.generator.latent_dim, generator=rng)
    return z_NZ.to(session.device), labels_N.to(session.device)
