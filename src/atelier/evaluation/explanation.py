"""Pictures that show what a network looks at and where it errs. Attributions are captum's.

Shapes: N images, C channels, H height, W width; one image is 1CHW.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from atelier.data.store import StoredDataset
from atelier.degradations import Steps, degrade_fixed, noise_levels, upscale_of
from atelier.metrics.baselines import nearest
from atelier.pictures import Floats, Pixels, grid
from atelier.training.pixels import sizes_of, to_images

Restore = Callable[[Tensor], Tensor]  # image in [0, 1] -> restored image; may be larger
NUM_EXPLAINED = 6  # images
MOST_ROWS = 10  # of interpolations
SHOWN_SIDE = 96  # pixels: of larger images the centre
PATCH = 8  # side of the part of a restored image whose causes are looked for
STEPS = 32  # of the path integral
ERROR_SCALE = 4.0  # an error of a quarter of the range, or more, is the strongest colour
BLUR_SIGMA = 2.0  # pixels: what is left of an image at the beginning of the path


def explain_restorer(
    network: Any, steps: Steps, dataset: StoredDataset, units: pd.DataFrame, device: torch.device
) -> dict[str, Pixels]:
    """`errors.png`, the test images that it restores worst and where it is wrong.

    `attribution.png` of the same.

    Args:
        network: the restorer.
        steps: the degradation.
        dataset: whose test images are shown; of large ones the centre.
        units: what the evaluation found of each, in their order.
        device: where the network lives.
    """
    pixels, hashes, factor = dataset.images("test"), dataset.hashes("test"), upscale_of(steps)
    worst = units["psnr"].nsmallest(NUM_EXPLAINED).index.tolist()
    side = min(SHOWN_SIDE, *sizes_of(pixels)[worst].min(axis=0).tolist()) // factor * factor
    whole = [to_images(np.array(pixels[row])[None], device) for row in worst]
    x_NCHW = torch.cat([_centre(x_1CHW, side) for x_1CHW in whole])
    seeds = [int(hashes[row][:12], 16) for row in worst]
    y_NCHW = degrade_fixed(x_NCHW.cpu(), steps, seeds).to(device)
    restorers: list[Restore] = [network] * len(y_NCHW)
    if getattr(network, "noise_level", False):
        restorers = [
            partial(network, sigma=float(s)) for s in noise_levels(x_NCHW.shape, steps, seeds)
        ]
    y_1CHWs = torch.split(y_NCHW, 1)
    with torch.no_grad():
        restored = [restore(y_1CHW) for restore, y_1CHW in zip(restorers, y_1CHWs, strict=True)]
    degraded = nearest(y_NCHW.clamp(0, 1), factor).cpu().numpy()
    errors = error_maps(
        x_NCHW.contiguous().cpu().numpy(), degraded, torch.cat(restored).clamp(0, 1).cpu().numpy()
    )
    shares = [
        local_attribution(restore, y_1CHW)
        for restore, y_1CHW in zip(restorers, y_1CHWs, strict=True)
    ]
    return {"errors.png": errors, "attribution.png": attribution_maps(np.stack(shares), y_NCHW)}


def explain_classifier(
    network: Any, dataset: StoredDataset, units: pd.DataFrame, device: torch.device
) -> dict[str, Pixels]:
    """`gradcam.png`: test images that it takes for something else, and what speaks for that.

    Args:
        network: the classifier.
        dataset: whose test images are shown.
        units: what the evaluation found of each, in their order.
        device: where the network lives.
    """
    rows = units["accuracy"].nsmallest(NUM_EXPLAINED).index.to_numpy()  # the wrong ones first
    x_NCHW = to_images(np.stack([dataset.images("test")[row] for row in rows]), device)
    with torch.no_grad():
        predicted_N = network(x_NCHW).argmax(dim=1).cpu().numpy()
    return {"gradcam.png": class_maps(network, x_NCHW, predicted_N)}


def explain_generator(network: Any, config: Mapping[str, Any], seed: int) -> dict[str, Pixels]:
    """`interpolation.png`: for each class the way from one latent to another.

    Args:
        network: the generator.
        config: keyword arguments that it was built with.
        seed: of the latents.
    """
    classes = range(min(config["num_classes"], MOST_ROWS))
    return {"interpolation.png": interpolations(network, config["latent_dim"], classes, seed)}


def heat(values_NHW: NDArray[Any]) -> Floats:
    """Values in [0, 1] as colours, black over red and yellow to white; N3HW."""
    values_NHW = np.clip(values_NHW, 0, 1)
    return np.stack([np.clip(3 * values_NHW - shift, 0, 1) for shift in range(3)], axis=1).astype(
        np.float32
    )


def error_maps(clean_NCHW: Floats, degraded_NCHW: Floats, restored_NCHW: Floats) -> Pixels:
    """Clean, degraded and restored images, and the mean absolute error of the last over channels.

    Args:
        clean_NCHW: float32 in [0, 1].
        degraded_NCHW: of the same size, in [0, 1].
        restored_NCHW: of the same shape as the clean ones.
    """
    errors_NHW = np.abs(restored_NCHW - clean_NCHW).mean(axis=1) * ERROR_SCALE
    lines = [*map(_in_colour, (clean_NCHW, degraded_NCHW, restored_NCHW)), heat(errors_NHW)]
    return grid(np.concatenate(lines), columns=len(clean_NCHW))


def local_attribution(restore: Restore, y_1CHW: Tensor) -> Floats:
    """Which pixels of a degraded image the details in the middle of the restored one come from.

    Integrated gradients of the sum of absolute differences between neighbouring pixels in a central
    patch, on a path from the blurred to the degraded image.

    Args:
        restore: the restorer.
        y_1CHW: one degraded image.

    Returns:
        Shares, H x W; they sum to 1.

    Source: Gu and Dong 2021, arXiv:2011.11036, eq. 4 to 7 (local attribution maps).
    """
    from captum.attr import IntegratedGradients

    def detail(y_BCHW: Tensor) -> Tensor:
        x_BCHW = restore(y_BCHW)
        side = min(PATCH * x_BCHW.shape[-1] // y_BCHW.shape[-1], *x_BCHW.shape[-2:])
        patch_BCSS = _centre(x_BCHW, side)
        vertical, horizontal = patch_BCSS.diff(dim=-2).abs(), patch_BCSS.diff(dim=-1).abs()
        return vertical.sum(dim=(1, 2, 3)) + horizontal.sum(dim=(1, 2, 3))

    found = IntegratedGradients(detail).attribute(
        y_1CHW, baselines=_blurred(y_1CHW), n_steps=STEPS, internal_batch_size=STEPS
    )
    shares_HW = found.abs().sum(dim=1)[0].double()
    return np.asarray((shares_HW / shares_HW.sum().clamp(min=1e-12)).float().cpu())


def attribution_maps(shares_NHW: Floats, y_NCHW: Tensor) -> Pixels:
    """Degraded images with the patch that is explained, and where its details come from."""
    # A square root, because the patch itself has so much more than all the rest.
    strengths_NHW = np.sqrt(shares_NHW / shares_NHW.max(axis=(1, 2), keepdims=True).clip(min=1e-12))
    marked_N3HW = _in_colour(y_NCHW.clamp(0, 1).cpu().numpy())
    height, width = marked_N3HW.shape[-2:]
    top, left = (height - PATCH) // 2, (width - PATCH) // 2
    for rows, columns in (
        ([top - 1, top + PATCH], slice(left - 1, left + PATCH + 1)),
        (slice(top - 1, top + PATCH + 1), [left - 1, left + PATCH]),
    ):
        marked_N3HW[:, 0, rows, columns], marked_N3HW[:, 1:, rows, columns] = 1.0, 0.0
    return grid(np.concatenate([marked_N3HW, heat(strengths_NHW)]), columns=len(marked_N3HW))


def class_maps(classifier: Any, x_NCHW: Tensor, labels_N: NDArray[np.int64]) -> Pixels:
    """Images, and the parts that speak for the class that a classifier gives them (Grad-CAM).

    Args:
        classifier: whose `body` is a sequence of layers. The last one before the last pooling is
            asked: at the end of small images 3 x 3 values are left, which show no place.
        x_NCHW: images in [0, 1].
        labels_N: the classes to explain.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    layers = list(classifier.body)
    pools = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    layer = layers[pools[-1] - 1] if pools else layers[-1]
    frozen = [weight.requires_grad for weight in classifier.parameters()]
    classifier.requires_grad_(True)  # captum differentiates by the layer's output
    try:
        maps = LayerGradCam(classifier, layer).attribute(
            x_NCHW, target=torch.from_numpy(labels_N).to(x_NCHW.device), relu_attributions=True
        )
    finally:
        for weight, before in zip(classifier.parameters(), frozen, strict=True):
            weight.requires_grad_(before)
    maps_NHW = (
        LayerAttribution.interpolate(maps, x_NCHW.shape[-2:], "bilinear")[:, 0]
        .detach()
        .cpu()
        .numpy()
    )
    strengths_NHW = maps_NHW / maps_NHW.max(axis=(1, 2), keepdims=True).clip(min=1e-12)
    return grid(
        np.concatenate([_in_colour(x_NCHW.cpu().numpy()), heat(strengths_NHW)]), columns=len(x_NCHW)
    )


@torch.inference_mode()
def interpolations(
    generator: Any, latent_dim: int, classes: Sequence[int], seed: int, steps: int = 10
) -> Pixels:
    """A row for each class: images from one latent to another, which should change without jumps.

    The way is the great circle, because Gaussian latents lie near a sphere: White 2016,
    arXiv:1609.04468, section 2.1.

    Args:
        generator: (z_BZ, labels_B) -> images in [-1, 1].
        latent_dim: Z.
        classes: of the rows.
        seed: of the latents.
        steps: images in a row.
    """
    rng = torch.Generator().manual_seed(seed)
    device = next(generator.parameters()).device
    rows = []
    for label in classes:
        start_Z, end_Z = torch.randn(2, latent_dim, generator=rng)
        angle = torch.arccos(F.cosine_similarity(start_Z, end_Z, dim=0).clamp(-1, 1))
        t_S1 = torch.linspace(0, 1, steps)[:, None]
        z_SZ = (
            torch.sin((1 - t_S1) * angle) * start_Z + torch.sin(t_S1 * angle) * end_Z
        ) / torch.sin(angle)
        images_SCHW = generator(z_SZ.to(device), torch.full((steps,), label, device=device))
        rows.append((images_SCHW * 0.5 + 0.5).clamp(0, 1).cpu().numpy())
    return grid(np.concatenate(rows), columns=steps)


def _blurred(x_NCHW: Tensor) -> Tensor:
    radius = round(3 * BLUR_SIGMA)
    offsets = torch.arange(-radius, radius + 1, device=x_NCHW.device, dtype=x_NCHW.dtype)
    weights = torch.exp(-offsets.square() / (2 * BLUR_SIGMA**2))
    channels = x_NCHW.shape[1]
    kernel_C1K = (weights / weights.sum()).expand(channels, 1, -1)
    padded = F.pad(x_NCHW, (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, kernel_C1K[:, :, :, None], groups=channels)
    return F.conv2d(rows, kernel_C1K[:, :, None, :], groups=channels)


def _centre(x_NCHW: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in x_NCHW.shape[-2:])
    return x_NCHW[..., top : top + side, left : left + side]


def _in_colour(x_NCHW: Floats) -> Floats:
    return np.array(np.broadcast_to(x_NCHW, (len(x_NCHW), 3, *x_NCHW.shape[-2:])))
