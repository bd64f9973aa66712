"""Messages: words that are written from right to left do not reverse the line around them."""

import sys

import pytest

from jobs import messages


def test_a_label_from_right_to_left_is_isolated_in_a_terminal():
    line = "best on dev: שלום עולם, test CER 4.1 %; better than قوة by 2.0 points"
    isolated = messages.isolate_rtl(line)
    assert isolated == (
        "\u200ebest on dev: \u2068שלום עולם\u2069, test CER 4.1 %; better than \u2068قوة\u2069 by "
        "2.0 points"
    )


@pytest.mark.parametrize("line", ["mel, seed 0", "şarkı: 4,1 %", "日本語 80", ""])
def test_other_lines_stay_as_they_are(line: str):
    assert messages.isolate_rtl(line) == line


def test_a_pipe_gets_the_label_as_it_is(capsys: pytest.CaptureFixture[str]):
    assert not sys.stdout.isatty()
    messages.print_line("שלום: finished")
    assert capsys.readouterr().out == "שלום: finished\n"


def test_a_notebook_is_no_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert messages.in_terminal()
    monkeypatch.setenv("JPY_PARENT_PID", "123")  # as a cell with !make inherits it
    assert not messages.in_terminal()
