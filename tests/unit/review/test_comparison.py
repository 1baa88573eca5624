import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from atelier.cli.tables.review import print_comparison
from atelier.errors import UsageError
from atelier.registry import Registry
from atelier.review.comparison import Side, compare, open_side
from atelier.review.comparison_page import comparison_page
from atelier.review.pairs import paired_rows

pytestmark = pytest.mark.service

HASHES = [f"{number:064x}" for number in range(60)]
PIXEL = bytes.fromhex("89504e470d0a1a0a")


def units(values, names=HASHES, classes=None):
    table = pd.DataFrame({"unit": names[: len(values)], "psnr": values})
    return table if classes is None else table.assign(**{"class": classes})


def row_of(rows, slice_name="all", metric="psnr"):
    (row,) = [row for row in rows if (row["slice"], row["metric"]) == (slice_name, metric)]
    return row


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    before = rng.normal(20, 5, 60)
    return before, before + rng.normal(0.5, 0.3, 60)


def test_the_interval_is_that_of_the_paired_t_test(scores):
    before, after = scores
    row = row_of(paired_rows(units(before), units(after), True, 0.9))
    expected = stats.ttest_rel(after, before).confidence_interval(0.9)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["difference"] == pytest.approx((after - before).mean())
    assert (row["a"], row["b"], row["num_units"]) == (
        pytest.approx(before.mean()),
        pytest.approx(after.mean()),
        60,
    )
    assert row["better"] == "b"


def test_units_are_joined_by_name_whatever_their_order_and_only_common_ones(scores):
    before, after = scores
    shuffled = units(after).sample(frac=1, random_state=0)
    assert row_of(paired_rows(units(before), shuffled, True, 0.9)) == pytest.approx(
        row_of(paired_rows(units(before), units(after), True, 0.9))
    )
    assert row_of(paired_rows(units(before), units(after[:40]), False, 0.9))["num_units"] == 40


def test_what_is_better_follows_the_direction_of_the_metric(scores):
    before, after = scores
    tables = [units(values).rename(columns={"psnr": "mse"}) for values in (before, after)]
    assert row_of(paired_rows(*tables, True, 0.95), metric="mse")["better"] == "a"
    assert (
        row_of(paired_rows(units(before), units(before[::-1]), True, 0.95))["better"]
        == "not proven"
    )
    unknown = [units(values).rename(columns={"psnr": "wobble"}) for values in (before, after)]
    assert row_of(paired_rows(*unknown, True, 0.95), metric="wobble")["better"] == "different"


def test_every_slice_has_its_own_interval_but_no_slice_of_one(scores):
    before, after = scores
    classes = ["cat"] * 20 + ["dog"] * 39 + ["ant"]
    rows = list(
        paired_rows(units(before, classes=classes), units(after, classes=classes), True, 0.95)
    )
    assert {row["slice"]: row["num_units"] for row in rows} == {
        "all": 60,
        "class:cat": 20,
        "class:dog": 39,
    }
    assert row_of(rows, "class:cat")["difference"] == pytest.approx((after - before)[:20].mean())


def test_numbered_blocks_of_other_data_are_no_pairs(scores):
    before, after = (units(values, names=list(map(str, range(60)))) for values in scores)
    assert list(paired_rows(before, after, False, 0.95)) == []
    assert row_of(paired_rows(before, after, True, 0.95))["num_units"] == 60


# -- with MLflow -------------------------------------------------------------------------------


def scored_run(registry: Registry, name: str, values, extractor="classifier/1", **params) -> str:
    run_id = registry.runs.start("compared", name, {"data.md5": "", "git.commit": ""})
    registry.runs.log_params(run_id, {"lr": 0.1, **params})
    evaluation = {
        "params": {"confidence": 0.95, "seed": 7},
        "data": {"d": "x"},
        "extractor": extractor,
        "code": {},
    }
    training = {"params": params, "data": {"d": "x"}, "code": {"losses.py": name, "same.py": "1"}}
    files = {
        "evaluation/fingerprint.json": json.dumps(evaluation),
        "fingerprint.json": json.dumps(training),
    }
    classes = ["NA", "1"] * (len(values) // 2)
    registry.runs.log_files(run_id, "", files)
    registry.runs.log_files(run_id, "evaluation", {"units.csv": units(values, classes=classes)})
    return run_id


def test_two_runs_are_compared_in_parameters_code_and_scores(registry, scores):
    first, second = (
        scored_run(registry, name, values, width=name)
        for name, values in zip("ab", scores, strict=True)
    )
    found = compare(registry, open_side(registry, first), open_side(registry, second))
    assert found["params"] == [{"key": "width", "a": "a", "b": "b"}]
    assert found["code"]["modules"] == [{"file": "losses.py", "change": "changed"}]
    assert found["code"]["problem"] == "git does not know a commit and a commit"
    assert found["data"]["datasets"] == [{"name": "d", "a": "x", "b": "x"}]
    assert row_of(found["metrics"])["better"] == "b"
    assert {row["slice"] for row in found["metrics"]} == {"all", "class:NA", "class:1"}
    assert json.loads(json.dumps(found)) == found


def test_scores_by_another_extractor_are_not_compared_in_pairs(registry, scores):
    first = scored_run(registry, "c", scores[0])
    second = scored_run(registry, "d", scores[1], extractor="classifier/2")
    found = compare(registry, open_side(registry, first), open_side(registry, second))
    assert found["evaluation"]["not_paired"] == "the evaluations had another extractor"
    assert found["evaluation"]["differ"] == ["extractor: classifier/1 -> classifier/2"]
    assert found["metrics"] == []


def test_what_was_not_evaluated_is_said(registry, scores):
    bare = registry.runs.start("compared", "bare", {})
    found = compare(
        registry,
        open_side(registry, bare),
        open_side(registry, scored_run(registry, "e", scores[0])),
    )
    assert found["evaluation"]["differ"] == [f"run {bare[:8]} was not evaluated"]
    assert found["metrics"] == []


def test_a_run_that_is_not_there_and_one_run_twice_are_refused(registry, scores):
    with pytest.raises(UsageError, match="MLflow has no run 0000"):
        open_side(registry, "0" * 32)
    side = open_side(registry, scored_run(registry, "f", scores[0]))
    with pytest.raises(UsageError, match="are the same run"):
        compare(registry, side, side)


# -- the page ----------------------------------------------------------------------------------


HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "{{ 7*7 }}",
    "[red]a[/]",
    "</pre><b>",
]


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def found_with(name):
    side = {
        "name": name,
        "aliases": [name],
        "run_id": name,
        "started": name,
        "git_commit": name,
        "data_md5": name,
    }
    row = {
        "metric": name,
        "slice": f"class:{name}",
        "a": 1.0,
        "b": 2.0,
        "difference": 1.0,
        "low": 0.5,
        "high": 1.5,
    }
    return {
        "a": side,
        "b": side,
        "params": [{"key": name, "a": name, "b": None}],
        "data": {"datasets": [{"name": name, "a": "x", "b": "y", "added": 3}], "problem": name},
        "code": {
            "modules": [{"file": name, "change": "changed"}],
            "diff_stat": name,
            "dirty": [True, False],
            "problem": name,
        },
        "evaluation": {"differ": [name], "not_paired": name},
        "metrics": [
            {**row, "num_units": 9, "better": "b"},
            {**row, "slice": "all", "num_units": 9, "better": "a"},
        ],
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_names_or_values_becomes_markup(name, capsys):
    harmless, hostile = (
        Page(comparison_page(found_with(text), {text: (PIXEL, None)})) for text in ("plain", name)
    )
    assert hostile.tags == harmless.tags
    assert "script" not in hostile.tags
    assert [key for key, _ in hostile.attributes] == [key for key, _ in harmless.attributes]
    assert hostile.text.count(name) == harmless.text.count("plain") > 20
    print_comparison(found_with(name))
    shown = capsys.readouterr().out
    assert name in shown.replace("\n", "")


def test_the_page_is_one_file_that_fetches_nothing():
    page = comparison_page(found_with("plain"), {"restored.png": (PIXEL, PIXEL)})
    parsed = Page(page)
    sources = [value for key, value in parsed.attributes if key in ("src", "href")]
    assert len(sources) == 2 and all(
        value.startswith("data:image/png;base64,iVBOR") for value in sources
    )
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page


def test_a_side_knows_what_identifies_it(registry, scores):
    side = open_side(registry, scored_run(registry, "g", scores[0]))
    assert isinstance(side, Side) and side.as_json()["name"].startswith("run ")
