import json
import re

import pandas as pd
import pytest

from atelier.errors import RegistryError
from atelier.factory.card import begin_card, complete_card, render_card
from atelier.params import load_params
from atelier.registry.records import Version
from tests.support.places import EXAMPLE_FILE

pytestmark = pytest.mark.service

COUNTS = {"fashion": {"train": 56_993, "validation": 2_974, "test": 10_000}}
TAGS = {"data.md5": "c7d4.dir", "fingerprint": "f" * 64, "seed": "7", "git.commit": "a" * 40}
EVIL = '<script>alert(1)</script> | "x" `y`\n# not a title'


@pytest.fixture(scope="module")
def params():
    return load_params(EXAMPLE_FILE)


@pytest.fixture
def version(registry, params, request):
    """A version whose run has everything that a card is made of."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    run_id = registry.runs.start(name, name, {})
    facts = begin_card(params, "fashion-denoise", COUNTS, TAGS)
    facts["parameters"]["note"] = EVIL
    score = {
        "metric": "psnr",
        "value": 22.4,
        "low": 22.3,
        "high": 22.5,
        "num_samples": 9,
        "protocol": EVIL,
    }
    rows = [
        {"subject": subject, "slice": part, **score}
        for subject, part in (
            ("model", "all"),
            ("baseline:median3", "all"),
            ("model", f"class:{EVIL}"),
        )
    ]
    registry.runs.log_files(run_id, "card", {"card.json": json.dumps(facts)})
    registry.runs.log_files(run_id, "evaluation", {"scores.csv": pd.DataFrame(rows)})
    registry.runs.log_params(run_id, {"device": "cpu", "threads": 2, "processes": 1})
    log = registry.run_log(run_id)
    log.metrics(0, {"cost/parameters": 37_000.0, "minutes": 1.25})
    log.flush()
    return Version(name, 3, run_id, "2026-11-23T19:00:00Z", ())


def test_a_card_says_what_a_model_is_for_and_what_it_learnt_from(params):
    facts = begin_card(params, "fashion-denoise", COUNTS, TAGS)
    assert facts["purpose"] == "Restores images like those of fashion from: noise."
    assert facts["data"]["licence"] == {
        "fashion": "MIT, Zalando SE (github.com/zalandoresearch/fashion-mnist)"
    }
    assert facts["data"]["images"] == COUNTS
    assert facts["parameters"]["network.name"] == "cnn"
    assert facts["provenance"]["git commit"] == "a" * 40


def test_the_owner_s_words_come_first(params):
    model = params.models["fashion-denoise"].model_copy(update={"purpose": "Cleans scans."})
    data = params.datasets["fashion"].model_copy(update={"licence": "CC0"})
    changed = params.model_copy(update={"models": {"scans": model}, "datasets": {"fashion": data}})
    facts = begin_card(changed, "scans", COUNTS, TAGS)
    assert (facts["purpose"], facts["data"]["licence"]) == ("Cleans scans.", {"fashion": "CC0"})


@pytest.mark.parametrize("missing", ["fingerprint", "seed"])
def test_a_card_without_a_required_field_is_refused_by_the_field_s_name(params, missing):
    tags = {key: value for key, value in TAGS.items() if key != missing}
    with pytest.raises(
        RegistryError, match=rf"card of fashion-denoise lacks provenance\.{missing}, so no version"
    ):
        begin_card(params, "fashion-denoise", COUNTS, tags)
    with pytest.raises(RegistryError, match=r"lacks data\.licence, data\.images"):
        begin_card(params, "fashion-denoise", {}, TAGS)


def test_a_completed_card_has_scores_baselines_slices_cost_and_verdict(registry, version):
    facts = complete_card(registry, version, "promoted", ("first",))
    assert [row["subject"] for row in facts["metrics"]] == ["model", "baseline:median3"]
    assert len(facts["slices"]) == 1
    assert facts["cost"] == {"weights": 37_000.0, "minutes of training": 1.25}
    assert facts["machine"] == {"device": "cpu", "threads": "2", "processes": "1"}
    pages = render_card(facts, {"restored.png": b"\x89PNG"})
    assert "| psnr | baseline:median3 | 22.4 | 22.3 to 22.5 | 9 |" in pages["card.md"]
    for page in pages.values():
        for text in (
            "37,000",
            "1.25",
            "56,993" if page.startswith("<!") else "56993",
            "f" * 64,
            "promoted",
            "Zalando",
        ):
            assert text in page, text
    assert (
        'src="data:image/png;base64,iVBORw==" alt="Clean, degraded, best baseline, restored"'
        in pages["card.html"]
    )


def test_html_in_parameters_classes_and_reasons_stays_text(registry, version):
    pages = render_card(complete_card(registry, version, "kept", (EVIL,)), {EVIL: b"x"})
    for page in pages.values():
        assert "<script" not in page
        assert "&lt;script" in page
    tables = [
        line for line in pages["card.md"].splitlines() if "alert" in line and line.startswith("| ")
    ]
    assert len(tables) == 2
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in tables] == [
        5,
        3,
    ]  # no column begins in a value
    assert "\n# not a title" not in pages["card.md"]


def test_a_version_without_a_card_can_not_be_judged(registry):
    run_id = registry.runs.start("cardless", "cardless", {})
    with pytest.raises(RegistryError, match="cardless/1 has no model card"):
        complete_card(registry, Version("cardless", 1, run_id, "", ()), "promoted", ())
