"""Training steps as one writes them by hand for one model: what our loops are measured against.

The same networks, data and maths as in params.yaml, Adam and nothing else: no average, schedule,
log or checkpoint, no check of the loss, no reproducible kernels or random numbers of their own.

Shapes: N images, B batch, Z latent, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from atelier.networks.discriminators import build_discriminator
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.params import GanModel, RestorationModel
from atelier.training.batches import TrainingImages
from atelier.training.session import placed

CPU = torch.device("cpu")


def batches(dataset: TrainingImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of pixels in memory, mirrored half of the time.

    X_BCHW in [0, 1], labels_B.
    """
    pixels = dataset.images("train")
    images_NCHW = torch.from_numpy(np.ascontiguousarray(pixels[np.arange(len(pixels))])).permute(
        0, 3, 1, 2
    )
    labels_N = torch.from_numpy(dataset.labels("train"))
    while True:
        for rows_B in torch.randperm(len(images_NCHW)).split(batch_size):
            if len(rows_B) == batch_size:
                x_BCHW = images_NCHW[rows_B] / 255
                mirrored_B111 = torch.rand(batch_size, 1, 1, 1) < 0.5
                yield torch.where(mirrored_B111, x_BCHW.flip(-1), x_BCHW), labels_N[rows_B]


def bare_gan(model: GanModel, dataset: TrainingImages) -> Callable[[], None]:
    """A step of both players of the non-saturating game with R1."""
    assert model.loss == "non-saturating" and model.r2_gamma == model.gp_weight == 0
    info, training = dataset.info, model.training
    shape = {
        "channels": info.channels,
        "image_size": info.image_size,
        "num_classes": info.num_classes,
    }
    G = placed(build_generator(**model.generator.model_dump(), **shape), CPU)
    D = placed(build_discriminator(**model.discriminator.model_dump(), **shape), CPU)
    opt_G, opt_D = (
        torch.optim.Adam(network.parameters(), lr=training.lr, betas=training.betas, fused=True)
        for network in (G, D)
    )
    stream = batches(dataset, training.batch_size)

    def step() -> None:
        real_BCHW, labels_B = next(stream)
        real_BCHW = (
            (real_BCHW * 2 - 1).contiguous(memory_format=torch.channels_last).requires_grad_(True)
        )
        fake_BCHW = G(torch.randn(training.batch_size, model.generator.latent_dim), labels_B)

        D.requires_grad_(True)
        real_logits_B, fake_logits_B = D(real_BCHW, labels_B), D(fake_BCHW.detach(), labels_B)
        (grad_BCHW,) = torch.autograd.grad(real_logits_B.sum(), real_BCHW, create_graph=True)
        d_loss = F.softplus(-real_logits_B).mean() + F.softplus(fake_logits_B).mean()
        d_loss = d_loss + model.r1_gamma / 2 * grad_BCHW.square().sum(dim=(1, 2, 3)).mean()
        opt_D.zero_grad()
        d_loss.backward()
        opt_D.step()

        D.requires_grad_(False)
        opt_G.zero_grad()
        F.softplus(-D(fake_BCHW, labels_B)).mean().backward()
        opt_G.step()

    return step


def bare_restorer(model: RestorationModel, dataset: TrainingImages) -> Callable[[], None]:
    """A step on the mean squared error of all estimates, for noise or for one box of mid grey."""
    assert model.loss == "l2" and len(model.degradation) == 1
    training, config = (
        model.training,
        {**model.network.model_dump(), "channels": dataset.info.channels},
    )
    network: Any = placed(build_restorer(**config), CPU)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=training.lr, betas=training.betas, fused=True
    )
    stream = batches(dataset, training.batch_size)
    noise, mask = model.degradation[0].noise, model.degradation[0].mask

    def degraded(x_BCHW: Tensor) -> Tensor:
        if noise is not None:
            return x_BCHW + noise.sigma * torch.randn_like(x_BCHW)
        side, size = x_BCHW.shape[-1], mask.size
        first_2B1 = torch.randint(side - size + 1, (2, len(x_BCHW), 1))
        rows_BH, columns_BW = (torch.arange(side) >= first_2B1) & (
            torch.arange(side) < first_2B1 + size
        )
        return x_BCHW.masked_fill((rows_BH[:, :, None] & columns_BW[:, None, :])[:, None], 0.5)

    def step() -> None:
        x_BCHW = next(stream)[0].contiguous(memory_format=torch.channels_last)
        estimates = network.estimates(degraded(x_BCHW))
        loss = sum(F.mse_loss(x_hat_BCHW, x_BCHW) for x_hat_BCHW in estimates) / len(estimates)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
