"""Random changes of all images that a GAN's discriminator sees, real and generated.

It can't learn few images by heart.

The changes are differentiable, so the generator learns through them, and it is not shown changed
images as the real ones: its images have to pass under the same changes. With a fixed probability
this is DiffAugment (Zhao et al. 2020, arXiv:2006.10738), with an adaptive one ADA (Karras et al.
2020, arXiv:2006.06676). All are exact moves of pixels or formulas without interpolation: cheap on a
CPU, and deterministic on CUDA, where `grid_sample` is not.

Shapes: B batch, C channels, H height, W width; images are in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atelier.params import DiscriminatorAugment
from atelier.training.augmentation import chosen, in_box, quarter_turned
from atelier.training.distributed import averaged, share, world_size

# A generator can't know which side was the original if all sides are equally frequent, as with
# probability 1. Up to 0.8 it draws them as they are: ADA, section 2.2 and figure 3.
LEAK_FREE = 0.8
NUM_OBSERVED = 4  # minibatches that the signal is averaged over: ADA, section 3
# What can be done to an image; each one has a number that decides whether it is done, and up to two
# that say how.
KINDS = ("flip", "quarter turn", "brightness", "saturation", "contrast", "translation", "cutout")
DRAWS = (len(KINDS), 3)
# Lowest value, range, and what changes nothing: of brightness, which is added, and of two factors.
COLOUR = ((-0.5, 1.0, 0.0), (0.0, 2.0, 1.0), (0.5, 1.0, 1.0))


class DiscriminatorAugmentation(nn.Module):
    """Changes images by a strength that adapts to what the discriminator says of real images.

    Its buffers, strength and signal, are a part of the checkpoint.

    Args:
        wanted: what to do; None does, draws and logs nothing.
        boundary: `GanLoss.boundary` of the game.
        rng: source of all randomness, on the CPU, so that every device sees the same changes.

    Attributes:
        probability: of each change of each image, in [0, 1].
        recent: means of the discriminator's signs in the last minibatches, in [-1, 1]; NaN before
            there are any.
    """

    probability: Tensor
    recent: Tensor

    def __init__(
        self, wanted: DiscriminatorAugment | None, boundary: float | None, rng: torch.Generator
    ) -> None:
        super().__init__()
        self._wanted, self._boundary, self._rng = wanted, boundary, rng
        fixed = 0.0 if wanted is None or wanted.probability == "adaptive" else wanted.probability
        self.register_buffer("probability", torch.tensor(fixed))
        self.register_buffer("recent", torch.full((NUM_OBSERVED,), torch.nan))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The images as the discriminator is to see them; each call draws anew.

        Args:
            x_BCHW: real or generated images in [-1, 1], square if quarter turns are wanted.

        Returns:
            Images of the same shape, differentiable (twice, for gradient penalties), channels_last;
            brightness and contrast may leave the range.
        """
        if self._wanted is None:
            return x_BCHW
        # As many numbers whatever the probability is, so that a resumed training draws the same
        # ones.
        draws_BKN = share(torch.rand(len(x_BCHW) * world_size(), *DRAWS, generator=self._rng))
        return randomly_changed(x_BCHW, draws_BKN, self.probability, self._wanted)

    @torch.no_grad()
    def observe(self, real_logits_B: Tensor, fake_logits_B: Tensor) -> None:
        """Take note of a discriminator step, and move an adaptive probability with the signal.

        The signal r_t = E[sign(D(real))] is 0 for a discriminator that can't tell real images from
        generated ones and
        1 for one that knows every training image; at 0.6 it is right about 80 % of the real ones.
        That supposes that D = 0 is where both are equally likely; least squares has 1/2 there.
        Games that only compare (relativistic, Wasserstein) have no such value: their logits may
        drift, and by another amount for each class. What they can be right about is pairs of one
        class, so there the signal is E[sign(D(real) - D(generated))].

        Args:
            real_logits_B: what this step's loss was computed from.
            fake_logits_B: the same for generated images, paired by position and class.

        Source: Karras et al. 2020, arXiv:2006.06676, eq. 1 (r_t) and section 3 (one step up or down
        by the sign, with the signal of four minibatches); that of pairs is our own.
        """
        if self._wanted is None:
            return
        signs_B = torch.sign(
            real_logits_B - (fake_logits_B if self._boundary is None else self._boundary)
        )
        self.recent.copy_(
            torch.cat([self.recent[1:], averaged(signs_B.float().mean(dim=0, keepdim=True))])
        )
        if self._wanted.probability == "adaptive":
            assert (
                self._wanted.target is not None and self._wanted.adapt_kimg is not None
            )  # filled in by the record
            direction = torch.sign(self.recent.nanmean() - self._wanted.target)
            self.probability.add_(
                direction * len(real_logits_B) * world_size() / (self._wanted.adapt_kimg * 1000)
            ).clamp_(0, 1)

    def values(self) -> dict[str, float]:
        """What to log: the probability, and the signal (near 1: the discriminator overfits)."""
        if self._wanted is None:
            return {}
        return {
            "augment_probability": self.probability.item(),
            "overfitting": self.recent.nanmean().item(),
        }


def randomly_changed(
    x_BCHW: Tensor, draws_BKN: Tensor, probability: Tensor, wanted: DiscriminatorAugment
) -> Tensor:
    """Each image with each wanted change done or not.

    A change that isn't done leaves all bits as they are.

    Args:
        x_BCHW: images in [-1, 1].
        draws_BKN: uniform in [0, 1), of shape (B, *DRAWS): for each of `KINDS` whether, and how.
        probability: of each change, a scalar; flips and turns stay at or below `LEAK_FREE`.
        wanted: which changes, and how far they go.

    Returns:
        Images of the same shape, channels_last.
    """
    flip_NB, turn_NB, *colour_NB, shift_NB, box_NB = draws_BKN.to(x_BCHW.device).permute(1, 2, 0)
    rarely = probability.clamp(max=LEAK_FREE)
    x_BCHW = x_BCHW.contiguous()  # with so few channels all of this is faster plane by plane
    if wanted.flip:
        x_BCHW = chosen((flip_NB[0] < rarely) & (flip_NB[1] < 0.5), x_BCHW.flip(-1), x_BCHW)
    if wanted.quarter_turns:
        x_BCHW = quarter_turned(x_BCHW, (turn_NB[1] * 4).long() * (turn_NB[0] < rarely))
    if wanted.colour:
        x_BCHW = _coloured(x_BCHW, torch.stack(colour_NB), probability)
    if wanted.translation:
        x_BCHW = _translated(x_BCHW, shift_NB[1:], shift_NB[0] < probability, wanted.translation)
    if wanted.cutout:
        x_BCHW = _cut_out(x_BCHW, box_NB[1:], box_NB[0] < probability, wanted.cutout)
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def _coloured(x_BCHW: Tensor, draws_3NB: Tensor, probability: Tensor) -> Tensor:
    """Brightness by up to +-0.5, then saturation (times 0 to 2), then contrast (times 0.5 to 1.5).

    Saturation is the distance from the mean of a pixel's channels, contrast that from the mean of
    the image. All three are one formula here, which changes no bit of an image with neither of
    them.

    Source: DiffAugment, Zhao et al. 2020, arXiv:2006.10738; the order is that of the authors' code,
    https://github.com/mit-han-lab/data-efficient-gans.
    """
    done_3B, u_3B = draws_3NB[:, 0] < probability, draws_3NB[:, 1]
    lowest_31, range_31, neutral_31 = torch.tensor(COLOUR, device=u_3B.device).T[:, :, None]
    values_3B = torch.where(done_3B, lowest_31 + range_31 * u_3B, neutral_31).to(x_BCHW.dtype)
    brightness, saturation, contrast = values_3B[:, :, None, None, None]
    grey_B1HW = x_BCHW.mean(dim=1, keepdim=True)
    level_B111 = brightness + (1 - contrast) * grey_B1HW.mean(dim=(2, 3), keepdim=True)
    if x_BCHW.shape[1] == 1:
        return torch.addcmul(level_B111, x_BCHW, contrast)
    return torch.addcmul(
        level_B111 + contrast * (1 - saturation) * grey_B1HW, x_BCHW, contrast * saturation
    )


def _translated(x_BCHW: Tensor, u_2B: Tensor, done_B: Tensor, share: float) -> Tensor:
    """Move images by whole pixels, up to `share` of the side in each direction.

    What comes in is zero (mid grey).
    """
    height, width = x_BCHW.shape[-2:]
    rows_BH, within_BH = _sources(u_2B[0], done_B, share, height)
    columns_BW, within_BW = _sources(u_2B[1], done_B, share, width)
    sources_BHW = rows_BH[:, :, None] * width + columns_BW[:, None, :]
    # In the gradient of a gather the values of what came in are zero (below), so their sum is exact
    # in any order.
    moved_BCP = x_BCHW.flatten(2).gather(
        2, sources_BHW.flatten(1)[:, None].expand_as(x_BCHW.flatten(2))
    )
    return moved_BCP.view(x_BCHW.shape) * _mask(within_BH, within_BW, x_BCHW.dtype)


def _sources(u_B: Tensor, done_B: Tensor, share: float, length: int) -> tuple[Tensor, Tensor]:
    """For each position after the move.

    Where it comes from, and whether that is inside of the image.
    """
    most = _pixels(share, length)
    shift_B = ((u_B * (2 * most + 1)).long() - most) * done_B
    positions_BL = torch.arange(length, device=u_B.device) - shift_B[:, None]
    return positions_BL.clamp(0, length - 1), (positions_BL >= 0) & (positions_BL < length)


def _cut_out(x_BCHW: Tensor, u_2B: Tensor, done_B: Tensor, share: float) -> Tensor:
    """Fill a box with zero (mid grey), its sides `share` of the image's, about any pixel.

    Over the border it is cut.
    """
    height, width = x_BCHW.shape[-2:]
    inside_BH = in_box(u_2B[0][:, None], height, _pixels(share, height)) & done_B[:, None]
    inside_BW = in_box(u_2B[1][:, None], width, _pixels(share, width))
    return x_BCHW * (1 - _mask(inside_BH, inside_BW, x_BCHW.dtype))


def _mask(rows_BH: Tensor, columns_BW: Tensor, dtype: torch.dtype) -> Tensor:
    """1 in the given rows of the given columns, else 0.

    To multiply with, which is twice as fast as to fill.
    """
    return (rows_BH[:, None, :, None] & columns_BW[:, None, None, :]).to(dtype)


def _pixels(share: float, length: int) -> int:
    """At least one: what was asked for must do something."""
    return max(1, round(share * length))
