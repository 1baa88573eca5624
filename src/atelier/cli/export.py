"""The command that lets a model leave the house: `atelier export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atelier.cli.options import open_registry
from atelier.errors import UsageError
from atelier.project import Project, open_project

if TYPE_CHECKING:
    from atelier.registry import Registry, Version


def export(
    model: Annotated[str, typer.Argument(help="Of any kind.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="FILE.onnx, or a folder that needs torch and safetensors alone.",
        ),
    ],
    iterations: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="ONNX, if recurrent.  [default: as trained]"),
    ] = None,
    estimate_noise: Annotated[
        bool,
        typer.Option(
            "--estimate-noise",
            help="ONNX: the noise level is estimated from each image. [default: an input, sigma]",
        ),
    ] = False,
) -> None:
    """Export a model as ONNX, or as a folder that runs without Atelier."""
    as_onnx = output.suffix.lower() == ".onnx"
    if not as_onnx and (iterations or estimate_noise):
        option = "--iterations" if iterations else "--estimate-noise"
        raise UsageError(
            f"{option} is of ONNX files, and {output} is a folder: there the caller chooses. "
            "Leave it out, or name a file .onnx."
        )
    project = open_project()
    if as_onnx:
        _export_onnx(project, model, output, iterations, estimate_noise)
    else:
        _export_folder(open_registry(project), model, output)


COMMANDS = (export,)


def _export_onnx(
    project: Project, model: str, output: Path, iterations: int | None, estimate_noise: bool
) -> None:
    from atelier.serving.onnx_export import export_onnx, require_onnx
    from atelier.serving.onnx_ports import Settings
    from atelier.ui import outputs

    require_onnx()
    card = output.with_name(f"{output.name}.md")
    outputs.refuse_overwriting(project, output, card)
    registry = open_registry(project)
    version = registry.resolve(model)
    served = registry.load(version).unwrap_python_model()
    settings = Settings(iterations=iterations, estimate_noise=estimate_noise)
    exported = export_onnx(served, settings, str(version), version.run_id)
    contents = {output: exported.content, card: exported.card.encode()}
    outputs.write_outputs(project, contents)
    print(f"{output}: {version}, {exported.facts['compared']}")


def _export_folder(registry: Registry, model: str, output: Path) -> None:
    import json

    from atelier.serving.export_facts import facts_of
    from atelier.serving.standalone import refuse_folder, write_standalone

    refuse_folder(output)
    version: Version = registry.resolve(model)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = registry.fetch_bundle(version, Path(scratch) / "bundle")
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        write_standalone(bundle, output, facts_of(config, str(version), version.run_id))
    print(f"{output}: {version}; its README.md says how to run it")
