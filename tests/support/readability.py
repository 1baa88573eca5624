"""What makes a line carry more than one thought, counted: `python -m tests.support.readability`."""

import ast
import json
import re
import sys
from pathlib import Path

from tests.support.places import REPOSITORY

COLUMNS = 100
# What a fingerprint hashes by its text: renamed and rewritten only with a change that alters it
# anyway.
CLOSURE = (
    "src/atelier/losses.py",
    "src/atelier/pictures.py",
    "src/atelier/data/images.py",
    "src/atelier/data/manifest.py",
    "src/atelier/data/splits.py",
    "src/atelier/data/staging.py",
    "src/atelier/data/store.py",
    "src/atelier/training/",
    "src/atelier/networks/",
    "src/atelier/degradations/",
    "src/atelier/metrics/",
    "src/atelier/evaluation/",
)
# Participles that don't end in -ed; `read` and `put` are verbs as well.
IRREGULAR = set(
    "begun bound built chosen done drawn driven found given gone held hidden kept known laid left "
    "lent lost made meant met paid seen sent shown spent spoken sworn taken taught told thrown "
    "torn "
    "understood woven written".split()
)
NO_PARTICIPLES = {"need", "seed", "speed", "feed", "embed", "split", "cut"}
# `checked_out` is named by what became of something; `paired_units` are units.
PARTICLES = {"anew", "by", "from", "here", "in", "now", "off", "on", "out", "up"}
# As ruff measures lines: what is said to a tool doesn't count.
PRAGMA = re.compile(r"\s*# (?:type: ignore|noqa|fmt: skip).*$")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def files(root=REPOSITORY):
    """The files that are counted: the package and the flows."""
    return sorted([*(root / "src" / "atelier").rglob("*.py"), *(root / "flows").glob("*.py")])


def count(path):
    """The counts of one file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    filled = [line for line in lines if line.strip()]
    nodes = list(ast.walk(ast.parse(text)))
    return {
        "long_lines": sum(len(PRAGMA.sub("", line)) > COLUMNS for line in lines),
        "double_assignments": sum(is_double(node) for node in nodes),
        "nested_comprehensions": sum(is_nested(node) for node in nodes),
        "participle_names": sum(is_participle(node) for node in nodes),
        "lines": len(lines),
        "filled_lines": len(filled),
        "characters": sum(len(line.strip()) for line in filled),
    }


def is_double(node):
    """`a, b = x, y`, but for a swap."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    if not isinstance(node.targets[0], ast.Tuple):
        return False
    targets = {ast.unparse(target) for target in node.targets[0].elts}
    return targets != {ast.unparse(value) for value in node.value.elts}


def is_nested(node):
    """A comprehension with two `for`, with `if ... else` as what it makes, or with a walrus."""
    if not isinstance(node, COMPREHENSIONS):
        return False
    made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    inside = list(ast.walk(node))
    return (
        len(node.generators) > 1
        or any(isinstance(part, ast.IfExp) for part in made)
        or any(isinstance(part, ast.NamedExpr) for part in inside)
        or any(isinstance(part, COMPREHENSIONS) for part in inside if part is not node)
    )


def is_participle(node):
    """A function that is named by what became of its answer; adjectives are for booleans."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    if isinstance(node.returns, ast.Name) and node.returns.id == "bool":
        return False
    first, _, rest = node.name.strip("_").partition("_")
    if first in NO_PARTICIPLES or not (first in IRREGULAR or first.endswith("ed")):
        return False
    return rest == "" or rest in PARTICLES


def total(paths):
    """The sums over files."""
    sums = {}
    for path in paths:
        for name, number in count(path).items():
            sums[name] = sums.get(name, 0) + number
    return sums


def in_closure(path, root=REPOSITORY):
    return str(path.relative_to(root)).startswith(CLOSURE)


def report(root=REPOSITORY):
    """The counts of the whole package, and of what lies outside the closure."""
    everything = files(root)
    free = [path for path in everything if not in_closure(path, root)]
    found = {"all": total(everything), "outside the closure": total(free)}
    for sums in found.values():
        sums["characters_a_line"] = round(sums["characters"] / sums["filled_lines"], 1)
        sums["share_of_long_lines"] = round(sums["long_lines"] / sums["lines"], 4)
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for file in map(Path, sys.argv[1:]):
            print(file, json.dumps(count(file)))
    else:
        print(json.dumps(report(), indent=1))
