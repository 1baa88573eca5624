"""Training steps as one writes them by hand for one model: what our loops are measured against.

The same networks, data and maths as in params.yaml, Adam and nothing else: no average, schedule,
log or checkpoint, no check of the loss, no reproducible kernels or random numbers of their own.

Shapes: N images, B batch, Z latent, C channels, H height, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atelier.networks.discriminators import build_discriminator
from atelier.networks.generators import build_generator
from atelier.networks.restorers import build_restorer
from atelier.params import GanModel, RestorationModel, Training
from atelier.training.datasets import TrainingImages

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Way:
    """How a bare loop computes.

    Attributes:
        device: where networks and pixels are.
        half: whether networks compute in bfloat16.
        compile: whether they are compiled, but for what has second derivatives.
        memory_format: of weights and images.
    """

    device: torch.device = CPU
    half: bool = False
    compile: bool = False
    memory_format: torch.memory_format = torch.channels_last

    def place(self, network: nn.Module) -> nn.Module:
        """The network on its device, its weights as they shall lie in memory."""
        return network.to(self.device, memory_format=self.memory_format)

    def precision(self) -> torch.autocast:
        """Within it networks compute as they shall."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)


DEFAULT = Way()


def batches(
    dataset: TrainingImages, training: Training, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of pixels in the device's memory; where asked for, half are mirrored.

    X_BCHW in [0, 1], labels_B.
    """
    batch_size = training.batch_size
    pixels = dataset.images("train")
    images_NCHW = torch.from_numpy(np.ascontiguousarray(pixels[np.arange(len(pixels))])).permute(
        0, 3, 1, 2
    )
    images_NCHW = images_NCHW.to(device)
    labels_N = torch.from_numpy(dataset.labels("train")).to(device)
    while True:
        for rows_B in torch.randperm(len(images_NCHW), device=device).split(batch_size):
            if len(rows_B) == batch_size:
                x_BCHW = images_NCHW[rows_B] / 255
                if training.augment.flip:
                    mirrored_B111 = torch.rand(batch_size, 1, 1, 1, device=device) < 0.5
                    x_BCHW = torch.where(mirrored_B111, x_BCHW.flip(-1), x_BCHW)
                yield x_BCHW, labels_N[rows_B]


def bare_gan(model: GanModel, dataset: TrainingImages, way: Way = DEFAULT) -> Callable[[], None]:
    """A step of both players of the non-saturating game with R1, as lazy as the model's."""
    assert model.loss == "non-saturating" and model.r2_gamma == model.gp_weight == 0
    info, training = dataset.info, model.training
    shape = {
        "channels": info.channels,
        "image_size": info.image_size,
        "num_classes": info.num_classes,
    }
    G = way.place(build_generator(**model.generator.model_dump(), **shape))
    D = way.place(build_discriminator(**model.discriminator.model_dump(), **shape))
    opt_G, opt_D = (
        torch.optim.Adam(network.parameters(), lr=training.lr, betas=training.betas, fused=True)
        for network in (G, D)
    )
    if way.compile:
        G.compile()
    stream = batches(dataset, training, way.device)
    every = model.penalty_every
    steps = itertools.count()

    def step() -> None:
        is_penalised = next(steps) % every == 0
        real_BCHW, labels_B = next(stream)
        real_BCHW = (real_BCHW * 2 - 1).contiguous(memory_format=way.memory_format)
        real_BCHW.requires_grad_(is_penalised)
        z_BZ = torch.randn(training.batch_size, model.generator.latent_dim, device=way.device)

        D.requires_grad_(True)
        with way.precision():
            fake_BCHW = G(z_BZ, labels_B)
            real_logits_B = D(real_BCHW, labels_B).float()
            fake_logits_B = D(fake_BCHW.detach(), labels_B).float()
        d_loss = F.softplus(-real_logits_B).mean() + F.softplus(fake_logits_B).mean()
        if is_penalised:
            (grad_BCHW,) = torch.autograd.grad(real_logits_B.sum(), real_BCHW, create_graph=True)
            r1 = grad_BCHW.square().sum(dim=(1, 2, 3)).mean()
            d_loss = d_loss + every * model.r1_gamma / 2 * r1
        opt_D.zero_grad()
        d_loss.backward()
        opt_D.step()

        D.requires_grad_(False)
        opt_G.zero_grad()
        with way.precision():
            logits_B = D(fake_BCHW, labels_B).float()
        F.softplus(-logits_B).mean().backward()
        opt_G.step()

    return step


def bare_restorer(
    model: RestorationModel, dataset: TrainingImages, way: Way = DEFAULT
) -> Callable[[], None]:
    """A step on the mean squared error of all estimates, for noise or for one box of mid grey."""
    assert model.loss == "l2" and len(model.degradation) == 1
    training, config = (
        model.training,
        {**model.network.model_dump(), "channels": dataset.info.channels},
    )
    network: Any = way.place(build_restorer(**config))
    optimizer = torch.optim.Adam(
        network.parameters(), lr=training.lr, betas=training.betas, fused=True
    )
    estimates_of = torch.compile(network.estimates) if way.compile else network.estimates
    stream = batches(dataset, training, way.device)
    noise, mask = model.degradation[0].noise, model.degradation[0].mask

    def degraded(x_BCHW: Tensor) -> Tensor:
        if noise is not None:
            return x_BCHW + noise.sigma * torch.randn_like(x_BCHW)
        side, size = x_BCHW.shape[-1], mask.size
        first_2B1 = torch.randint(side - size + 1, (2, len(x_BCHW), 1), device=way.device)
        columns_W = torch.arange(side, device=way.device)
        rows_BH, columns_BW = (columns_W >= first_2B1) & (columns_W < first_2B1 + size)
        return x_BCHW.masked_fill((rows_BH[:, :, None] & columns_BW[:, None, :])[:, None], 0.5)

    def step() -> None:
        x_BCHW = next(stream)[0].contiguous(memory_format=way.memory_format)
        with way.precision():
            estimates = estimates_of(degraded(x_BCHW))
        loss = sum(F.mse_loss(x_hat_BCHW.float(), x_BCHW) for x_hat_BCHW in estimates) / len(
            estimates
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
