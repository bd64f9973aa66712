"""Signals: a stop signal or the exit of the parent process sets the flag."""

import os
import signal
import subprocess
import sys

import pytest

from jobs.local.processes import PARENT_PID_VARIABLE
from jobs.node.signals import catch_stop_signals, parent_pid


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR2"])
def test_a_signal_only_sets_a_flag_and_the_former_handler_returns(name: str):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with catch_stop_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.signal == number
    assert signal.getsignal(number) == before


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows keeps the parent id of an exited process"
)
def test_a_process_whose_parent_has_exited_stops(monkeypatch):
    monkeypatch.setattr(os, "getppid", os.getpid)  # a parent that lives, and is not 1
    with catch_stop_signals(parent=os.getpid()) as stop:
        assert not stop()
        monkeypatch.setattr(os, "getppid", lambda: 1)  # the parent id of an orphan on Unix
        assert stop()


def test_a_child_behind_a_launcher_stops_with_the_process_that_started_its_task(monkeypatch):
    def ended_pid() -> int:
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        return child.pid

    monkeypatch.delenv(PARENT_PID_VARIABLE, raising=False)
    assert parent_pid() == os.getppid()
    monkeypatch.setenv(PARENT_PID_VARIABLE, str(os.getpid()))  # alive, and not the parent
    with catch_stop_signals(parent=parent_pid()) as stop:
        assert not stop()
    monkeypatch.setenv(PARENT_PID_VARIABLE, str(ended_pid()))
    with catch_stop_signals(parent=parent_pid()) as stop:
        assert stop()
