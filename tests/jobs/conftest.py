"""A scheduler that is a folder of small scripts on PATH."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Answer = Callable[..., Path]


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """`fake_slurm("squeue", "text")`: that command prints it, and notes what it was asked.

    No other command of SLURM is to be found, whatever this machine has.
    """
    if sys.platform == "win32":
        pytest.skip("the fake commands are shell scripts")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def answer(command: str, prints: str = "", *, complains: str = "", code: int = 0) -> Path:
        asked = tmp_path / f"{command}.asked"
        script = folder / command
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> {shlex.quote(str(asked))}\n'
            f"printf %s {shlex.quote(prints)}\n"
            f"printf %s {shlex.quote(complains)} >&2\n"
            f"exit {code}\n"
        )
        script.chmod(0o755)
        return asked

    return answer
