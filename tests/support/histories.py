"""Histories of models for tests of the report, made by hand."""

from atelier.registry import Action, Decision, RunRecord, Version
from atelier.review.report.contents import History, Line, ModelHistory, Thumbnail, Verdict

PIXEL = Thumbnail("data:image/webp;base64,UklGRg==", 4, 3)


def run_of(number, text="plain", status="FINISHED", **changes):
    """A run; `text` is whatever people or data put into it."""
    values = {
        "run_id": f"{text}{number}",
        "status": status,
        "deleted": False,
        "started": "2026-11-23T19:00:00Z",
        "ended": "",
        "tags": {"prefect.flow_run_id": text},
        "params": {"kind": text, text: text},
        "metrics": {"minutes": 2.0, "images_per_second": 731.0},
        "datasets": (),
        "experiment_id": "5",
        "notes": "",
    }
    return RunRecord(**{**values, **changes})


def line_of(number, value=None, *, model="m", text="plain", aliases=(), day=None, **changes):
    """A version with a score of value +- 1, registered on the day of its number."""
    tags = {"built.from": text, "prefect.flow_run_id": text}
    created = f"2026-11-{day or number:02d}T12:00:00Z"
    version = Version(model, number, f"{text}{number}", created, aliases, tags)
    score = None if value is None else {"value": value, "low": value - 1, "high": value + 1}
    values = {
        "version": version,
        "run": run_of(number, text),
        "score": score,
        "was_champion": "champion" in aliases,
        "verdicts": (Verdict("promoted", (text,), created, text),),
        "comparable": True,
    }
    return Line(**{**values, **changes})


def change(day, before, after, action="promoted"):
    """A decision at noon and a minute of a day of November."""
    at = f"2026-11-{day:02d}T12:01:00Z"
    return Decision(
        model="m",
        action=Action(action),
        version=after or 0,
        reasons=("why",),
        champion_before=before,
        champion=after,
        previous=before,
        challenger=None,
        who="who",
        at=at,
    )


def model_of(lines, decisions=(), text="plain", **changes):
    """A restorer."""
    values = {
        "name": text,
        "kind": "restoration",
        "metric": "psnr",
        "better": "higher",
        "lines": tuple(lines),
        "decisions": tuple(decisions),
        "warnings": (),
        "remarks": (),
        "caption": "Clean and restored",
        "pictures": (),
    }
    return ModelHistory(**{**values, **changes})


def history_with(text):
    """Everything a report can tell, with the same text in every place that people or data fill."""
    lines = [line_of(number, 20.0 + number, model=text, text=text) for number in range(1, 13)]
    lines.append(
        line_of(13, 40.0, model=text, text=text, aliases=("champion", text), comparable=False)
    )
    lines.append(line_of(14, model=text, text=text, verdicts=(), run=None))
    model = model_of(
        lines,
        [change(13, 12, 13)],
        text,
        kind=text,
        metric=text,
        warnings=(text,),
        remarks=(text,),
        caption=text,
        pictures=((lines[0], PIXEL), (lines[12], PIXEL)),
    )
    failures = [
        (text, run_of(20, text, "FAILED", notes=f"- {text}\n- {text}\n")),
        (f"{text}-", run_of(21, text, "KILLED")),
    ]
    return History(text, text, (model,), tuple(failures * 6), 9, 130.0, (text,))
