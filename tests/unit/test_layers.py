"""Each room of src/atelier imports only what stands before it; nothing runs in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.places import REPOSITORY

SOURCE = REPOSITORY / "src"
# From the ground up. `docs/architecture.md` says what lives where.
ROOMS = (
    "errors",
    "machine",
    "project",
    "losses",
    "pictures",
    "params",
    "ui",
    "data",
    "data.sources",
    "data.ingest",
    "data.versions",
    "init",
    "degradations",
    "networks",
    "metrics",
    "training",
    "evaluation",
    "serving",
    "serving.files",
    "registry",
    "factory",
    "promotion",
    "review",
    "service",
    "api",
    "operate",
    "cli",
)
# The ground; everything else has a room.
MODULES_AT_THE_ROOT = {"errors", "losses", "pictures", "project"}


def name_of(path):
    parts = path.relative_to(SOURCE / "atelier").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in (SOURCE / "atelier").rglob("*.py")}


def imports_of(path):
    """What a file imports of Atelier, wherever in it: modules, by their names below `atelier`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}".removeprefix("atelier.")
                names.add(f"{node.module}.{alias.name}" if submodule in MODULES else node.module)
    below = {name.removeprefix("atelier.") for name in names if name.startswith("atelier.")}
    return below & MODULES.keys()


def room_of(module):
    fitting = [room for room in ROOMS if f"{module}.".startswith(f"{room}.")]
    assert fitting, f"{module} lies in no room of the list"
    return max(fitting, key=len)


def backward(module, imported):
    """Those of the imported modules whose rooms stand after the module's own."""
    place = ROOMS.index(room_of(module))
    return {other for other in imported if ROOMS.index(room_of(other)) > place}


def test_a_room_imports_only_what_stands_before_it():
    offences = {
        module: sorted(offending)
        for module, path in MODULES.items()
        if module and (offending := backward(module, imports_of(path)))
    }
    assert offences == {}


def test_the_ground_has_four_modules():
    names = {path.stem for path in (SOURCE / "atelier").glob("*.py")}
    assert names - {"__init__"} == MODULES_AT_THE_ROOT


def import_graph():
    return {module: imports_of(path) - {module} for module, path in MODULES.items()}


def test_nothing_runs_in_a_circle():
    TopologicalSorter(import_graph()).prepare()


def test_a_circle_is_seen():
    graph = import_graph()
    graph["training.pixels"].add("training.batches")
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


def test_the_commands_alone_start_flows():
    importers = {room_of(m) for m, p in MODULES.items() if m and imports_flows(p)}
    assert importers == {"cli"}


def imports_flows(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    froms = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "flows" for name in froms)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("data.store", "registry.runs"),
        ("data.sources.folder", "data.ingest.reading"),
        ("ui.tables", "factory.plan"),
        ("machine.git", "project"),
    ],
)
def test_an_import_of_a_higher_room_is_seen(module, imported):
    assert backward(module, {imported, "errors"}) == {imported}
