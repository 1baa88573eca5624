"""The game of a GAN: what discriminator and generator lose on one batch.

Images are float32 in [-1, 1] here, or of the precision that the training computes in.
Shapes: B batch, Z latent, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from atelier.losses import (
    GanLoss,
    gradient_penalty,
    interpolated,
    unit_gradient_penalty,
)
from atelier.training.discriminator_augmentation import DiscriminatorAugmentation
from atelier.training.outcome import Outcome


@dataclass(frozen=True)
class Penalties:
    """Weights of the gradient penalties in the discriminator's loss; 0 switches one off.

    Attributes:
        r1_gamma: twice the weight of the zero-centred penalty on real images.
        r2_gamma: the same on generated ones.
        gp_weight: weight of the one-centred penalty between the two.
        every: steps of the discriminator of which one has penalties: lazy regularisation, Karras et
            al. 2020, arXiv:1912.04958, section 3.1.
    """

    r1_gamma: float = 0.0
    r2_gamma: float = 0.0
    gp_weight: float = 0.0
    every: int = 1

    def at(self, step: int) -> Penalties:
        """Those of one step: `every` times as large in each `every`-th, none in the others.

        Args:
            step: number of the step, from 0 on.
        """
        factor = self.every if step % self.every == 0 else 0
        return replace(
            self,
            r1_gamma=factor * self.r1_gamma,
            r2_gamma=factor * self.r2_gamma,
            gp_weight=factor * self.gp_weight,
        )

    def are_asked(self) -> bool:
        """Whether there is any."""
        return self.r1_gamma > 0 or self.r2_gamma > 0 or self.gp_weight > 0


class Game:
    """A generator and a discriminator against each other, and the rules.

    Args:
        G: generator, (z_BZ, labels_B) -> x_BCHW.
        D: discriminator, (x_BCHW, labels_B) -> logits_B.
        loss: what each of them loses, an entry of `GAN_LOSSES`.
        penalties: what the discriminator loses beside it.
        augment: changes what D sees, and is told its logits of a discriminator's step.
        rng: draws the points between real and generated images.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        loss: GanLoss,
        penalties: Penalties,
        augment: DiscriminatorAugmentation,
        rng: torch.Generator,
    ) -> None:
        self.G = G
        self.D = D
        self.penalties = penalties
        self.augment = augment
        self._loss = loss
        self._rng = rng

    def discriminator_loss(
        self, weights: Penalties, real_BCHW: Tensor, fake_BCHW: Tensor, labels_B: Tensor
    ) -> Outcome:
        """The discriminator's side, plus the gradient penalties whose weight is above zero.

        These are (r1_gamma/2) and (r2_gamma/2) times the zero-centred penalty on real and on
        generated images, and gp_weight times the one-centred penalty between them. With
        augmentation the first two are of slopes with respect to the images before it, as in the
        code of StyleGAN2-ADA and R3GAN; the third is taken between the images that D sees.

        Args:
            weights: of the penalties in this step.
            real_BCHW: real images in [-1, 1].
            fake_BCHW: generated images in [-1, 1], detached from the generator.
            labels_B: classes of both.

        Returns:
            The loss; kept are real_logits and fake_logits, float32 B.
        """
        self.D.requires_grad_(True)
        real_BCHW.requires_grad_(weights.r1_gamma > 0)
        fake_BCHW.requires_grad_(weights.r2_gamma > 0)
        seen_real_BCHW = self.augment(real_BCHW)
        seen_fake_BCHW = self.augment(fake_BCHW)
        real_logits_B = self._judge(seen_real_BCHW, labels_B)
        fake_logits_B = self._judge(seen_fake_BCHW, labels_B)
        self.augment.observe(real_logits_B, fake_logits_B)
        loss = self._loss.discriminator(real_logits_B, fake_logits_B)
        if weights.r1_gamma > 0:
            loss = loss + weights.r1_gamma / 2 * gradient_penalty(real_logits_B, real_BCHW).mean()
        if weights.r2_gamma > 0:
            loss = loss + weights.r2_gamma / 2 * gradient_penalty(fake_logits_B, fake_BCHW).mean()
        if weights.gp_weight > 0:
            x_BCHW = interpolated(seen_real_BCHW.detach(), seen_fake_BCHW.detach(), self._rng)
            x_BCHW.requires_grad_(True)
            penalty_B = unit_gradient_penalty(self._judge(x_BCHW, labels_B), x_BCHW)
            loss = loss + weights.gp_weight * penalty_B.mean()
        kept = {"real_logits": real_logits_B.detach(), "fake_logits": fake_logits_B.detach()}
        return Outcome(loss, kept)

    def generator_loss(self, real_BCHW: Tensor, fake_BCHW: Tensor, labels_B: Tensor) -> Outcome:
        """The generator's side, on images that it drew; its gradient doesn't move D.

        Args:
            real_BCHW: real images in [-1, 1]; some losses compare with them.
            fake_BCHW: generated images, with the graph that leads to the generator.
            labels_B: classes of both.
        """
        self.D.requires_grad_(False)
        real_logits_B = torch.zeros(0)
        if self._loss.generator_needs_real:
            with torch.no_grad():  # the generator's gradient does not reach the real images
                real_logits_B = self._judge(self.augment(real_BCHW), labels_B)
        fake_logits_B = self._judge(self.augment(fake_BCHW), labels_B)
        return Outcome(self._loss.generator(real_logits_B, fake_logits_B))

    def generator_loss_at(self, real_BCHW: Tensor, z_BZ: Tensor, labels_B: Tensor) -> Outcome:
        """The generator's side, on images that are drawn for it from these latents."""
        return self.generator_loss(real_BCHW, self.G(z_BZ, labels_B), labels_B)

    def signals(self, kept: Mapping[str, Tensor]) -> dict[str, float]:
        """How the game stands, as values to log.

        Args:
            kept: by `discriminator_loss`.

        Returns:
            d_signal, g_signal: the mean size of a loss's derivative by a logit, of the
                discriminator and the generator; where it vanishes that player learns nothing.
                logits: the largest size of one. d_accuracy: the share of pairs in which the real
                image's logit is the higher one; 0.5 if the two can't be told apart.
        """
        real_B = kept["real_logits"].detach().requires_grad_(True)
        fake_B = kept["fake_logits"].detach().requires_grad_(True)
        d_grads = torch.autograd.grad(self._loss.discriminator(real_B, fake_B), (real_B, fake_B))
        (g_grad,) = torch.autograd.grad(self._loss.generator(real_B.detach(), fake_B), fake_B)
        return {
            "d_signal": sum(float(grad.abs().sum()) for grad in d_grads) / 2,
            "g_signal": float(g_grad.abs().sum()),
            "logits": float(torch.stack([real_B, fake_B]).detach().abs().max()),
            "d_accuracy": float((real_B > fake_B).float().mean()),
        }

    def _judge(self, x_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        """Logits of images as they are, in float32."""
        logits_B: Tensor = self.D(x_BCHW, labels_B).float()
        return logits_B
