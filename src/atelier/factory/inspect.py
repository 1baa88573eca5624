"""The stage that queries a version as a stranger would: the infrastructure blessing."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from atelier.errors import RegistryError
from atelier.registry import Registry, Version
from atelier.serving import INSPECTION
from atelier.serving.signatures import accepted_signatures

log = logging.getLogger("atelier")

REPORT = "blessings/infrastructure.json"


def inspect(registry: Registry, version: Version) -> list[str]:
    """Load and query a version in a fresh process unless that was done.

    Returns:
        Why it is refused; nothing if it isn't.

    Raises:
        RegistryError: as `query`.
    """
    report = registry.runs.read_json(version.run_id, REPORT)
    if report is None:
        report = query(registry, version)
        registry.runs.log_files(version.run_id, "", {REPORT: json.dumps(report, indent=2)})
        blessing = "refused" if report["failures"] else "given"
        registry.tag(version, {"blessing.infrastructure": blessing})
        failures = "; ".join(report["failures"])
        outcome = failures or f"{report['milliseconds']:.3g} ms an image"
        log.info("%s  inspected: %s", version, outcome)
    return list(report["failures"])


def query(registry: Registry, version: Version) -> dict[str, Any]:
    """Load and query a version in a fresh process that never saw this project.

    Returns:
        What `atelier.serving.inspection` says: `failures`, sentences; where it could be loaded also
        `load_seconds`, `milliseconds` and `size`.

    Raises:
        RegistryError: if the process died, of lack of memory, say.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = registry.fetch_bundle(version, Path(folder) / "bundle")
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        signatures = accepted_signatures(config)
        done = subprocess.run(
            # -P: neither the folder of the program nor the working one is searched for modules.
            [sys.executable, "-P", str(INSPECTION), f"models:/{version}"],
            input=json.dumps(signatures),
            cwd=folder,
            env={**os.environ, "MLFLOW_TRACKING_URI": registry.uri, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a message"])[-1]
        raise RegistryError(
            f"the process that inspected {version} ended with code {done.returncode}: {last}. "
            "That says nothing of the version, so it was not judged. "
            f"Run `atelier run {version.model}` again."
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))
