"""Watching: the scheduler is asked ever more seldom while nothing happens."""

from itertools import accumulate, repeat

from jobs import watching


def test_questions_come_at_half_a_minute_and_grow_to_three():
    waits = list(accumulate(repeat(None, 7), lambda wait, _: watching.longer(wait), initial=30.0))
    assert waits == [30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 180.0, 180.0]
    assert waits[0] == watching.SECONDS_BETWEEN_QUESTIONS
