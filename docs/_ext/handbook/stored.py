"""What lies in the registry: aliases, tags and files of versions, runs, models and datasets."""

from __future__ import annotations

Rows = dict[str, str]

ALIASES: Rows = {
    "champion": "what `NAME` alone means: the version that is used",
    "challenger": "the newest version that is neither champion nor rejected",
    "previous": "the champion before: what `atelier rollback` goes back to",
}
VERSION_AND_RUN: Rows = {
    "fingerprint": "SHA-256 of all that the training's result depends on: `fingerprint.json`",
    "data.md5": "the version of `data/`, as `data.dvc` names it",
    "params.sha256": "of the resolved parameters: `params.json`",
    "seed": "of every draw",
    "git.commit": "the commit that the project was at; empty outside of git",
    "git.dirty": "`true` if anything differed from it",
    "git.left_out": "which changes are not in `uncommitted.diff`, and why; empty: it has all",
    "git.problem": "why that diff does not make these files of its commit; empty: it was proven",
    "built.from": "the version that it was made of by `extend` or `refine`: `NAME/NUMBER`",
    "prefect.flow_run_id": "the flow run in Prefect",
}
VERSION: Rows = {
    "blessing.infrastructure": "`given` or `refused`: loaded and queried in a fresh process",
    "blessing.quality": "`given` or `refused`: floors and slices",
    "verdict": "`promoted`, `kept`, `waiting`, `rejected` or `rolled back`",
    "verdict.reasons": "sentences, as a JSON list",
    "verdict.at": "when, ISO 8601, UTC",
    "verdict.by": "who",
    "evaluation.fingerprint": "of the last evaluation: `evaluation/fingerprint.json`",
    "evaluated.MD5": "the fingerprint of the evaluation on that version of `data/`",
    "reproduced": "what `atelier reproduce` found: identical, or how far apart",
    "reproduced.at": "when `atelier reproduce` made it again",
}
RUN: Rows = {
    "kind": "`training`, or `dataset` in the experiment `datasets`",
    "process.host": "the machine of the process that works on it",
    "process.pid": "that process",
    "process.started": "when it started: with the pid it names one process for good",
}
MODEL: Rows = {
    "atelier": "`model`: Atelier made it; models without it are left alone",
    "ledger.head": "hash of the newest decision, so that the end of the chain can't be cut off",
}
DATASET: Rows = {
    "dataset": "its name",
    "data.digest": "of the dataset alone",
}
LEDGER: Rows = {
    "model": "that was decided about",
    "sequence": "the number of the decision, from 1",
    "follows": "hash of the decision before",
    "hash": "of this one",
    "decision": "what is to be champion, previous and challenger, who says so and why: JSON",
}
RUN_FILES: Rows = {
    "fingerprint.json": "what the fingerprint stands for: parameters, data, code by module, source",
    "params.json": "all resolved parameters",
    "packages.txt": "installed packages, as pip freezes them",
    "uncommitted.diff": "what differed from the commit, as bytes",
    "card/card.json": "the facts of the model card",
    "card/card.md": "the card, as the version's description shows it",
    "card/card.html": "the card with its pictures, one file: `atelier card`",
    "evaluation/fingerprint.json": "what the evaluation's fingerprint stands for",
    "evaluation/scores.csv": "all scores with intervals: model, baselines, classes, levels",
    "evaluation/units.csv": "scores of each test image or block: what the gate pairs",
    "evaluation/restored.png": "clean, degraded, best baseline, restored",
    "evaluation/errors.png": "the worst test images, and where it errs",
    "evaluation/attribution.png": "which pixels a detail comes from",
    "evaluation/generated.png": "drawn pictures, a class a row",
    "evaluation/memorisation.png": "drawn pictures above the training pictures nearest to them",
    "evaluation/unrefined.png": "what is drawn without the restorer of `refine`",
    "evaluation/memorisation-unrefined.png": "the same of those",
    "evaluation/sampled.png": "what is drawn by `sampling`",
    "evaluation/memorisation-sampled.png": "the same of those",
    "evaluation/interpolation.png": "on the way from one latent to another",
    "evaluation/confusion.png": "true classes against predicted ones",
    "evaluation/gradcam.png": "mistakes, and what speaks for the wrong class",
    "blessings/infrastructure.json": "how it answered in a fresh process, and how fast",
    "blessings/quality.json": "floors, slices, and the paired test",
    "reproduction.json": "what `atelier reproduce` found",
}
VERSION_FILES: Rows = {
    "artifacts/bundle/config.json": "kind, channels, classes, network: what the code reads",
    "artifacts/bundle/network.py": "the source of the network, without Atelier",
    "artifacts/bundle/weights.safetensors": "its weights",
}
METRICS: Rows = {
    "test/METRIC": "a score; the step is the number of the evaluation",
    "test/METRIC.low": "lower end of its interval",
    "test/METRIC.high": "upper end of its interval",
    "validation/METRIC": "the same, roughly, on validation pictures, while it trains",
    "iterations/METRIC": "of a recurrent restorer, after each iteration",
    "cost/NAME": "parameters, multiplications, images per second",
}
TABLES: dict[str, Rows] = {
    "Aliases of a model": ALIASES,
    "Tags of a version, and of the run that trained it": VERSION_AND_RUN,
    "Tags of a version": VERSION,
    "Tags of a run": RUN,
    "Tags of a registered model": MODEL,
    "Tags of a dataset's run, in the experiment `datasets`": DATASET,
    "Tags of a decision, a run of the experiment `ledger`": LEDGER,
    "Files of the run that trained a version": RUN_FILES,
    "Files of a version": VERSION_FILES,
    "Metrics of a run": METRICS,
}


def render() -> str:
    """A table for each thing that has tags or files."""
    lines = []
    for title, rows in TABLES.items():
        lines += [f"## {title}", "", "| name | what it says |", "|---|---|"]
        lines += [f"| `{name}` | {meaning} |" for name, meaning in rows.items()]
        lines.append("")
    return "\n".join(lines) + "\n"
