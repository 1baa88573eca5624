"""What the tests of degradations share: pictures, kernels, and one step of every kind."""

import hashlib

import numpy as np
import torch

from atelier.degradations import degrade


def images(num_images, channels=1, height=37, width=31):
    return torch.rand(
        num_images, channels, height, width, generator=torch.Generator().manual_seed(0)
    )


def draw(x_BCHW, step, seed=1):
    return degrade(x_BCHW, [step], torch.Generator().manual_seed(seed))


def saved(path, **kernels):
    """The values of a kernel_blur step with these kernels."""
    np.savez(path, **kernels)
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def two_kernels(path):
    rng = np.random.Generator(np.random.PCG64(0))
    kernels = [rng.random(shape) for shape in [(7, 7), (3, 5)]]
    return saved(path, **{f"k{i}": kernel / kernel.sum() for i, kernel in enumerate(kernels)})


def one_of_each(kernel_file):
    """Ranges where there are any; fits images of 4 pixels and more."""
    return {
        "noise": {"sigma": [0.05, 0.3]},
        "poisson": {"peak": [5, 50]},
        "salt_and_pepper": {"fraction": [0.05, 0.3]},
        "speckle": {"sigma": [0.05, 0.3]},
        "gaussian_blur": {"sigma": [0.5, 2.0]},
        "box_blur": {"radius": [1, 3]},
        "motion_blur": {"length": [3, 9], "angle": [0, 180]},
        "kernel_blur": kernel_file,
        "mask": {"size": [1, 4], "count": [1, 3]},
        "strokes": {"width": [1, 3], "count": [1, 3]},
        "missing_pixels": {"fraction": [0.1, 0.6]},
        "downsample": {"factor": 2},
        "jpeg": {"quality": [10, 90]},
        "decolourise": {},
    }
