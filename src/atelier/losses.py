"""Losses: adversarial, gradient penalty and pixel losses, all pure functions of tensors.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class GanLoss(NamedTuple):
    """The two sides of one adversarial game.

    Both take (real_logits_B, fake_logits_B) and return a scalar to minimise.

    The generator's side ignores the real logits unless `generator_needs_real`: the loop need not
    compute them then. `boundary` is the logit of an image that is as likely real as generated; None
    where only differences count.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    generator_needs_real: bool
    boundary: float | None = None


def _classify(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(z)))], D = sigmoid(logits): the discriminator of 2014."""
    return F.softplus(-real_logits_B).mean() + F.softplus(fake_logits_B).mean()


def minimax_generator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """E[log(1 - D(G(z)))], which saturates where the discriminator is sure.

    Args:
        real_logits_B: ignored.
        fake_logits_B: discriminator output for generated images, unbounded.

    Returns:
        Scalar, <= 0.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1.
    """
    return -F.softplus(fake_logits_B).mean()


def non_saturating_generator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """-E[log D(G(z))].

    Args:
        real_logits_B: ignored.
        fake_logits_B: discriminator output for generated images, unbounded.

    Returns:
        Scalar, >= 0.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """
    return F.softplus(-fake_logits_B).mean()


def relativistic_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """E[softplus(D(G(z)) - D(x))] over pairs of one real and one generated image.

    Args:
        real_logits_B: discriminator output for real images, unbounded.
        fake_logits_B: the same for generated images, paired by position.

    Returns:
        Scalar, >= 0.

    Source: R3GAN, Huang et al. 2024, arXiv:2501.05441, eq. 2 (relativistic pairing GAN of
    Jolicoeur-Martineau 2018).
    """
    return F.softplus(fake_logits_B - real_logits_B).mean()


def relativistic_generator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """E[softplus(D(x) - D(G(z)))]: the discriminator's loss with the roles swapped, as in R3GAN.

    Args:
        real_logits_B: discriminator output for real images, unbounded.
        fake_logits_B: the same for generated images, paired by position.

    Returns:
        Scalar, >= 0.

    Source: R3GAN, Huang et al. 2024, arXiv:2501.05441, eq. 2.
    """
    return F.softplus(real_logits_B - fake_logits_B).mean()


def least_squares_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """(E[(D(x) - 1)^2] + E[D(G(z))^2]) / 2.

    Logits are pulled to 1 for real and 0 for generated images.

    Args:
        real_logits_B: discriminator output for real images, unbounded.
        fake_logits_B: the same for generated images.

    Returns:
        Scalar, >= 0.

    Source: LSGAN, Mao et al. 2017, arXiv:1611.04076, eq. 9 (a = 0, b = c = 1).
    """
    return ((real_logits_B - 1).square().mean() + fake_logits_B.square().mean()) / 2


def least_squares_generator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2] / 2; an image that is called more than real is pulled back as well.

    Args:
        real_logits_B: ignored.
        fake_logits_B: discriminator output for generated images, unbounded.

    Returns:
        Scalar, >= 0.

    Source: LSGAN, Mao et al. 2017, arXiv:1611.04076, eq. 9.
    """
    return (fake_logits_B - 1).square().mean() / 2


def hinge_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]: no reward beyond the margins of +-1.

    Args:
        real_logits_B: discriminator output for real images, unbounded.
        fake_logits_B: the same for generated images.

    Returns:
        Scalar, >= 0.

    Source: Geometric GAN, Lim & Ye 2017, arXiv:1705.02894; in this form SAGAN, arXiv:1805.08318,
    eq. 4.
    """
    return F.relu(1 - real_logits_B).mean() + F.relu(1 + fake_logits_B).mean()


def wasserstein_discriminator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)], the negative estimate of a distance if D is 1-Lipschitz.

    See `unit_gradient_penalty`.

    Args:
        real_logits_B: discriminator (critic) output for real images, unbounded.
        fake_logits_B: the same for generated images.

    Returns:
        Scalar, unbounded.

    Source: WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028, eq. 2 and 3.
    """
    return fake_logits_B.mean() - real_logits_B.mean()


def minus_mean_generator(real_logits_B: Tensor, fake_logits_B: Tensor) -> Tensor:
    """-E[D(G(z))], the generator of the hinge and of the Wasserstein game.

    Args:
        real_logits_B: ignored.
        fake_logits_B: discriminator output for generated images, unbounded.

    Returns:
        Scalar, unbounded.

    Source: SAGAN, Zhang et al. 2018, arXiv:1805.08318, eq. 4; WGAN-GP, arXiv:1704.00028, eq. 2.
    """
    return -fake_logits_B.mean()


GAN_LOSSES: dict[str, GanLoss] = {
    "minimax": GanLoss(_classify, minimax_generator, generator_needs_real=False, boundary=0.0),
    "non-saturating": GanLoss(
        _classify, non_saturating_generator, generator_needs_real=False, boundary=0.0
    ),
    "relativistic": GanLoss(
        relativistic_discriminator, relativistic_generator, generator_needs_real=True
    ),
    "least-squares": GanLoss(
        least_squares_discriminator,
        least_squares_generator,
        generator_needs_real=False,
        boundary=0.5,
    ),
    "hinge": GanLoss(
        hinge_discriminator, minus_mean_generator, generator_needs_real=False, boundary=0.0
    ),
    "wasserstein": GanLoss(
        wasserstein_discriminator, minus_mean_generator, generator_needs_real=False
    ),
}


def gradient_penalty(logits_B: Tensor, x_BCHW: Tensor) -> Tensor:
    """Zero-centred gradient penalty: R1 on real images, R2 on generated ones.

    Args:
        logits_B: discriminator output for `x_BCHW`, each logit a function of its own image alone
            (no batch norm).
        x_BCHW: images with `requires_grad=True`.

    Returns:
        penalty_B: squared L2 norm of d(logits)/d(x) per image, >= 0, differentiable; not yet times
            gamma/2.

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. 9 (R1) and 10 (R2).
    """
    (grad_BCHW,) = torch.autograd.grad(logits_B.sum(), x_BCHW, create_graph=True)
    return grad_BCHW.square().sum(dim=(1, 2, 3))


def unit_gradient_penalty(logits_B: Tensor, x_BCHW: Tensor) -> Tensor:
    """(||d(logits)/d(x)|| - 1)^2: holds the discriminator's slope at 1, as WGAN-GP needs it.

    Args:
        logits_B: discriminator output for `x_BCHW`, each logit a function of its own image alone
            (no batch norm).
        x_BCHW: images with `requires_grad=True`; in the paper random points between real and
            generated ones.

    Returns:
        penalty_B: >= 0 per image, differentiable; not yet times its weight (lambda, 10 in the
            paper).

    Source: WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028, eq. 3.
    """
    (grad_BCHW,) = torch.autograd.grad(logits_B.sum(), x_BCHW, create_graph=True)
    # vector_norm, not the root of a sum: its derivative at a flat place is 0, not NaN.
    slope_B: Tensor = torch.linalg.vector_norm(grad_BCHW, dim=(1, 2, 3))
    return (slope_B - 1).square()


def interpolated(real_BCHW: Tensor, fake_BCHW: Tensor, rng: torch.Generator) -> Tensor:
    """One point drawn uniformly from the line between each pair of a real and a generated image.

    Args:
        real_BCHW: real images, float32.
        fake_BCHW: generated images, paired by position; of the precision that the generator
            computes in.
        rng: a generator on the CPU.

    Returns:
        x_BCHW: between the two, float32.

    Source: WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1.
    """
    share_B111 = torch.rand(len(real_BCHW), 1, 1, 1, generator=rng).to(real_BCHW.device)
    # lerp takes only equals, and autocast leaves it as it is.
    return torch.lerp(fake_BCHW.float(), real_BCHW, share_B111)


def charbonnier(x_hat_BCHW: Tensor, x_BCHW: Tensor) -> Tensor:
    """Smooth L1: mean of sqrt(d^2 + 0.001^2), the constant for a range of [0, 1].

    Args:
        x_hat_BCHW: estimates.
        x_BCHW: clean images in [0, 1].

    Returns:
        Scalar, >= 0.001.

    Source: Lai et al. 2017, arXiv:1704.03915, section 3.2, with the epsilon 1e-3 given there.
    """
    return (x_hat_BCHW - x_BCHW).square().add(1e-6).sqrt().mean()


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": F.mse_loss,
    "l1": F.l1_loss,
    "charbonnier": charbonnier,
}
