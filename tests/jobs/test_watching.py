"""Watching: the scheduler is asked ever more seldom while nothing happens."""

import io
from itertools import accumulate, pairwise, repeat

from rich.console import Console

from jobs import watching
from jobs.status import Queue, RunStatus
from jobs.wanted import SweepFolder, Wanted


def test_questions_come_at_half_a_minute_and_grow_to_three():
    waits = list(accumulate(repeat(None, 7), lambda wait, _: watching.longer(wait), initial=30.0))
    assert waits == [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 180.0, 180.0]
    assert waits[0] == watching.SECONDS_BETWEEN_QUESTIONS


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


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
    watching.watch(wanted, SweepFolder(tmp_path, "a"), once=False)
    between = [later - earlier for earlier, later in pairwise(asked)]
    assert asked[0] == 0
    assert between[:4] == [32, 62, 92, 122]  # 308 s: files are looked at each two seconds
    assert between[4:] == [94, 62, 92, 122, 152]  # the change at 400 s made it impatient again
    assert looks == 501


def test_one_look_is_one_question(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(watching.answers, "recent", lambda *_: asked.append(1) or Queue())
    wanted = Wanted("a", "", "a.yaml", "", (), ())
    watching.watch(wanted, SweepFolder(tmp_path, "a"), once=True)
    assert asked == [1]
