"""Trainings that really go wrong, each in its own way, are ended early with the reason."""

import pytest

from atelier.errors import TrainingError
from tests.golden.regenerate import blobs
from tests.support.tiny import tiny_model, train

NO_PENALTY = {"r1_gamma": 0.0, "r2_gamma": 0.0}
PROVOKED = {
    # The original game, whose generator learns nothing from a discriminator that is sure, without
    # anything to hold it.
    "g_signal = .* discriminator saturation": (5e-3, {"loss": "minimax", **NO_PENALTY}),
    "logits = .* divergence": (0.1, {"loss": "hinge", **NO_PENALTY}),
    # A penalty so strong that the discriminator says the same of all images: nothing drives the
    # generated ones apart.
    "diversity = .* mode collapse": (
        1e-3,
        {"loss": "non-saturating", "r1_gamma": 1e6, "r2_gamma": 0.0},
    ),
}


@pytest.mark.parametrize("meaning", PROVOKED)
def test_a_hopeless_gan_is_ended_early_with_the_reason(meaning, tmp_path):
    lr, changes = PROVOKED[meaning]
    training = {
        "kimg": 60.0,
        "batch_size": 60,  # what goes wrong does so after so many images, in whatever batches
        "lr": lr,
        "log_every_kimg": 1.0,
        "sample_every_kimg": 2.0,
        "checkpoint_every_kimg": 20.0,
    }
    seen = []
    with pytest.raises(
        TrainingError, match=rf"^stopped after 1\d\.0 kimg, {meaning}: .*\. Try .*\.$"
    ):
        train(
            tiny_model("gan", training, **changes),
            blobs(),
            tmp_path,
            on_log=lambda at, values: seen.append(at),
        )
    assert seen[-1] < 20_000  # of 60,000 images
