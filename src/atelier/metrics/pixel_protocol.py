"""What is done to images before they are compared, and the words that are stored with the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atelier.metrics.structure import MS_SSIM_SIDE, SSIM_SIGMA, SSIM_WINDOW

if TYPE_CHECKING:
    from atelier.metrics.lpips import Lpips  # imports torch

# The PSNR of equal images, and any mean with it, would be infinite; rounding to 8 bits alone gives
# 58.9 dB.
PSNR_CAP_DB = 100.0


@dataclass(frozen=True)
class PixelProtocol:
    """What is done to images before they are compared.

    Scores of different protocols can't be compared.

    Attributes:
        luma: of colour images compare Y alone, as MATLAB's rgb2ycbcr makes it; grey ones are
            compared as they are.
        border: rows and columns that are left out all round.
        round: compare what would be written to a file of 8 bits.
        clip: cut restored images to [0, 1]. Published figures of noise are of pictures that aren't.
        lpips: the network of LPIPS; None leaves it out.
    """

    luma: bool = False
    border: int = 0
    round: bool = False
    clip: bool = True
    lpips: Lpips | None = None

    @property
    def text(self) -> str:
        """As it is stored with a score."""
        clipped = "clipped to it" if self.clip else "not clipped"
        rounded = "rounded to 8 bits" if self.round else "no rounding to 8 bits"
        channels = (
            "Y of BT.601 as MATLAB's rgb2ycbcr, grey as it is" if self.luma else "all channels"
        )
        border = f"border of {self.border} pixels removed" if self.border else "no border removed"
        return f"images in [0, 1], restored one {clipped}, {rounded}, {channels}, {border}"

    @property
    def texts(self) -> dict[str, str]:
        """The protocol of each metric, by its name."""
        window = (
            f"Gaussian window {SSIM_WINDOW}, sigma {SSIM_SIGMA}, K1 0.01, K2 0.03, data range 1, "
            f"{self.text}"
        )
        inside = "mean over channels, only windows inside the image"
        texts = {
            "mse": f"mean squared error per image, {self.text}",
            "psnr": f"PSNR in dB per image, data range 1, capped at {PSNR_CAP_DB:g} dB, "
            f"{self.text}",
            "ssim": f"SSIM per image, {window}, {inside}",
            "ms_ssim": (
                f"MS-SSIM per image, five scales, weights of Wang et al. 2003, {window}, {inside}, "
                f"images of at least {MS_SSIM_SIDE} pixels"
            ),
        }
        return (
            texts
            if self.lpips is None
            else texts | {"lpips": f"{self.lpips.text}, {self.in_colour().text}"}
        )

    def in_colour(self) -> PixelProtocol:
        """The same of all channels: LPIPS is defined on colour."""
        return PixelProtocol(False, self.border, self.round, self.clip)


AS_STORED = PixelProtocol()
