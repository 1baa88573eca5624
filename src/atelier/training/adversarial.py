"""A restorer's patch discriminator, the other player, and the pool of images that it has seen.

Images are float32 in [0, 1] here but for what the discriminator itself sees, which is in [-1, 1].
Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from atelier.losses import GAN_LOSSES
from atelier.networks.gans.patch import PatchDiscriminator
from atelier.params import Adversarial, Training
from atelier.training.course import Course
from atelier.training.outcome import Outcome
from atelier.training.session import adam, placed


class Opponent:
    """A patch discriminator that learns to tell real from restored images, and judges the latter.

    Source: pix2pix, Isola et al. 2017, arXiv:1611.07004, eq. 1 where it sees a condition, eq. 2
    where it doesn't.

    Attributes:
        D: the discriminator.
        optimizer: of its weights.
        weight: of `judge` in the restorer's loss.

    Args:
        adversarial: its shape, its game and its learning rate.
        channels: of what it sees.
        training: the restorer's: schedule and learning rate, where it has none of its own.
        device: where it lives.
    """

    def __init__(
        self, adversarial: Adversarial, channels: int, training: Training, device: torch.device
    ) -> None:
        network = PatchDiscriminator(channels, adversarial.width, adversarial.layers)
        self.D = placed(network, device)
        self.weight = adversarial.weight
        if training.compile:
            self.D.compile()
        own = {"lr": adversarial.lr or training.lr, "betas": adversarial.betas}
        self.optimizer = adam(self.D, training.model_copy(update=own))
        self._game = GAN_LOSSES[adversarial.loss]

    def objective(self, real_BCHW: Tensor, fake_BCHW: Tensor) -> Outcome:
        """The discriminator's side of the game.

        Args:
            real_BCHW: real images, in [0, 1] or a little outside.
            fake_BCHW: what the restorer made, detached.
        """
        self.D.requires_grad_(True)
        real_logits_B = self.D(real_BCHW * 2 - 1).float()
        fake_logits_B = self.D(fake_BCHW * 2 - 1).float()
        return Outcome(self._game.discriminator(real_logits_B, fake_logits_B))

    def learn(self, course: Course, name: str, real_BCHW: Tensor, fake_BCHW: Tensor) -> Tensor:
        """One step of its own.

        Args:
            course: of the restorer's training.
            name: of its loss, for messages.
            real_BCHW: as for `objective`.
            fake_BCHW: the same.

        Returns:
            Its loss, detached.
        """
        return course.minimise(name, self.optimizer, self.objective, real_BCHW, fake_BCHW).loss

    def judge(self, fake_BCHW: Tensor) -> Tensor:
        """The restorer's side of the game, a scalar to minimise.

        Its gradient reaches the images alone.
        """
        self.D.requires_grad_(False)
        return self._game.generator(torch.zeros(0), self.D(fake_BCHW * 2 - 1).float())


class ImagePool:
    """Some former fakes, half of the time shown to a discriminator in place of new ones.

    Source: Shrivastava et al. 2017, arXiv:1612.07828, section 2.3; as in Zhu et al. 2017,
    arXiv:1703.10593, section 4.

    Args:
        size: how many; 0 shows every image as it comes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._images: list[Tensor] = []

    def exchange(self, fake_BCHW: Tensor, rng: torch.Generator) -> Tensor:
        """As many images: new ones or, with probability 1/2 once the pool is full, former ones.

        Args:
            fake_BCHW: new images, all of one size.
            rng: a generator on the CPU.

        Returns:
            shown_BCHW, detached.
        """
        shown = []
        for fake_CHW in fake_BCHW.detach():
            if len(self._images) < self._size:
                self._images.append(fake_CHW.clone())
            elif self._size and torch.rand((), generator=rng) < 0.5:
                place = int(torch.randint(self._size, (), generator=rng))
                fake_CHW, self._images[place] = (
                    self._images[place].to(fake_CHW.device),
                    fake_CHW.clone(),
                )
            shown.append(fake_CHW)
        return torch.stack(shown)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"images": list(self._images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As it was when `state` was taken."""
        self._images = list(state["images"])


def beside(y_BChw: Tensor, x_BCHW: Tensor) -> Tensor:
    """A degraded image, enlarged if it is smaller, and a restored or clean one, as one."""
    if y_BChw.shape != x_BCHW.shape:
        y_BChw = F.interpolate(y_BChw, size=x_BCHW.shape[-2:], mode="bicubic", align_corners=False)
    return torch.cat((y_BChw, x_BCHW), dim=1)
