"""Signs that a training will come to nothing, and how long each has lasted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from atelier.errors import TrainingError

PATIENCE = 0.15  # of the whole training: a sign has to last that long, without a break ...
MIN_TIMES, MIN_IMAGES = (
    3,
    10_000,
)  # ... and so many times, over so many images: at first everything looks bad


@dataclass(frozen=True)
class Sign:
    """A symptom that can be read off one logged value.

    Attributes:
        metric: name of the value.
        is_bad: tells from the value, and from the first one that was logged, whether the symptom
            shows.
        meaning: what it is, and what helps.
    """

    metric: str
    is_bad: Callable[[float, float], bool]
    meaning: str


_LOWER_RATE = "Lower training.lr, or clip gradients (training.clip_gradients)."
_GAN_ADVICE = (
    "Try another loss, a gradient penalty (r1_gamma), a lower training.lr, or a smaller "
    "discriminator."
)
# A restorer begins as the identity and a classifier at chance, so ten times the first loss is far
# worse than nothing.
SIGNS = (
    Sign(
        "loss",
        lambda value, first: value > 10 * first,
        f"divergence: ten times the first loss. {_LOWER_RATE}",
    ),
    Sign(
        "logits",
        lambda value, first: value > 1e4,
        f"divergence: logits beyond 10,000. {_GAN_ADVICE}",
    ),
    Sign(
        "g_signal",
        lambda value, first: value < 0.01,
        "discriminator saturation: it is so sure that the generator gets under 1 % of the "
        f"gradient. {_GAN_ADVICE}",
    ),
    Sign(
        "d_signal",
        lambda value, first: value < 1e-4,
        "discriminator saturation: it tells all images apart and learns nothing more. "
        f"{_GAN_ADVICE}",
    ),
    Sign(
        "diversity",
        lambda value, first: value < 0.1,
        "mode collapse: generated images vary by less than a tenth of what real ones do. "
        f"{_GAN_ADVICE}",
    ),
    Sign(
        "class_balance",
        lambda value, first: value < 0.3,
        f"mode collapse: most classes are hardly drawn any more. {_GAN_ADVICE}",
    ),
)


class Health:
    """Since when each sign has shown without a break.

    A part of the checkpoint, so a resumed training ends alike.
    """

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._since: dict[str, int] = {}
        self._times: dict[str, int] = {}

    def check(self, images_seen: int, values: Mapping[str, float], total_images: int) -> None:
        """Take note of logged values.

        Raises:
            TrainingError: if a sign has shown for `PATIENCE` of the training, and `MIN_TIMES` times
                in a row.
        """
        for sign in SIGNS:
            if (value := values.get(sign.metric)) is None:
                continue
            first = self._first.setdefault(sign.metric, value)
            if not sign.is_bad(value, first):
                self._times[sign.metric] = 0
                continue
            self._times[sign.metric] = times = self._times.get(sign.metric, 0) + 1
            if times == 1:
                self._since[sign.metric] = images_seen
            since = self._since[sign.metric]
            if times >= MIN_TIMES and images_seen - since >= max(
                MIN_IMAGES, PATIENCE * total_images
            ):
                raise TrainingError(
                    f"stopped after {images_seen / 1000:.1f} kimg, {sign.metric} = {value:.3g} "
                    "since "
                    f"{since / 1000:.1f} kimg: {sign.meaning}"
                )

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"first": dict(self._first), "since": dict(self._since), "times": dict(self._times)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._first, self._since, self._times = (
            dict(state[key]) for key in ("first", "since", "times")
        )
