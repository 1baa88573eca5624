"""Several processes that train one network, each on its share of every batch.

Started by `atelier.factory.worker`.

Gradients are averaged by hand after each backward pass: the weights of GANs take part in more than
one graph, second derivatives included, which torch's DistributedDataParallel doesn't support.
Without a process group there is one process, and every function here is the identity.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process; 0 logs and writes checkpoints."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(x_B: Tensor) -> Tensor:
    """This process's part of a batch, whose size is a multiple of their number."""
    return x_B.chunk(world_size())[rank()] if world_size() > 1 else x_B


def averaged(value: Tensor) -> Tensor:
    """The mean over all processes, the same bits in each."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / world_size()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over all processes."""
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat(
        [gradient.flatten() for gradient in gradients]
    )  # one message instead of hundreds
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(
        gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))
