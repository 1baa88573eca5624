"""A served model as ONNX, refused unless onnxruntime gives what torch gives.

Shapes: B batch, C channels, H height, W width, K classes, Z latent.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version as version_of
from importlib.util import find_spec
from itertools import product
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from atelier.errors import UsageError
from atelier.serving.export_facts import facts_of, render_card
from atelier.serving.onnx_ports import Port, Settings, draw_inputs, ports_of

LIMIT = 1e-5  # of the difference to torch: what the served model promises of its own batches
BATCHES = (1, 3)
SIDES = ((37, 31), (64, 48))  # height and width; odd ones are padded inside
# Those of the example that is traced are none of these, so that what was baked in is found out.
TRACED = {"batch": 2, "height": 36, "width": 32}
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Exported:
    """An ONNX file and its card.

    Attributes:
        content: of the file.
        card: Markdown.
        facts: what both say, by name.
    """

    content: bytes
    card: str
    facts: Mapping[str, str]


def require_onnx() -> None:
    """Refuse to begin without the packages of the extra.

    Raises:
        UsageError: with the command that installs them.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"ONNX needs {', '.join(missing)}, not installed here. "
            "Run: pip install 'atelier[onnx]', or export a folder."
        )


def export_onnx(served: Any, settings: Settings, version: str, run_id: str) -> Exported:
    """Export a served model, and compare it with itself.

    Args:
        served: with `config`, `network` and `refiner`, as in served_model.
        settings: what is decided here.
        version: name/number.
        run_id: of its training.

    Raises:
        UsageError: if a setting has no meaning for it, if it can't be exported, or if the answers
            differ by more than `LIMIT`.
    """
    config = served.config
    _refuse_settings(config["network"], settings, version)
    module = _module_of(served, settings).eval()
    inputs, output = ports_of(config, settings)
    try:
        with _quiet(), _importable(served.network):
            proto = _translate(module, config, inputs, output)
        difference = _compare(proto.SerializeToString(), module, config, inputs)
    except Exception as error:  # the exporter fails in as many ways as networks can be written
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UsageError(
            f"{version} can't be exported as ONNX: {config['builder']}: "
            f"{type(error).__name__}: {reason}. Export a folder: -o FOLDER."
        ) from None
    if not difference <= LIMIT:  # NaN as well
        raise UsageError(
            f"{version} was not exported: as ONNX {config['builder']} answers otherwise than in "
            f"torch, by up to {difference:.2g}; at most {LIMIT:g} is allowed. Nothing was written. "
            "A newer onnxscript may do it (pip install -U onnxscript), or export a folder."
        )
    facts = facts_of(config, version, run_id) | _facts(config, settings, inputs, output)
    facts["opset"] = str(proto.opset_import[0].version)
    facts["compared"] = (
        f"onnxruntime {version_of('onnxruntime')} differs from torch {torch.__version__} by at "
        f"most {difference:.1g}"
    )
    for name, value in facts.items():
        proto.metadata_props.add(key=name, value=value)
    card = render_card(f"{version} as ONNX", facts)
    return Exported(proto.SerializeToString(), card, facts)


def _facts(
    config: Mapping[str, Any], settings: Settings, inputs: list[Port], output: Port
) -> dict[str, str]:
    """What the ONNX file has that the version hasn't."""
    facts = {f"input {port.name}": str(port) for port in inputs}
    facts[f"output {output.name}"] = str(output)
    if "iterations" in config["network"]:
        facts["iterations"] = str(settings.iterations or config["network"]["iterations"])
    if settings.estimate_noise:
        facts["noise level"] = "estimated from each image"
    return facts


def _refuse_settings(network: Mapping[str, Any], settings: Settings, version: str) -> None:
    if settings.iterations is not None and "iterations" not in network:
        raise UsageError(
            f"{version} is not recurrent, so --iterations has no meaning. Leave it out."
        )
    if settings.estimate_noise and not network.get("noise_level"):
        raise UsageError(
            f"{version} is not told the noise level, so --estimate-noise has no meaning. "
            "Leave it out."
        )


class _Restorer(nn.Module):
    def __init__(self, network: nn.Module, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.arguments = arguments

    def forward(self, y_BCHW: Tensor, sigma_B: Tensor | None = None) -> Tensor:
        given = {} if sigma_B is None else {"sigma": sigma_B}
        x_hat_BCHW: Tensor = self.network(y_BCHW, **given, **self.arguments)
        return x_hat_BCHW.clamp(0, 1)


class _Classifier(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(x_BCHW)
        return logits_BK.softmax(dim=1)


class _Generator(nn.Module):
    def __init__(self, network: nn.Module, refiner: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.refiner = refiner

    def forward(self, z_BZ: Tensor, labels_B: Tensor) -> Tensor:
        x_BCHW: Tensor = (self.network(z_BZ, labels_B) * 0.5 + 0.5).clamp(0, 1)
        return x_BCHW if self.refiner is None else self.refiner(x_BCHW).clamp(0, 1)


def _module_of(served: Any, settings: Settings) -> nn.Module:
    """What the served model does between the ports."""
    if served.config["kind"] == "restoration":
        iterations = settings.iterations
        return _Restorer(served.network, {"iterations": iterations} if iterations else {})
    if served.config["kind"] == "classification":
        return _Classifier(served.network)
    return _Generator(served.network, served.refiner)


def _translate(
    module: nn.Module, config: Mapping[str, Any], inputs: list[Port], output: Port
) -> Any:
    """The ONNX model, free in all axes that have names."""
    program = torch.onnx.export(
        module,
        draw_inputs(config, inputs, TRACED),
        dynamo=True,
        input_names=[port.name for port in inputs],
        output_names=[output.name],
        dynamic_shapes=tuple(port.free for port in inputs),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _compare(
    content: bytes, module: nn.Module, config: Mapping[str, Any], inputs: list[Port]
) -> float:
    """The largest difference between onnxruntime and torch over batches and sizes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is told by its exception
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    differences = []
    for batch, (height, width) in product(BATCHES, SIDES):
        values = draw_inputs(config, inputs, {"batch": batch, "height": height, "width": width})
        named = {port.name: value.numpy() for port, value in zip(inputs, values, strict=True)}
        answer = torch.from_numpy(session.run(None, named)[0])
        with torch.inference_mode():
            expected = module(*values)
        if answer.shape != expected.shape:
            return float("inf")
        differences.append((answer - expected).abs().max())
    return float(torch.stack(differences).max())


@contextmanager
def _importable(network: nn.Module) -> Iterator[None]:
    """Let a network's module be imported by its name.

    A stored one is loaded from its file and never can, but the strict tracer does it. The other
    tracer takes `len(y_BCHW)` for a constant.
    """
    name = type(network).__module__
    module = ModuleType(name)
    vars(module).update(type(network).forward.__globals__)
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages that it doesn't need here, and prints graphs that fail."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logger.setLevel(level)
