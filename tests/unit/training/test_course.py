import math
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from atelier.errors import TrainingError
from atelier.params import Training
from atelier.training.checkpoint import Checkpoints
from atelier.training.course import Course
from atelier.training.interruption import Stopped, StopSignals
from atelier.training.outcome import Outcome
from atelier.training.schedules import learning_rate
from atelier.training.session import Session, adam
from tests.support.tiny import ignore

CPU = torch.device("cpu")
TRAINING = {
    "kimg": 1.0,
    "batch_size": 50,
    "lr": 0.5,
    "warmup_kimg": 0.1,
    "checkpoint_every_kimg": 0.1,
}


class Setting:
    """A network of one weight on its course; what it logs and notes is kept."""

    def __init__(self, folder, optimizer=torch.optim.SGD, **changes):
        self.training = Training(**{**TRAINING, **changes})
        self.network = nn.Linear(1, 1, bias=False)
        self.network.weight.data.fill_(1.0)
        self.optimizer = optimizer(self.network.parameters(), lr=0.5)
        self.logged, self.notes, self.stop = {}, [], False
        self.checkpoints = Checkpoints(Path(folder), "f")
        session = Session(
            CPU,
            seed=0,
            checkpoints=self.checkpoints,
            on_log=self.logged.__setitem__,
            on_sample=lambda images_seen, x_BCHW: None,
            on_note=lambda images_seen, note: self.notes.append((images_seen, note)),
            stop_requested=lambda: self.stop,
        )
        parts = {"network": self.network, "optimizer": self.optimizer}
        self.course = Course(session, self.training, parts, torch.Generator())
        self.course.open()

    @property
    def weight(self):
        return self.network.weight.item()

    def minimise(self, factor=1.0):
        """A step on factor * weight."""
        objective = lambda x_B1: Outcome(self.network(x_B1).mean())  # noqa: E731
        return self.course.minimise(
            "the loss", self.optimizer, objective, torch.full((4, 1), factor)
        )

    def step(self, factor=1.0, loss=None):
        def one_step(at):
            self.minimise(factor)
            if loss is not None:
                self.course.log({"loss": loss})

        self.course.step(one_step)


def test_a_step_follows_the_schedule_and_its_own_gradient_only(tmp_path):
    setting = Setting(tmp_path)
    for start in range(0, 1000, 50):
        before = setting.weight
        assert setting.course.goes_on()
        setting.step()
        assert before - setting.weight == pytest.approx(
            learning_rate(0.5, start, 1000, 100), rel=1e-4
        )
    assert not setting.course.goes_on()


def test_a_batch_in_parts_gives_the_same_step_as_in_one(tmp_path):
    whole, parts = Setting(tmp_path / "a"), Setting(tmp_path / "b", batch_size=48, accumulate=3)
    for setting in (whole, parts):
        x_B1 = torch.arange(12.0)[:, None]
        sizes = []
        outcomes = []

        def objective(x_B1, sizes=sizes, network=setting.network):
            sizes.append(len(x_B1))
            return Outcome(network(x_B1).square().mean(), {"rows": x_B1.flatten()})

        def one_step(at, setting=setting, objective=objective, x_B1=x_B1, outcomes=outcomes):
            outcomes.append(setting.course.minimise("the loss", setting.optimizer, objective, x_B1))

        setting.course.step(one_step)
        assert outcomes[0].loss.item() == pytest.approx(x_B1.square().mean().item())
        assert not outcomes[0].loss.requires_grad
        assert outcomes[0].kept["rows"].tolist() == x_B1.flatten().tolist()
        assert sizes == [12 // setting.training.accumulate] * setting.training.accumulate
    assert parts.weight == pytest.approx(whole.weight, rel=1e-6)


@pytest.mark.parametrize(("limit", "length"), [(None, 8.0), (100.0, 8.0), (0.5, 0.5)])
def test_gradients_are_no_longer_than_their_limit(tmp_path, limit, length):
    setting = Setting(tmp_path, clip_gradients=limit, warmup_kimg=0.0)
    setting.step(8.0)
    assert (1.0 - setting.weight) / 0.5 == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_sends_the_training_back_at_half_the_rate(tmp_path, bad):
    setting = Setting(tmp_path)
    for _ in range(4):
        setting.step()
    at_checkpoint = setting.weight  # of 200 images
    setting.step()
    setting.step(bad)
    assert setting.weight == at_checkpoint
    assert setting.course.images_seen == 200
    ((images_seen, note),) = setting.notes
    assert images_seen == 250
    assert re.fullmatch(
        rf"the loss became -?{abs(bad)} after 0.2 kimg: back to 0.2 kimg, on at 0.5 times .*", note
    )
    setting.step()
    assert at_checkpoint - setting.weight == pytest.approx(
        learning_rate(0.5, 200, 1000, 100) / 2, rel=1e-4
    )


def test_a_failed_step_ends_where_it_failed_and_the_run_goes_on_from_the_checkpoint(tmp_path):
    setting = Setting(tmp_path)
    began = []
    finished = []

    def one_step(at):
        began.append(at.before)
        failing = at.before == 250 and not setting.notes
        setting.minimise(math.nan if failing else 1.0)
        finished.append(at)

    setting.course.run(one_step)
    assert began == [*range(0, 300, 50), *range(200, 1000, 50)]
    assert [at.before for at in finished] == [*range(0, 250, 50), *range(200, 1000, 50)]
    assert all(at.after == at.before + 50 for at in finished)


def test_nothing_is_read_or_written_before_the_course_is_opened(tmp_path):
    setting = Setting(tmp_path / "opened")
    assert setting.checkpoints.load()["images_seen"] == 0
    session = Session(CPU, 0, Checkpoints(tmp_path / "shut", "f"), ignore, ignore)
    course = Course(session, setting.training, {}, torch.Generator())
    assert not (tmp_path / "shut").exists()
    with pytest.raises(AssertionError, match="open the course first"):
        course.run(ignore)


def test_a_training_that_fails_again_and_again_ends_with_the_reason(tmp_path):
    setting = Setting(tmp_path)
    for _ in range(3):
        setting.step(math.nan)
    assert [note for _, note in setting.notes] == [
        f"the loss became nan after 0.0 kimg: back to 0.0 kimg, on at {rate} times the learning "
        "rate"
        for rate in (0.5, 0.25, 0.125)
    ]
    with pytest.raises(
        TrainingError,
        match=r"^the loss became nan after 0\.0 kimg, at 0\.125 .* Lower training\.lr\.$",
    ):
        setting.step(math.nan)
    assert setting.checkpoints.load()["images_seen"] == 0


def test_weights_that_became_infinite_never_replace_a_good_checkpoint(tmp_path):
    setting = Setting(tmp_path)
    setting.step()
    # What a finite loss with an infinite gradient does.
    setting.course.step(lambda at: setting.network.weight.data.fill_(math.inf))
    assert setting.weight == 1.0
    assert "a weight of network became NaN or infinite" in setting.notes[0][1]


def test_weights_that_break_in_the_last_step_are_not_the_result(tmp_path):
    setting = Setting(tmp_path, checkpoint_every_kimg=0.3)

    def one_step(at):
        if at.before == 950 and not setting.notes:
            setting.network.weight.data.fill_(math.inf)

    setting.course.run(one_step)
    assert len(setting.notes) == 1
    assert setting.weight == 1.0
    assert setting.checkpoints.load()["images_seen"] == 1000


def test_going_back_neither_forgets_nor_doubles_the_time_that_was_used(tmp_path):
    setting = Setting(tmp_path)
    began = time.process_time()
    for factor in (1.0, math.nan, math.nan, 1.0):
        while time.process_time() - began < 0.2:
            pass
        setting.step(factor, loss=1.0)
    used = 60 * setting.logged[setting.course.images_seen]["minutes"]
    assert 0.2 < used <= time.process_time() - began + 0.05


def test_a_training_killed_after_it_went_back_goes_on_alike(tmp_path):
    def finish(setting, num_failures):
        while setting.course.goes_on():
            failing = setting.course.images_seen == 350 and len(setting.notes) < num_failures
            setting.step(math.nan if failing else 1.0)
        return setting.weight

    whole = finish(Setting(tmp_path / "whole", optimizer=torch.optim.Adam), 2)
    cut = Setting(tmp_path / "cut", optimizer=torch.optim.Adam)
    while len(cut.notes) < 2:
        cut.step(math.nan if cut.course.images_seen == 350 else 1.0)
    assert finish(Setting(tmp_path / "cut", optimizer=torch.optim.Adam), 0) == whole


def test_a_training_that_is_asked_to_stop_writes_a_checkpoint_first(tmp_path):
    setting = Setting(tmp_path)
    setting.step()
    setting.stop = True
    with pytest.raises(Stopped):
        setting.step()
    weight = setting.weight
    again = Setting(tmp_path)
    assert again.course.images_seen == 100
    assert again.weight == weight


def test_a_budget_in_minutes_becomes_images_once_the_speed_is_known(tmp_path):
    setting = Setting(tmp_path, kimg=None, minutes=0.02, batch_size=1)
    seconds = []
    while setting.course.goes_on():
        setting.step(loss=1.0)
        seconds.append(60 * setting.logged[setting.course.images_seen]["minutes"])
    lengths = {values["total_kimg"] for values in setting.logged.values() if "total_kimg" in values}
    assert lengths == {setting.course.images_seen / 1000}
    assert 0.6 < seconds[-1] < 2.4
    known = next(
        index for index, values in enumerate(setting.logged.values()) if "total_kimg" in values
    )
    assert 0.05 * 1.2 <= seconds[known] < 0.5
    resumed = Setting(tmp_path, kimg=None, minutes=0.02, batch_size=1)
    resumed.step(loss=1.0)
    assert {values["total_kimg"] for values in resumed.logged.values()} == lengths


def test_a_warm_up_longer_than_the_training_is_half_of_it(tmp_path):
    setting = Setting(tmp_path, warmup_kimg=3.0)
    rates = []
    while setting.course.goes_on():
        setting.step(loss=1.0)
        rates.append(setting.logged[setting.course.images_seen]["lr"])
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) == len(rates) // 2


def test_the_last_step_is_due_for_everything_however_long_the_rhythm(tmp_path):
    setting = Setting(tmp_path)
    due = []
    setting.course.run(lambda at: due.append(setting.course.is_due(1000.0)))
    assert due == [False] * 19 + [True]


def test_a_budget_in_minutes_that_one_step_exceeds_has_a_last_step_too(tmp_path):
    setting = Setting(tmp_path, kimg=None, minutes=1e-9, batch_size=1)
    due = []
    setting.course.run(lambda at: due.append(setting.course.is_due(1000.0)))
    assert due == [False, True]


@pytest.mark.parametrize(
    ("metric", "healthy", "bad", "meaning"),
    [
        ("loss", 1.0, 11.0, "divergence"),
        ("logits", 5.0, 1e5, "divergence"),
        ("g_signal", 0.5, 1e-3, "discriminator saturation"),
        ("d_signal", 0.5, 1e-6, "discriminator saturation"),
        ("diversity", 1.0, 0.01, "mode collapse"),
        ("class_balance", 1.0, 0.1, "mode collapse"),
    ],
)
def test_a_hopeless_training_is_ended_once_its_sign_has_lasted(
    tmp_path, metric, healthy, bad, meaning
):
    def logged(setting, value):
        setting.course.step(lambda at: setting.course.log({metric: value}))

    long = {"kimg": 100.0, "batch_size": 5000, "checkpoint_every_kimg": 10.0}
    setting = Setting(tmp_path, **long)
    for value in (healthy, bad, bad, bad, healthy, bad):  # never for 15 kimg without a break
        logged(setting, value)
    setting = Setting(tmp_path, **long)  # killed in between: the checkpoint of 30 kimg remembers
    for _ in range(2):
        logged(setting, bad)
    with pytest.raises(
        TrainingError,
        match=rf"^stopped after 45\.0 kimg, {metric} = .* since 30\.0 kimg: {meaning}: ",
    ):
        logged(setting, bad)


def test_a_signal_waits_until_it_may_be_delivered():
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with StopSignals() as signals:
            assert not signals.requested()
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.requested()
            assert received == []
        assert received == [signal.SIGTERM]
        with StopSignals(deliver=False):
            os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_second_ctrl_c_is_not_held_back():
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.requested()
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second one did not come through")


def test_other_threads_keep_the_signals_as_they_are():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopSignals() as signals:
            seen.append((signals.requested(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_adam_is_fused():
    assert adam(nn.Linear(1, 1), Training(**TRAINING)).defaults["fused"]
