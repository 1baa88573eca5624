"""Commands as they are typed, beside a registry with models."""

import os

import pytest
from typer.testing import CliRunner

from atelier.cli import app


@pytest.fixture
def type_in(models, monkeypatch):
    """Call a command in the folder of `models`, a test file's own registry; gives its output."""
    before = dict(os.environ)
    monkeypatch.chdir(models._connection.project.root)

    def type_in(line):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, line.split())
        if result.exception is not None:
            raise result.exception
        return result.output

    yield type_in
    os.environ.clear()
    os.environ |= before
