"""The reference that `make docs` writes names everything that the code has."""

import ast
import re

import pytest
from handbook import GENERATED, MARK, commands, fill, keys, links, metrics, stored
from handbook.sections import all_sections

from atelier.params import Params
from atelier.params.measures import metrics as metrics_of
from tests.support.places import REPOSITORY

DOCS = REPOSITORY / "docs"
ROOMS = ("registry", "factory", "promotion", "review", "evaluation")


def missing(names, text):
    """The names that a text does not have as words of their own."""
    return [
        name for name in names if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text)
    ]


def keys_of_schema(node, schema, path=""):
    """Dotted paths of all keys, by pydantic's own JSON schema."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from keys_of_schema(part, schema, path)
    for name, inner in node.get("properties", {}).items():
        own = f"{path}.{name}".lstrip(".")
        yield own
        yield from keys_of_schema(inner, schema, own)
    of_names = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    for inner in of_names:
        if isinstance(inner, dict):
            yield from keys_of_schema(inner, schema, f"{path}.NAME")
    if isinstance(node.get("items"), dict):
        yield from keys_of_schema(node["items"], schema, f"{path}.N")


SCHEMA = Params.model_json_schema()
KEYS = sorted(set(keys_of_schema(SCHEMA, SCHEMA)))
PAGES_OF_KEYS = "\n".join(keys.render(page) for page in keys.PAGES)


def test_every_key_is_in_the_reference():
    assert len(KEYS) > 150
    assert "models.NAME.degradation.N.motion_blur.angle" in KEYS
    described = re.findall(r"^```\{confval\} (.+)$", PAGES_OF_KEYS, flags=re.M)
    assert set(described) == set(KEYS)


def test_a_key_that_is_left_out_is_found():
    lines = PAGES_OF_KEYS.replace("```{confval} models.NAME.training.betas\n", "")
    described = re.findall(r"^```\{confval\} (.+)$", lines, flags=re.M)
    assert set(KEYS) - set(described) == {"models.NAME.training.betas"}


@pytest.mark.parametrize("section", all_sections(), ids=keys.heading_of)
def test_every_key_has_a_meaning(section):
    silent = [key.path for key in section.keys if not keys.meaning(section, key)]
    assert silent == [], "write a comment above the field in src/atelier/params"


def test_each_kind_name_and_source_is_a_section():
    headings = "\n".join(line for line in PAGES_OF_KEYS.splitlines() if line.startswith("## "))
    for tag in ("kind: gan", "name: nafnet", "source: parquet", "name: progressive"):
        assert f"with `{tag}`" in headings


def entry(path, page):
    return keys.render(page).partition(f"```{{confval}} {path}\n")[2].partition("\n```")[0]


@pytest.mark.parametrize(
    ("path", "page", "said"),
    [
        ("seed", "data", [":type: whole number at least 0", "recipe: `7`"]),
        ("models.NAME.training.kimg", "training", ["number above 0", "`340` (gan)", "budget"]),
        ("models.NAME.training.log_every_kimg", "training", ["`min(5.0, kimg / 20)`"]),
        ("models.NAME.training.precision", "training", ["`auto`, `float32` or `bfloat16`"]),
        ("models.NAME.degradation.N.noise.sigma", "degradations", ["at most 1", "[low, high]"]),
        ("promotion.alpha", "scores", ["above 0 and below 0.5", ":default: `0.05`", "Accepted"]),
        ("promotion.restoration.floors", "scores", ["`{psnr_gain: 0}`"]),
        ("schedules.NAME.every", "scores", ["`5m`", ":default: none"]),
        ("models.NAME.network.width", "networks", ["at least 4 and at most 512", "recipe: `24`"]),
    ],
)
def test_an_entry_says_values_default_and_meaning(path, page, said):
    text = entry(path, page)
    for words in [*said, "Since 0.1.0"]:
        assert words in text


def test_every_command_and_option_is_in_the_reference():
    text = commands.render()
    found = commands.all_commands()
    assert len(found) > 25
    for words, command in found.items():
        own = text.partition(f"## `atelier {words}`\n")[2].partition("\n## ")[0]
        assert own, words
        names = []
        for parameter in command.params:
            if not commands.is_argument(parameter):
                names += [*parameter.opts, *parameter.secondary_opts]
        assert missing(names, own) == [], words


def test_an_option_that_is_left_out_is_found(monkeypatch):
    render = commands._render_parameter
    monkeypatch.setattr(
        commands,
        "_render_parameter",
        lambda parameter: "" if "--sigma" in parameter.opts else render(parameter),
    )
    assert missing(["--iterations", "--sigma"], commands.render()) == ["--sigma"]


STORED_METRICS = [
    (kind, extractor) for kind in metrics.KINDS for extractor in ("", *metrics.EXTRACTORS)
]


@pytest.mark.parametrize(("kind", "extractor"), sorted(set(STORED_METRICS)))
def test_every_metric_is_in_the_reference(kind, extractor):
    assert missing(metrics_of(kind, extractor), metrics.render()) == []


def test_a_metric_that_is_left_out_is_found(monkeypatch):
    monkeypatch.delitem(metrics.TABLE, "memorisation")
    with pytest.raises(KeyError, match="memorisation is no metric that the table explains"):
        metrics.render()


def test_every_metric_has_all_its_facts():
    for part in metrics.render().partition("## Of some")[0].split("\n## ")[1:]:
        for fact in ("Stored as", "Of", "Range", "Better", "Protocol", "Source"):
            assert re.search(rf"- \*\*{fact}:\*\* \S", part), part


def strings_in(node):
    """Keys of dictionaries that are text; what is computed within is MD5, a name or so."""
    for key in node.keys:
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value
        elif isinstance(key, ast.JoinedStr):
            yield "".join(getattr(part, "value", "") for part in key.values if is_text(part))


def is_text(part):
    return isinstance(part, ast.Constant)


def tags_of(source):
    """The tags that a module writes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names = [ast.unparse(target) for target in node.targets]
            if any(name.endswith("tags") or name == "OURS" for name in names):
                yield from strings_in(node.value)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            target = node.targets[0]
            if ast.unparse(target.value) == "tags" and is_text(target.slice):
                yield target.slice.value
        if isinstance(node, ast.FunctionDef) and node.name.endswith("tags"):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Dict):
                    yield from strings_in(inner.value)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "tag":
            for argument in node.args:
                if isinstance(argument, ast.Dict):
                    yield from strings_in(argument)


def files_of(source):
    """The files that a module logs: keys of dictionaries that look like file names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            for name in strings_in(node):
                if re.search(r"\w\.(json|csv|png|html|md|diff|txt)$", name):
                    yield name


def sources():
    for room in ROOMS:
        for path in sorted((REPOSITORY / "src" / "atelier" / room).rglob("*.py")):
            yield path.read_text(encoding="utf-8")


def tags_written():
    found = {"ledger.head"}
    for source in sources():
        found |= set(tags_of(source))
    return {tag.removesuffix(".") for tag in found if not tag.startswith("mlflow.")}


def missing_rows(tags):
    """The tags that have no row in a table."""
    text = stored.render().replace("evaluated.MD5", "evaluated")
    return [tag for tag in tags if f"\n| `{tag}` |" not in text]


def test_every_tag_is_in_the_reference():
    tags = tags_written()
    assert {"fingerprint", "data.md5", "verdict.by", "built.from", "evaluated"} <= tags
    assert missing_rows(tags) == []


def test_every_file_of_a_run_is_in_the_reference():
    files = set()
    for source in sources():
        files |= set(files_of(source))
    assert {"units.csv", "card.json", "gradcam.png", "uncommitted.diff"} <= files
    text = stored.render().replace("/", " ")
    assert missing(files - {"dataset.json"}, text) == []


def test_a_tag_that_is_left_out_is_found(monkeypatch):
    monkeypatch.delitem(stored.VERSION, "blessing.quality")
    assert missing_rows(tags_written()) == ["blessing.quality"]


def test_every_page_of_the_reference_is_filled():
    used = set()
    for page in sorted((DOCS / "reference").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        used |= set(MARK.findall(text))
        assert not MARK.search(fill(text))
    assert used == set(GENERATED)


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("[results](../../benchmarks/results)", "results"),
        ("[all\nfigures](../README.md)", "[all\nfigures](../README.md)"),
        ("[how](../../CONTRIBUTING.md)", "{download}`how <../../CONTRIBUTING.md>`"),
        ("[params](../../params.yaml)", "[params](../../params.yaml)"),
        ("[site](https://example.org/)", "[site](https://example.org/)"),
    ],
)
def test_links_that_leave_the_pages_work_in_the_site(link, becomes):
    assert links.adapt(link, DOCS / "guide") == becomes


def test_links_to_nowhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">b</a></p>')
    (tmp_path / "b.html").write_text('<a href="a.html#here">a</a><img src="no.png">')
    assert links.broken_links(tmp_path) == [
        "a.html: b.html#there: no such place",
        "b.html: no.png: no such file",
    ]
