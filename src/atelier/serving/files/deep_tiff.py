"""TIFF of 16 bits a colour, of which Pillow would keep 8; and the pages of any TIFF."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

import numpy as np
import tifffile

from atelier.data.sources.pictures import Unusable
from atelier.serving.files.metadata import turn_upright
from atelier.serving.files.record import Picture, Pixels

# A damaged file is told of once, by us.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False

GREY = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
COLOURS = (*GREY, tifffile.PHOTOMETRIC.RGB)
ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
ORIENTATION = 274
ICC = 34675
COPIES = "with smaller copies or masks of its pages came out without these"
EXTRA = "with channels besides colours and transparency came out without these"


@dataclass(frozen=True)
class Page:
    """Of a TIFF, by its header."""

    number: int  # among all directories
    size: tuple[int, int]  # width, height
    is_deep: bool  # 16 bits a colour, as whole numbers


def list_pages(content: bytes) -> tuple[list[Page], bool]:
    """The pages of a TIFF, and whether it holds smaller copies or masks of them besides.

    Raises:
        Unusable: if some have 16 bits and others have not.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        pages = []
        has_copies = False
        for number, page in enumerate(file.pages):
            page = page.aspage()
            if number and (page.is_reduced or page.is_mask):
                has_copies = True
                continue
            is_deep = page.dtype == np.uint16 and page.bitspersample == 16
            pages.append(Page(number, (page.imagewidth, page.imagelength), is_deep))
    if len({page.is_deep for page in pages}) > 1:
        raise Unusable("wrong channels", "pages of 16 bits among others")
    return pages, has_copies


def read(content: bytes, pages: list[Page]) -> Picture:
    """The pages of a TIFF of 16 bits.

    Raises:
        Unusable: if their colours are neither grey nor RGB.
    """
    frames = []
    alpha: list[Pixels | None] = []
    notes: dict[str, None] = {}
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages[0].aspage().tags
        icc = tags[ICC].value if ICC in tags else None
        for page in pages:
            colours_HWC, alpha_HW, has_extra = _read_page(file.pages[page.number].aspage())
            frames.append(colours_HWC)
            alpha.append(alpha_HW)
            if has_extra:
                notes[EXTRA] = None
    return Picture(frames, fill_alpha(frames, alpha), 16, "TIFF", icc=icc, notes=tuple(notes))


def fill_alpha(frames: list[Pixels], alpha: list[Pixels | None]) -> list[Pixels] | None:
    """How opaque each frame is: those that don't say are opaque; None if none says."""
    if all(alpha_HW is None for alpha_HW in alpha):
        return None
    filled = []
    for pixels_HWC, alpha_HW in zip(frames, alpha, strict=True):
        if alpha_HW is None:
            white = np.iinfo(pixels_HWC.dtype).max
            alpha_HW = np.full(pixels_HWC.shape[:2], white, pixels_HWC.dtype)
        filled.append(alpha_HW)
    return filled


def _read_page(page: tifffile.TiffPage) -> tuple[Pixels, Pixels | None, bool]:
    """Colours, how opaque they are, and whether there were channels of another meaning."""
    if page.photometric not in COLOURS:
        raise Unusable("wrong channels", "neither grey nor RGB of 8 or 16 bits")
    channels = 1 if page.photometric in GREY else 3
    values_HWC = page.asarray().reshape(-1, page.imagelength, page.imagewidth)
    if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        values_HWC = np.moveaxis(values_HWC, 0, -1)
    else:
        values_HWC = values_HWC.reshape(page.imagelength, page.imagewidth, -1)
    orientation = page.tags[ORIENTATION].value if ORIENTATION in page.tags else 1
    values_HWC = turn_upright(values_HWC, orientation)
    colours_HWC = np.ascontiguousarray(values_HWC[..., :channels])
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        colours_HWC = np.uint16(65535) - colours_HWC
    extra = [kind for kind in page.extrasamples if kind in ALPHA][:1]
    has_extra = values_HWC.shape[2] > channels + len(extra)
    if not extra:
        return colours_HWC, None, has_extra
    place = channels + page.extrasamples.index(extra[0])
    alpha_HW = np.ascontiguousarray(values_HWC[..., place])
    if extra[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        colours_HWC = _divide_by_alpha(colours_HWC, alpha_HW)
    return colours_HWC, alpha_HW, has_extra


def _divide_by_alpha(colours_HWC: Pixels, alpha_HW: Pixels) -> Pixels:
    """Colours that were multiplied by alpha as they were before; black where nothing is seen."""
    straight_HWC = np.zeros_like(colours_HWC)
    factor_HW = np.float32(65535) / np.maximum(alpha_HW, 1).astype(np.float32)
    for channel in range(colours_HWC.shape[2]):
        plane_HW = np.rint(colours_HWC[..., channel] * factor_HW)
        straight_HWC[..., channel] = np.minimum(plane_HW, 65535)
    return straight_HWC
