"""Watching: the scheduler is asked ever more seldom while nothing happens."""

import io
from itertools import accumulate, pairwise, repeat

import pytest
from rich.console import Console

from jobs import watching
from jobs.status import Queue, RunStatus
from jobs.wanted import SweepFolder, Wanted
from tests.jobs.conftest import Clock


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (30.0, [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 180.0]),
        (70.0, [70.0, 140.0, 180.0, 180.0, 180.0, 180.0, 180.0]),
        (200.0, [200.0] * 7),
    ],
)
def test_questions_come_ever_more_seldom_but_never_sooner_than_the_profile_says(least, expected):
    waits = accumulate(repeat(None, 6), lambda wait, _: watching.longer(wait, least), initial=least)
    assert list(waits) == expected


def test_the_live_view_asks_more_seldom_until_something_changes(tmp_path, monkeypatch):
    clock, asked, looks = Clock(), [], 0
    states = {0: "queued", 400: "running", 1000: "finished"}  # seconds -> state from then on

    def ask(*_: object) -> Queue:
        asked.append(clock.now - 1000.0)
        return Queue()

    def survey(*_: object) -> list[RunStatus]:
        nonlocal looks
        looks += 1
        state = max(second for second in states if clock.now - 1000.0 >= second)
        return [RunStatus("a", "0" * 12, states[state])]

    for name, fake in (("recent", ask), ("ask", ask)):
        monkeypatch.setattr(watching.answers, name, fake)
    monkeypatch.setattr(watching.status, "survey", survey)
    monkeypatch.setattr(watching, "time", clock)
    monkeypatch.setattr(watching, "console", Console(force_terminal=True, file=io.StringIO()))
    wanted = Wanted("a", "", "a.yaml", "", (), ())
    watching.watch(wanted, SweepFolder(tmp_path, "a"), 30.0, once=False)
    between = [later - earlier for earlier, later in pairwise(asked)]
    assert asked[0] == 0
    assert between[:4] == [32, 62, 92, 122]  # 308 s: files are looked at each two seconds
    assert between[4:] == [94, 62, 92, 122, 152]  # the change at 400 s made it impatient again
    assert looks == 501


def test_one_look_is_one_question(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(watching.answers, "recent", lambda *_: asked.append(1) or Queue())
    wanted = Wanted("a", "", "a.yaml", "", (), ())
    watching.watch(wanted, SweepFolder(tmp_path, "a"), 30.0, once=True)
    assert asked == [1]
