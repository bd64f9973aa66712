"""Measure: run the cases of a table in turn, round by round, each case in its own process.

In:   groups of cases.   Out: the rounds of each case: seconds, foreign CPU use, its numbers.
Not here: the work of a case (its maker), the judgement (judge.py).

Imports and the preparation by the maker are not timed; starting worker processes is. The speed of
the machine changes, so the cases take turns, and each round begins with another case.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.benchmarks.judge import BenchmarkTarget, Round, Rounds

REPOSITORY = Path(__file__).resolve().parents[2]
PEER_MODULES = ("lhotse", "librosa", "speechbrain")
CHILD_EXIT_TIMEOUT_S = 30  # after the last round
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # because the worker processes share the cores


@dataclass(frozen=True)
class Case:
    name: str
    maker: str  # module:function in tests.benchmarks; see child.py
    settings: Mapping[str, Any] = field(default_factory=dict)
    amount: float = 1.0  # of work, in the group's unit; a job may return its own amount
    needs: str | None = None  # module of another tool, which may be absent
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseGroup:
    title: str
    unit: str  # of the cases' amounts
    cases: Sequence[Case]
    targets: Sequence[BenchmarkTarget] = ()
    warm_up: bool = True  # run each case once unmeasured


class CaseError(Exception):
    """The process of a case ended early; the text is the end of what it printed."""


def missing_peers() -> list[str]:
    return [name for name in PEER_MODULES if importlib.util.find_spec(name) is None]


def measure_group(
    group: CaseGroup, rounds: int, skip: Sequence[str] = ()
) -> tuple[Rounds, list[str]]:
    """Return the rounds of each case, and one line for each case of another tool that failed."""
    cases = [case for case in group.cases if case.needs not in skip]
    found: dict[str, list[Round]] = {case.name: [] for case in cases}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        children = [(case, stack.enter_context(_case_process(case))) for case in cases]
        for number in range(-1 if group.warm_up else 0, rounds):
            first = number % max(1, len(cases))
            for case, child in (*children[first:], *children[:first]):
                if case.name in failed:
                    continue
                try:
                    answer = {"amount": case.amount, **child.run_round()}
                except CaseError as error:
                    if case.needs is None:
                        raise
                    failed[case.name] = f"{case.name} failed: {error}"
                    continue
                if number >= 0:
                    found[case.name].append(answer)
    kept = {name: rounds for name, rounds in found.items() if name not in failed}
    return kept, list(failed.values())


class _CaseProcess:
    def __init__(self, case: Case, errors: IO[bytes]) -> None:
        self._errors = errors
        self._ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.child", case.maker, json.dumps(case.settings)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **ONE_THREAD, **case.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

    def run_round(self) -> Round:
        if not self._ready:  # first here, so that all processes start at the same time
            self._receive()
            self._ready = True
        self._send(b"run\n")
        answer: Round = self._receive()
        return answer

    def _send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            raise CaseError(" | ".join(lines[-3:]) or "the process ended without a message")
        return json.loads(line)


@contextmanager
def _case_process(case: Case) -> Iterator[_CaseProcess]:
    with tempfile.TemporaryFile() as errors:
        child = _CaseProcess(case, errors)
        try:
            yield child
        finally:
            assert child.process.stdin is not None
            assert child.process.stdout is not None
            with suppress(BrokenPipeError):
                child.process.stdin.close()  # ends the process
            try:
                child.process.wait(CHILD_EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.process.stdout.close()
