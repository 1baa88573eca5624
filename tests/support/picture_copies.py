"""Real photographs cut into patches, and copies of them as people's folders hold them."""

import io
from functools import cache

import numpy as np
import skimage.data
from PIL import Image, ImageEnhance

from atelier.data.ingest.perceptual import perceptual_hash
from atelier.data.sources.pictures import Candidate, content_hash


@cache
def photographs(size=96):
    """Square patches of the pictures that come with scikit-image.

    Uint8 HWC, all distinct, none of empty sky.
    """
    patches, (motorcycle, _, _) = [], skimage.data.stereo_motorcycle()
    for picture in (
        skimage.data.astronaut(),
        skimage.data.coffee(),
        skimage.data.chelsea(),
        motorcycle,
    ):
        for top in range(0, picture.shape[0] - size + 1, size):
            for left in range(0, picture.shape[1] - size + 1, size):
                patch = picture[top : top + size, left : left + size]
                if patch.mean(axis=2).std() > 25:
                    patches.append(patch)
    return patches


def compressed(pixels_HWC, quality=50):
    content = io.BytesIO()
    Image.fromarray(pixels_HWC).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def halved(pixels_HWC):
    height, width, _ = pixels_HWC.shape
    return np.asarray(
        Image.fromarray(pixels_HWC).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    )


def darker(pixels_HWC):
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels_HWC)).enhance(0.9))


def flatter(pixels_HWC):
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(pixels_HWC)).enhance(0.9))


NEAR = (compressed, halved, darker, flatter)


class Folder:
    """Candidates, and the pixels that validation may ask for.

    What reading a source leaves behind.
    """

    def __init__(self):
        self.candidates, self.images = [], []

    def add(self, pixels_HWC, name=None, class_name="", split=""):
        position = len(self.images)
        self.images.append(pixels_HWC)
        self.candidates.append(
            Candidate(
                name or f"{position:04d}.png",
                0,
                class_name,
                split,
                content_hash(pixels_HWC),
                *pixels_HWC.shape,
                position,
                perceptual_hash(pixels_HWC),
                float(pixels_HWC.mean()),
                float(pixels_HWC.std()),
            )
        )
        return self.candidates[-1]

    def pixels(self, candidate):
        return self.images[candidate.position]


def messy_folder():
    """Sixty photographs of two classes, of which some come again.

    Exactly, nearly, or under the other class.

    Returns:
        The folder, and the number of pictures that are to be quarantined for each reason (where all
        is one split).
    """
    folder, originals = Folder(), photographs()[:60]
    for number, patch in enumerate(originals):
        folder.add(patch, class_name=("cat", "dog")[number % 2])
    for number in range(6):
        folder.add(originals[number], class_name=("cat", "dog")[number % 2])
    for number in range(6, 14):
        folder.add(NEAR[number % 4](originals[number]), class_name=("cat", "dog")[number % 2])
    for number in range(14, 19):
        folder.add(originals[number], class_name=("dog", "cat")[number % 2])
    return folder, {"exact duplicate": 6, "near duplicate": 8, "two labels": 10}
