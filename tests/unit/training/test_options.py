"""The options of a training that change how it is computed.

Precision, parts, compilation, the kind of budget.
"""

import numpy as np
import pytest
import torch

from tests.support.tiny import R3_GAN, tiny_model, train
from tests.support.training_logs import Log, assert_equal_weights


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of two threads may differ in their last bit from those of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CUTOUT = {"cutout": 0.5, "probability": 1.0}
GRADIENT_PENALTY = {"loss": "wasserstein", "r1_gamma": 0.0, "r2_gamma": 0.0, "gp_weight": 10.0}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("classifier", {}),
        ("gan", {}),
        ("gan", GRADIENT_PENALTY),
        ("gan", {**GRADIENT_PENALTY, "r2_gamma": 0.5, "discriminator_augment": CUTOUT}),
        ("cnn", {}),
        ("crnn", {}),
    ],
)
def test_bfloat16_learns_alike_with_weights_in_float32(fashion, tmp_path, name, changes):
    """On a CPU only because it was asked for; on CUDA it is the default."""
    training = {"kimg": 0.08, "sample_every_kimg": 9.0, "augment": {}}
    log, half_log = Log(), Log()
    train(tiny_model(name, training, **changes), fashion, tmp_path / "float32", on_log=log)
    trained = train(
        tiny_model(name, {**training, "precision": "bfloat16"}, **changes),
        fashion,
        tmp_path / "half",
        on_log=half_log,
    )
    for key in ("d_loss", "g_loss") if name == "gan" else ("loss",):
        assert not np.array_equal(log.curve(key), half_log.curve(key))
        np.testing.assert_allclose(half_log.curve(key), log.curve(key), rtol=0.05)
    assert {weight.dtype for weight in trained.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["gan", "cnn"])
def test_a_batch_in_parts_learns_alike(fashion, tmp_path, name):
    training, changes = {"kimg": 0.08, "sample_every_kimg": 9.0}, R3_GAN if name == "gan" else {}
    log, parts_log = Log(), Log()
    train(tiny_model(name, training, **changes), fashion, tmp_path / "whole", on_log=log)
    model = tiny_model(name, {**training, "accumulate": 4}, **changes)
    train(model, fashion, tmp_path / "parts", on_log=parts_log)
    for key in ("d_loss", "g_loss") if name == "gan" else ("loss",):
        np.testing.assert_allclose(parts_log.curve(key), log.curve(key), atol=1e-4)


@pytest.mark.slow
def test_compiled_networks_learn_alike(fashion, tmp_path):
    training = {"kimg": 0.048, "sample_every_kimg": 9.0}
    log, compiled_log = Log(), Log()
    train(tiny_model("cnn", training), fashion, tmp_path / "eager", on_log=log)
    trained = train(
        tiny_model("cnn", {**training, "compile": True}),
        fashion,
        tmp_path / "fast",
        on_log=compiled_log,
    )
    np.testing.assert_allclose(compiled_log.curve("loss"), log.curve("loss"), rtol=1e-4)
    assert all(not name.startswith("_orig_mod") for name in trained.network.state_dict())


def test_a_budget_in_minutes_ends_a_training_and_tells_its_length(fashion, tmp_path):
    log = Log()
    model = tiny_model("cnn", {"kimg": None, "minutes": 0.02, "sample_every_kimg": 9.0})
    trained = train(model, fashion, tmp_path, on_log=log)
    assert log[trained.images_seen]["total_kimg"] == trained.images_seen / 1000
    assert_equal_weights(train(model, fashion, tmp_path), trained)
