"""How far a run is: lines in a log, bars on a terminal, and nothing of them when it ends."""

import io
import logging
import re

import pytest
from rich.console import Console

from atelier.factory.plan import Item
from atelier.factory.stages import stages_of
from atelier.registry import Version
from atelier.ui.bars import find_terminal, hide_bars, show_bars, shown_bars
from atelier.ui.fleet import Fleet, Stage, show_fleet
from atelier.ui.progress import Progress, report_progress
from atelier.ui.quantities import about_bytes, about_seconds, show_clock

LONG = "a line that is longer than the terminal is wide, " * 4
# What moves the cursor or erases, a break, or anything else that a terminal shows.
TOKEN = re.compile(r"\x1b\[(\??\d*(?:;\d+)*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def log():
    """What the log's terminal gets, in a file."""
    logger = logging.getLogger("atelier")
    file = io.StringIO()
    before = (logger.handlers, logger.level)
    logger.handlers = [logging.StreamHandler(file)]
    logger.setLevel(logging.INFO)
    yield file
    logger.handlers, level = before
    logger.setLevel(level)


def terminal(file):
    return Console(file=file, force_terminal=True, width=100, height=30, color_system=None)


def screen(written):
    """The lines that a terminal shows after all this was written."""
    lines, row, column = [""], 0, 0
    for argument, command, move, text in TOKEN.findall(written):
        if command == "A":
            row -= int(argument or 1)
        elif command == "K":
            lines[row] = ""
        elif move == "\r":
            column = 0
        elif move == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    return [line.rstrip() for line in lines if line.strip()]


def test_without_a_terminal_each_stage_has_a_line_when_it_begins(log):
    clock = Clock()
    stages = [
        Stage("fashion", "ingest"),
        Stage("gan", "train", 300.0),
        Stage("gan", "inspect"),
        Stage("cnn", "train", 60.0),
        Stage("cnn", "inspect"),
    ]
    fleet = Fleet(stages, clock=clock)
    for stage, seconds in zip(stages, (10, 330, 20, 65, 3), strict=True):
        with fleet.at(stage.name, stage.verb), fleet.at("other", "train"):
            clock.now += seconds
    assert log.getvalue().splitlines() == [
        "[1/5] fashion: ingest  elapsed 0:00  about 6:00 to go",
        "[2/5] gan: train  elapsed 0:10  about 6:00 to go",
        "[3/5] gan: inspect  elapsed 5:40  about 1:00 to go",
        "[4/5] cnn: train  elapsed 6:00  about 1:20 to go",  # the other inspection took 20 s
        "[5/5] cnn: inspect  elapsed 7:05  about 0:20 to go",
    ]


def test_where_a_training_is_unknown_nothing_is_said_of_what_is_to_go(log):
    stages = [Stage("cnn", "train", 60.0), Stage("gan", "train", None), Stage("gan", "judge")]
    fleet = Fleet(stages, clock=Clock())
    for stage in stages:
        with fleet.at(stage.name, stage.verb):
            pass
    assert log.getvalue().splitlines() == [
        "[1/3] cnn: train  elapsed 0:00",
        "[2/3] gan: train  elapsed 0:00",
        "[3/3] gan: judge  elapsed 0:00",
    ]


def test_after_a_failure_the_next_model_keeps_its_number(log):
    fleet = Fleet([Stage("a", "train"), Stage("a", "judge"), Stage("b", "train")], clock=Clock())
    with pytest.raises(OSError), fleet.at("a", "train"):
        raise OSError
    with fleet.at("b", "train"):
        pass
    assert log.getvalue().splitlines()[-1] == "[3/3] b: train  elapsed 0:00"


def test_on_a_terminal_the_bars_stand_below_the_log(log):
    with show_fleet([Stage("gan", "train", 90.0)], terminal(log)) as fleet:
        with fleet.at("gan", "train"):
            values = {"total_kimg": 4.0, "images_per_second": 100.0, "loss": 0.5}
            Progress("gan").update(1000, values)
            logging.getLogger("atelier").info(LONG)
            shown_bars()._progress.refresh()
            *lines, fleet_bar, training_bar = screen(log.getvalue())
            assert lines == [
                "gan  1/4 kimg  ETA 0:30  100 images/s  loss 0.5",
                LONG.strip(),  # in one piece
            ]
            assert fleet_bar.startswith("[1/1] gan: train")
            assert re.search(r"elapsed 0:0\d  about 1:\d\d to go$", fleet_bar)
            assert training_bar.startswith("gan  training")
            assert training_bar.endswith("100 images/s  0:30 to go")
        shown_bars()._progress.refresh()
        assert not any("training" in line for line in screen(log.getvalue()))
    assert screen(log.getvalue()) == lines


def test_the_reading_of_pictures_has_a_bar_beside_the_fleet_s(log, monkeypatch):
    monkeypatch.setattr("atelier.ui.progress.SECONDS_BETWEEN_DRAWINGS", -1)
    with show_fleet([Stage("photos", "ingest")], terminal(log)) as fleet:
        with fleet.at("photos", "ingest"):
            for number in report_progress(range(3), "photos", 3):
                if number == 2:
                    shown_bars()._progress.refresh()
                    fleet_bar, reading_bar = screen(log.getvalue())
    assert fleet_bar.startswith("[1/1] photos: ingest")
    assert reading_bar.startswith("photos  reading pictures") and "2/3  0:00" in reading_bar


def test_while_other_processes_write_to_the_terminal_no_bar_is_drawn(log):
    with show_fleet([Stage("gan", "train")], terminal(log)) as fleet, fleet.at("gan", "train"):
        with hide_bars():
            logging.getLogger("atelier").info("above")
            log.write("a line of theirs\n")
            assert screen(log.getvalue()) == ["above", "a line of theirs"]
        *lines, bar = screen(log.getvalue())
        assert lines == ["above", "a line of theirs"] and bar.startswith("[1/1] gan: train")
    assert screen(log.getvalue()) == lines


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError])
def test_a_run_that_is_stopped_leaves_no_bar_and_the_log_as_it_was(log, stop):
    handler = logging.getLogger("atelier").handlers[0]
    with pytest.raises(stop), show_fleet([Stage("gan", "train")], terminal(log)) as fleet:
        with fleet.at("gan", "train"):
            Progress("gan").update(1000, {"loss": 0.5})
            raise stop
    assert shown_bars() is None and handler.stream is log
    assert screen(log.getvalue()) == ["gan  1 kimg  0 images/s  loss 0.5"]
    written = log.getvalue()
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")  # the cursor is seen again


def test_bars_are_only_drawn_where_there_is_something_to_do_and_a_terminal(log):
    with show_fleet([], terminal(log)), show_bars(find_terminal()) as bars:
        assert bars is None and shown_bars() is None
    assert log.getvalue() == ""


def version(**tags):
    return Version("cnn", 3, "run", "", (), tags)


@pytest.mark.parametrize(
    ("item", "verbs"),
    [
        (Item("cnn", "restoration", "fresh", version=version()), ""),
        (Item("photos", "dataset", "missing", (), "ingest"), "ingest"),
        (
            Item("cnn", "restoration", "stale", (), "train", seconds=60.0),
            "train evaluate inspect judge",
        ),
        (Item("cnn", "restoration", "stale", (), "judge", version()), "inspect judge"),
        (
            Item(
                "cnn",
                "restoration",
                "stale",
                (),
                "evaluate",
                version(verdict="kept", **{"blessing.infrastructure": "given"}),
            ),
            "evaluate",
        ),
    ],
)
def test_the_stages_of_a_plan_are_those_that_will_do_something(item, verbs):
    stages = stages_of([item])
    assert [stage.verb for stage in stages] == verbs.split()
    assert [stage.seconds for stage in stages if stage.verb == "train"] == (
        [item.seconds] if item.action == "train" else []
    )


def test_times_and_sizes_are_said_as_people_say_them():
    assert [about_seconds(s) for s in (0.2, 40, 89, 95, 720, 7800, 7200)] == [
        "1 s",
        "40 s",
        "89 s",
        "2 min",
        "12 min",
        "2 h 10 min",
        "2 h",
    ]
    assert [about_bytes(b) for b in (12, 3e5, 1.4e6, 1.4e8, 2.1e9)] == [
        "1 kB",
        "300 kB",
        "1.4 MB",
        "140 MB",
        "2.1 GB",
    ]
    assert [show_clock(s) for s in (0.4, 130, 3730)] == ["0:00", "2:10", "1:02:10"]
