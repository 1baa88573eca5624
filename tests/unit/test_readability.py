"""What makes a line carry more than one thought may only become less."""

import pytest

from tests.support.places import REPOSITORY
from tests.support.readability import count, files, in_closure, total

# In the closure of fingerprints names and shapes change only with what alters trainings anyway.
# Whoever lowers a count lowers its budget.
BUDGET_IN_CLOSURE = {
    "long_lines": 0,
    "double_assignments": 64,
    "nested_comprehensions": 18,
    "participle_names": 31,
}
LONGEST_FILE = 300


def name_of(path):
    return str(path.relative_to(REPOSITORY))


def test_outside_of_fingerprints_a_line_carries_one_thought():
    offences = {}
    for path in files():
        if not in_closure(path):
            counts = count(path)
            broken = {rule: counts[rule] for rule in BUDGET_IN_CLOSURE if counts[rule]}
            if broken:
                offences[name_of(path)] = broken
    assert offences == {}


@pytest.mark.parametrize("rule", BUDGET_IN_CLOSURE)
def test_within_fingerprints_the_budget_only_falls(rule):
    counted = total(path for path in files() if in_closure(path))[rule]
    assert counted == BUDGET_IN_CLOSURE[rule], "more: mend it; less: lower the budget"


def test_no_file_is_longer_than_a_person_keeps_in_mind():
    lengths = {name_of(path): count(path)["lines"] for path in files()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("a, b = x, y", "double_assignments"),
        ("n = [i for row in rows for i in row]", "nested_comprehensions"),
        ("n = [[i for i in row] for row in rows]", "nested_comprehensions"),
        ("n = [a if a else b for a in rows]", "nested_comprehensions"),
        ("n = [b for a in rows if (b := a)]", "nested_comprehensions"),
        ("def located(x): pass", "participle_names"),
        ("def _checked_out(x): pass", "participle_names"),
        ("x = '" + 100 * "-" + "'", "long_lines"),
    ],
)
def test_each_rule_sees_what_breaks_it(line, rule, tmp_path):
    file = tmp_path / "file.py"
    file.write_text(line + "\n")
    assert {name: number for name, number in count(file).items() if name in BUDGET_IN_CLOSURE} == {
        name: int(name == rule) for name in BUDGET_IN_CLOSURE
    }


@pytest.mark.parametrize(
    "line",
    [
        "a, b = b, a",
        "a, b = f(x)",
        "n = [f(a) for a in rows if a]",
        "def paired_units(x): pass",
        "def is_located(x) -> bool: pass",
        "def needed(x) -> bool: pass",
        "def read(x): pass",
    ],
)
def test_what_is_allowed_is_not_counted(line, tmp_path):
    file = tmp_path / "file.py"
    file.write_text(line + "\n")
    counts = count(file)
    assert not any(counts[rule] for rule in BUDGET_IN_CLOSURE)
