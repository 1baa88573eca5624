"""What the tests of the loops share.

A log of what a training reported, and the comparison of two results.
"""

import numpy as np
import torch


class Interrupted(Exception):
    pass


class Log(dict):
    """What a training logged, {images_seen: values}, but for the clock.

    May stop it as Ctrl-C would.
    """

    def __init__(self, stop_at=None):
        self.stop_at = stop_at

    def __call__(self, images_seen, values):
        kept = {
            key: value
            for key, value in values.items()
            if key not in {"images_per_second", "minutes"}
        }
        self[images_seen] = {**self.get(images_seen, {}), **kept}
        if images_seen == self.stop_at:
            raise Interrupted

    def curve(self, name):
        return np.array([values[name] for values in self.values() if name in values])


def assert_equal_weights(one, other):
    weights, others = one.network.state_dict(), other.network.state_dict()
    assert list(weights) == list(others)
    assert [key for key in weights if not torch.equal(weights[key], others[key])] == []
