"""An exported ONNX file gives what MLflow serves, or there is none."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch

from atelier.errors import UsageError
from atelier.serving import TILES
from atelier.serving.onnx_export import export_onnx, require_onnx
from atelier.serving.onnx_ports import Settings
from atelier.serving.served_model import ServedModel, draw_latents
from tests.support.registered import CONFIGS, make_bundle

QUICK = {"cnn", "crnn-lstm", "nafnet", "dcgan"}


def names_of(kind):
    """All networks of a kind, most of which are left to `make ci`: each takes seconds."""
    names = []
    for name, (own_kind, _) in CONFIGS.items():
        if own_kind == kind:
            names.append(pytest.param(name, marks=() if name in QUICK else pytest.mark.slow))
    return names


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    def serve_bundle(bundle):
        model = ServedModel()
        model.load_context(SimpleNamespace(artifacts={"bundle": str(bundle)}))
        return model

    return lambda name: serve_bundle(make_bundle(tmp_path_factory.mktemp("bundle"), name))


def export(served, **settings):
    return export_onnx(served, Settings(**settings), "some/3", "run7")


def run(exported, **values):
    session = onnxruntime.InferenceSession(exported.content, providers=["CPUExecutionProvider"])
    return session.run(None, values)[0]


def pictures(batch, height, width):
    """Noisy ones, beyond [0, 1]."""
    rng = np.random.default_rng(height)
    return rng.uniform(-0.1, 1.1, (batch, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("name", names_of("restoration"))
def test_a_restorer_gives_what_is_served_at_any_size_and_batch(serve, name):
    served = serve(name)
    exported = export(served)
    has_level = served.config["network"].get("noise_level", False)
    for batch, height, width in [(1, 37, 31), (3, 64, 48), (2, 5, 7), (5, 18, 50)]:
        y_NCHW = pictures(batch, height, width)
        sigma = {"sigma": np.full(batch, 0.2, np.float32)} if has_level else {}
        restored_NCHW = run(exported, degraded=y_NCHW, **sigma)
        params = {"sigma": 0.2} if has_level else None
        np.testing.assert_allclose(
            restored_NCHW, served.predict(None, y_NCHW, params), rtol=0, atol=1e-5
        )
        assert (restored_NCHW.min(), restored_NCHW.max()) == (0, 1)


def test_the_noise_level_is_estimated_inside_where_that_is_asked_for(serve):
    served = serve("cnn-levels")
    exported = export(served, estimate_noise=True)
    y_NCHW = pictures(3, 37, 31)
    estimated_NCHW = served.predict(None, y_NCHW)
    np.testing.assert_allclose(run(exported, degraded=y_NCHW), estimated_NCHW, rtol=0, atol=1e-5)
    assert np.abs(estimated_NCHW - served.predict(None, y_NCHW, {"sigma": 0.0})).max() > 1e-3


def test_iterations_are_as_many_as_asked_for(serve):
    served = serve("crnn")
    y_NCHW = pictures(2, 37, 31)
    exported = export(served, iterations=3)
    expected_NCHW = served.predict(None, y_NCHW, {"iterations": 3})
    np.testing.assert_allclose(run(exported, degraded=y_NCHW), expected_NCHW, rtol=0, atol=1e-5)
    assert exported.facts["iterations"] == "3"
    assert np.abs(expected_NCHW - served.predict(None, y_NCHW)).max() > 1e-3


@pytest.mark.parametrize("name", [*names_of("gan"), "refined"])
def test_a_gan_gives_what_is_served_for_the_same_latents(serve, name):
    served = serve(name)
    exported = export(served)
    z_NZ = draw_latents(4, 8, torch.Generator().manual_seed(5)).numpy()
    images_NCHW = run(exported, latents=z_NZ, labels=np.arange(4) % 3)
    request = pd.DataFrame({"num_images": [4], "seed": [5], "class": [-1]})
    np.testing.assert_allclose(images_NCHW, served.predict(None, request), rtol=0, atol=1e-5)


def test_a_classifier_gives_probabilities(serve):
    served = serve("classifier")
    x_NCHW = pictures(5, 16, 16)
    np.testing.assert_allclose(
        run(export(served), images=x_NCHW), served.predict(None, x_NCHW), rtol=0, atol=1e-5
    )


def test_the_file_and_its_card_say_the_same(serve):
    exported = export(serve("classifier"))
    proto = onnx.load_from_string(exported.content)
    onnx.checker.check_model(proto)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties == exported.facts
    assert properties["version"] == "some/3"
    assert properties["MLflow run"] == "run7"
    assert properties["opset"] == str(proto.opset_import[0].version)
    assert properties["classes"] == "0 coat, 1 bag|s, 2 shirt"
    assert "float32 [batch, 3, 16, 16]: images in [0, 1]" in exported.card
    assert "| network | CnnClassifier |" in exported.card
    assert "RGB, three channels in this order" in exported.card
    assert "differs from torch" in exported.card
    assert "| classes | 0 coat, 1 bag\\|s, 2 shirt |" in exported.card  # no further cell
    axes = [entry.dim_param for entry in proto.graph.input[0].type.tensor_type.shape.dim]
    assert axes[0] == "batch"


BRANCHING = """
import torch
class Network(torch.nn.Module):
    upscale = 1
    noise_level = False
    def __init__(self, channels):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(channels, 1, 1))
    def forward(self, y_BCHW):
        if y_BCHW.mean() > 0.5:
            return y_BCHW * self.gain
        return y_BCHW
"""
BAKED = """
import torch
class Network(torch.nn.Module):
    upscale = 1
    noise_level = False
    def __init__(self, channels):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(channels, 1, 1))
    def forward(self, y_BCHW):
        changed = torch.onnx.is_in_onnx_export()
        return y_BCHW * self.gain * (0.5 if changed else 1.0)
"""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (BRANCHING, "some/3 can't be exported as ONNX: Network: "),
        (BAKED, r"some/3 was not exported: as ONNX Network answers otherwise .* up to 0\.5"),
    ],
)
def test_what_cannot_be_the_same_as_onnx_is_refused_with_the_reason(tmp_path, source, words, capfd):
    from safetensors.torch import save_file

    (tmp_path / "network.py").write_text(source)
    (tmp_path / "config.json").write_text(
        '{"kind": "restoration", "builder": "Network", "network": {"name": "own", "channels": 3}, '
        '"channels": 3, "image_size": null, "class_names": []}'
    )
    shutil.copy(TILES, tmp_path / "tiles.py")
    save_file({"gain": torch.ones(3, 1, 1)}, tmp_path / "weights.safetensors")
    served = ServedModel()
    served.load_context(SimpleNamespace(artifacts={"bundle": str(tmp_path)}))
    with pytest.raises(UsageError, match=words):
        export(served)
    assert capfd.readouterr() == ("", "")


def test_a_setting_without_meaning_is_refused(serve):
    served = serve("cnn")
    with pytest.raises(UsageError, match="some/3 is not recurrent, so --iterations"):
        export(served, iterations=2)
    with pytest.raises(UsageError, match="not told the noise level, so --estimate-noise"):
        export(served, estimate_noise=True)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch):
    require_onnx()
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as Python itself marks what is absent
    with pytest.raises(UsageError, match=r"onnxscript, not installed .* 'atelier\[onnx\]'"):
        require_onnx()
