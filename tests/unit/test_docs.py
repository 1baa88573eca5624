"""The documentation names only what exists.

Make targets, commands and their options, parameters, files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from ruamel.yaml import YAML
from typer.models import CommandInfo
from typer.testing import CliRunner

from atelier.cli import app
from atelier.params import load_params
from tests.support.places import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GUIDE = sorted((REPOSITORY / "docs" / "guide").glob("*.md"))
INDEX = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
TUTORIAL = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
MANUAL = "\n".join([README, TUTORIAL, *(page.read_text(encoding="utf-8") for page in GUIDE)])
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "benchmarks").rglob("*.md")),
]
MOST_LINES = 150  # of the README; the rest is the guide's


def names_of(commands: Iterable[CommandInfo], group: str = "") -> set[str]:
    return {group + (info.name or info.callback.__name__) for info in commands}


COMMANDS = names_of(app.registered_commands)
GROUPS = {group.name for group in app.registered_groups}
for group in app.registered_groups:
    COMMANDS |= names_of(group.typer_instance.registered_commands, f"{group.name} ")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", MANUAL, flags=re.DOTALL)


def shell_lines() -> list[str]:
    lines = "\n".join(code_blocks("sh")).splitlines()
    return [line.partition("#")[0].removeprefix("$ ").strip() for line in lines if line.strip()]


def test_the_readme_has_its_two_commands():
    assert "make demo" in shell_lines() and "make test" in shell_lines()


def test_make_targets_exist():
    targets = set(
        re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    )
    named = {
        *re.findall(r"`make ([a-z-]+)`", MANUAL),
        *re.findall(r"^make ([a-z-]+)", "\n".join(shell_lines()), re.M),
    }
    assert named and named <= targets


def test_commands_and_options_exist():
    lines = [line for line in shell_lines() if "atelier " in line]
    assert len(lines) >= 8
    for line in lines:
        words = line[line.index("atelier ") :].split()
        command = words[1:3] if words[1] in GROUPS else words[1:2]
        assert " ".join(command) in COMMANDS, line
        terminal = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
        shown = CliRunner(env=terminal).invoke(app, [*command, "--help"]).output
        for option in (
            word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-zA-Z]", word)
        ):
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", shown), f"{line}: {option}"


def test_every_command_is_in_the_manual():
    for name in COMMANDS:
        assert f"atelier {name}" in MANUAL, name


def test_the_readme_is_short_and_leads_to_the_index_of_all_pages():
    lines = README.splitlines()
    assert len(lines) <= MOST_LINES
    assert [line for line in lines if len(line) > 100] == []
    assert "(docs/index.md)" in README


def test_the_index_leads_to_every_page():
    docs = REPOSITORY / "docs"
    for folder in ("guide", "explanation"):
        for page in sorted((docs / folder).glob("*.md")):
            assert f"({folder}/{page.name})" in INDEX, page.name
            assert f"\n{folder}/{page.stem}\n" in INDEX, f"{page.name}: in no toctree"


def test_examples_load():
    examples = sorted((REPOSITORY / "examples").glob("*.yaml"))
    assert examples
    for example in examples:
        load_params(example)


@pytest.mark.parametrize("block", code_blocks("yaml"), ids=lambda block: block.splitlines()[0])
def test_parameter_examples_load(block, tmp_path):
    yaml = YAML()
    params = yaml.load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    for section, values in yaml.load(block).items():
        params.setdefault(section, {}).update(values)
    yaml.dump(params, tmp_path / "params.yaml")
    load_params(tmp_path / "params.yaml")


OF_THE_SHIPPED_FILE = MANUAL.replace(TUTORIAL, "")  # the tutorial makes a params.yaml of its own


@pytest.mark.parametrize("key", sorted(set(re.findall(r"-S ([\w.-]+)=", OF_THE_SHIPPED_FILE))))
def test_override_examples_load(key):
    value = re.search(rf"-S {re.escape(key)}=(\S+?)[`\s]", OF_THE_SHIPPED_FILE).group(1)
    load_params(REPOSITORY / "params.yaml", [f"{key}={value}"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_exist(page):
    links = re.findall(
        r"\]\(([^)#]+?)(?:#[^)]*)?\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")
    )
    for link in filter(None, (first or second for first, second in links)):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_begins_like_a_comment(page):
    lost = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "%"]
    assert not lost  # MyST leaves them out of the site
