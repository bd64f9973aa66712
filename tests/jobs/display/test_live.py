"""Watching: lines of epochs that have ended; the scheduler is asked ever more seldom."""

import io
from itertools import accumulate, pairwise, repeat

import pytest
from rich.console import Console

from jobs.display import live, run_table
from jobs.sweep.folder import SweepFolder
from jobs.sweep.job_queue import Queue
from jobs.sweep.record import PlannedRun, SweepRecord
from jobs.sweep.run_status import RunStatus
from pipeline.runs.folder import Heartbeat
from tests.jobs.conftest import FakeClock
from tests.results.examples import RunScenario, make_rows


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (30.0, [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 180.0]),
        (70.0, [70.0, 140.0, 180.0, 180.0, 180.0, 180.0, 180.0]),
        (200.0, [200.0] * 7),
    ],
)
def test_questions_come_ever_more_seldom_but_never_sooner_than_the_profile_says(least, expected):
    waits = accumulate(
        repeat(None, 6), lambda wait, _: live.next_poll_interval(wait, least), initial=least
    )
    assert list(waits) == expected


def test_the_live_view_asks_more_seldom_until_something_changes(tmp_path, monkeypatch):
    clock, asked, looks = FakeClock(), [], 0
    states = {0: "queued", 400: "running", 1000: "finished"}  # seconds -> state from then on

    def ask(*_: object) -> Queue:
        asked.append(clock.now - 1000.0)
        return Queue()

    def survey(*_: object) -> list[RunStatus]:
        nonlocal looks
        looks += 1
        state = max(second for second in states if clock.now - 1000.0 >= second)
        return [RunStatus("a", "0" * 12, states[state])]

    for name, fake in (("get_queue", ask), ("refresh_queue", ask)):
        monkeypatch.setattr(live.queue_cache, name, fake)
    monkeypatch.setattr(live.run_status, "run_statuses", survey)
    monkeypatch.setattr(live, "time", clock)
    monkeypatch.setattr(live, "in_terminal", lambda: True)
    terminal = Console(force_terminal=True, file=io.StringIO())
    monkeypatch.setattr(run_table, "console", lambda: terminal)
    monkeypatch.setattr(live, "console", lambda: terminal)
    wanted = SweepRecord("a", "", "a.yaml", "", (), ())
    live.watch(wanted, SweepFolder(tmp_path, "a"), 30.0, once=False)
    between = [later - earlier for earlier, later in pairwise(asked)]
    assert asked[0] == 0
    assert between[:4] == [32, 62, 92, 122]  # 308 s: files are looked at each two seconds
    assert between[4:] == [94, 62, 92, 122, 152]  # the change at 400 s made it impatient again
    assert looks == 501


def test_one_look_is_one_question(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(live.queue_cache, "get_queue", lambda *_: asked.append(1) or Queue())
    wanted = SweepRecord("a", "", "a.yaml", "", (), ())
    live.watch(wanted, SweepFolder(tmp_path, "a"), 30.0, once=True)
    assert asked == [1]


def test_a_line_has_the_values_of_the_epoch_that_it_names_the_last_one_too(tmp_path, capsys):
    folder, course = SweepFolder(tmp_path, "a"), RunScenario()
    run, *others = (folder.run(name * 12) for name in "12")
    wanted = SweepRecord("a", "", "a.yaml", "", (*_wanted(run), *_wanted(*others)), ())
    watcher = live.Watcher(wanted, folder, Queue(), runs=True)
    every = list(make_rows(run.run_id, course, 3))

    def look(epoch: int, ended: int, dev_cer: float = 1.0) -> list[str]:
        run.restore_rows(every[: 2 * ended])
        run.write_heartbeat(
            Heartbeat(epoch=epoch, epochs=3, loss_per_character=9.99, dev_cer=dev_cer)
        )
        if ended == 3:
            run.finish([])
        watcher._next_refresh = 0.0
        watcher.refresh()
        return capsys.readouterr().out.splitlines()

    _, dev_1, _, _, train_3, dev_3 = every
    assert look(1, 0) == []
    (first,) = look(2, 1)
    assert first.startswith("11: epoch 1 of 3, train loss ")
    assert f", dev loss {dev_1['loss_per_character']:.2f} against 3.02, " in first
    assert look(3, 2) == []  # so soon after it
    last, ended = look(3, 3, dev_3["cer"])
    assert last.startswith(
        f"11: epoch 3 of 3, train loss {train_3['loss_per_character']:.2f} against 3.02, "
        f"dev loss {dev_3['loss_per_character']:.2f} against 3.02, dev CER 100.0 %, blank "
    )
    assert ended == "11: finished, dev CER 100.0 %"


def test_a_run_that_is_resumed_says_where_and_repeats_no_line(tmp_path, capsys):
    folder, course = SweepFolder(tmp_path, "a"), RunScenario()
    run = folder.run("1" * 12)
    run.restore_rows(list(make_rows(run.run_id, course, 5)))
    beat = Heartbeat(epoch=5, epochs=20, dev_cer=1.0, status="stopped")
    run.write_heartbeat(beat)
    watcher = live.Watcher(
        SweepRecord("a", "", "", "", _wanted(run), ()), folder, Queue(), runs=True
    )

    def look(beat: Heartbeat) -> list[str]:
        run.write_heartbeat(beat)
        watcher._next_refresh = 0.0
        watcher.refresh()
        return capsys.readouterr().out.splitlines()

    assert look(beat) == []
    assert look(beat.with_this_process("running", "reading frames")) == [
        "11: running: reading frames"
    ]
    assert look(beat.with_this_process("running")) == ["11: goes on from epoch 6"]
    assert look(beat.with_this_process("running")) == []


def _wanted(*runs) -> tuple[PlannedRun, ...]:
    return tuple(PlannedRun(run.run_id[:2], {}, run.run_id, "") for run in runs)
