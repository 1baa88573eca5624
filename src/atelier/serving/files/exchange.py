"""Between the pixels of a picture and the numbers of a model.

Shapes: N images, C channels, H height, W width; a model's are 1CHW, float32 in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atelier.serving.files.record import Picture, Pixels

Floats = NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's mode L
GREY_THROUGH_COLOUR = "of grey went through the colour model as three equal channels"
COLOUR_THROUGH_GREY = "of colour went through the grey model: brightness restored, colours kept"
# By the channels of a picture and of the model.
NOTES = {(1, 3): GREY_THROUGH_COLOUR, (3, 1): COLOUR_THROUGH_GREY}


def model_input(picture: Picture, frame_number: int, channels: int) -> Floats:
    """A frame as a model takes it.

    Args:
        picture: whose.
        frame_number: from 0.
        channels: of the model, 1 or 3. Grey is repeated for three; of colours one is their luma.

    Returns:
        x_1CHW: float32 in [0, 1].
    """
    pixels_HWC = picture.frames[frame_number]
    if channels == 1 and pixels_HWC.shape[2] == 3:
        return _luma(pixels_HWC, picture.white)[None, None]
    height, width, own_channels = pixels_HWC.shape
    x_1CHW = np.empty((1, channels, height, width), np.float32)
    for channel in range(channels):
        plane_HW = pixels_HWC[..., min(channel, own_channels - 1)]
        np.divide(plane_HW, np.float32(picture.white), out=x_1CHW[0, channel])
    return x_1CHW


def with_answers(picture: Picture, answers: Iterable[Floats]) -> Picture:
    """A picture with a model's answers in place of its colours.

    Args:
        picture: that the model was given, by `model_input`.
        answers: x_hat_1CHW in [0, 1] for each frame, which may be enlarged. Transparency, and the
            colours of a picture that a grey model restored, are enlarged bicubically. Of those
            that are made one by one, no two are in memory.

    Returns:
        a picture of the same depth and kind.
    """
    frames = []
    notes = dict.fromkeys(picture.notes)
    for pixels_HWC, x_hat_1CHW in zip(picture.frames, answers, strict=True):
        frames.append(_answer_pixels(pixels_HWC, x_hat_1CHW, picture.white))
        channels = (pixels_HWC.shape[2], x_hat_1CHW.shape[1])
        if channels in NOTES:
            notes[NOTES[channels]] = None
    alpha = None
    if picture.alpha is not None:
        pairs = zip(picture.alpha, frames, strict=True)
        alpha = [enlarge(alpha_HW, pixels_HWC.shape[:2]) for alpha_HW, pixels_HWC in pairs]
    return replace(picture, frames=frames, alpha=alpha, notes=tuple(notes))


def enlarge(pixels: Pixels, size: tuple[int, ...]) -> Pixels:
    """Pixels, HW or HWC, in another size (height, width), bicubically; the same if they have it."""
    if pixels.shape[:2] == size:
        return pixels
    pixels_HWC = pixels.reshape(*pixels.shape[:2], -1)
    enlarged_HWC: Pixels = np.empty((*size, pixels_HWC.shape[2]), pixels.dtype)
    for channel in range(pixels_HWC.shape[2]):
        plane_HW = pixels_HWC[..., channel].astype(np.float32)
        _store(_resize(plane_HW, size), 1, enlarged_HWC[..., channel])
    return enlarged_HWC.reshape(*size, *pixels.shape[2:])


def _answer_pixels(pixels_HWC: Pixels, x_hat_1CHW: Floats, white: int) -> Pixels:
    """An answer in the channels and the type of the pixels that it is for."""
    size = x_hat_1CHW.shape[2:]
    channels = pixels_HWC.shape[2]
    answer_HWC: Pixels = np.empty((*size, channels), pixels_HWC.dtype)
    if channels == 1 and x_hat_1CHW.shape[1] == 3:
        grey_HW = np.zeros(size, np.float32)
        for weight, plane_HW in zip(LUMA, x_hat_1CHW[0], strict=True):
            grey_HW += plane_HW * np.float32(weight)
        _store(grey_HW, white, answer_HWC[..., 0])
        return answer_HWC
    # How far each colour is from the brightness is what the chroma of YCbCr says, scaled.
    luma_HW = None
    if channels == 3 and x_hat_1CHW.shape[1] == 1:
        luma_HW = _luma(pixels_HWC, white)
    for channel in range(channels):
        if luma_HW is None:
            _store(x_hat_1CHW[0, channel], white, answer_HWC[..., channel])
            continue
        chroma_HW = pixels_HWC[..., channel] * np.float32(1 / white) - luma_HW
        plane_HW = _resize(chroma_HW.astype(np.float32, copy=False), size)
        plane_HW += x_hat_1CHW[0, 0]
        _store(plane_HW, white, answer_HWC[..., channel])
    return answer_HWC


def _luma(pixels_HWC: Pixels, white: int) -> Floats:
    """Brightness in [0, 1] of colours."""
    luma_HW = np.zeros(pixels_HWC.shape[:2], np.float32)
    for channel, weight in enumerate(LUMA):
        luma_HW += pixels_HWC[..., channel] * np.float32(weight / white)
    return luma_HW


def _resize(plane_HW: Floats, size: tuple[int, ...]) -> Floats:
    """A plane in another size (height, width); writable."""
    if plane_HW.shape == size:
        return plane_HW
    image = Image.fromarray(plane_HW).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(image)


def _store(values_HW: Floats, white: int, pixels_HW: Pixels) -> None:
    """Write values, of which `white` is 1 in them, as pixels: rounded to nearest, and clipped."""
    scaled_HW = values_HW * np.float32(white)
    np.rint(scaled_HW, out=scaled_HW)
    np.clip(scaled_HW, 0, np.iinfo(pixels_HW.dtype).max, out=scaled_HW)
    pixels_HW[...] = scaled_HW
