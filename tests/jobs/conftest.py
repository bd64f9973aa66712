"""A fake scheduler, made of small scripts on PATH; a project with a tiny corpus and sweep."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.launch import entrypoint
from jobs.local import executor
from jobs.local.executor import ExitStatus
from jobs.node.signals import StopRequest
from jobs.sweep.folder import SweepFolder

FakeCommand = Callable[..., Path]


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    """`fake_slurm("squeue", "text")` installs a command that prints it and logs its arguments.

    Commands of SLURM that are not installed so are not found, even where this machine has them.
    """
    if sys.platform == "win32":
        pytest.skip("the fake commands are shell scripts")
    monkeypatch.setattr("jobs.slurm.reasons.RETRY_DELAYS_S", (0.01, 0.02))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def answer(command: str, prints: str = "", *, complains: str = "", code: int = 0) -> Path:
        calls = tmp_path / f"{command}.calls"
        script = folder / command
        script.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> {shlex.quote(str(calls))}\n'
            f"printf %s {shlex.quote(prints)}\n"
            f"printf %s {shlex.quote(complains)} >&2\n"
            f"exit {code}\n"
        )
        script.chmod(0o755)
        return calls

    return answer


class FakeClock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def run_tasks_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tasks in the process of the tests, which has already imported torch.

    Tests of child processes are in test_executor.py and test_reconcile.py.
    """

    def run_in_process(files: Sequence[Path], *words: object) -> None:
        *_, ended = words
        for file in files:
            ended(ExitStatus(file, entrypoint.execute_task(file, StopRequest())))

    monkeypatch.setattr(executor, "run_tasks", run_in_process)


AN4_SPEAKERS = ("faaa", "fbbb", "maaa", "mbbb")
TRANSCRIPTS = ("YES", "NO", "GO SIX")
CORPUS_FILES = {
    "demo": "reader: demo\nminutes: 0.5\nvoices: 6\n",
    "an4": "reader: an4\nroot: {root}\n",
    "csv": "reader: csv\nroot: {root}\nparts: {{drawn: [list.csv]}}\n",
}
CONFIG_FILES = {
    "experiments/tiny.yaml": "corpus: ../corpora/tiny.yaml\n"
    "model: {{fc1: 8, fc2: 8, hidden: 8}}\n"
    "train: {{epochs: {epochs}, batch: 4}}\n",
    "sweeps/tiny.yaml": "# Question: which spectrum?\nbase: ../experiments/tiny.yaml\n"
    "axes:\n  features.spectrum: [power, mel]\n",
}


@dataclass(frozen=True)
class TinyProject:
    """A tiny corpus, a sweep of two tiny runs on it, a work folder."""

    corpus: Path
    configs: Path
    work: Path

    @property
    def sweep_file(self) -> Path:
        return self.configs / "sweeps" / "tiny.yaml"

    @property
    def sweep_folder(self) -> SweepFolder:
        return SweepFolder(self.work, "tiny")

    def wav_path(self, utterance: str) -> Path:
        """Return the file of an utterance, such as faaa-an0-b, in AN4's layout."""
        speaker, prefix, suffix = utterance.split("-")
        name = f"{prefix}-{speaker}-{suffix}.wav"
        return self.corpus / "wav" / "an4_clstk" / speaker / name

    def replace_transcript(self, utterance: str, words: str) -> None:
        """Replace a transcript."""
        name = self.wav_path(utterance).stem
        path = self.corpus / "etc" / "an4_train.transcription"
        lines = path.read_text("utf-8").splitlines()
        changed = [f"<s> {words} </s> ({name})" if f"({name})" in each else each for each in lines]
        path.write_text("\n".join(changed) + "\n", "utf-8")


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., TinyProject]:
    return lambda *words, **options: create_project(tmp_path, *words, **options)


def create_project(folder: Path, reader: str = "demo", epochs: int = 2) -> TinyProject:
    project = TinyProject(folder / "an4", folder / "configs", folder / "work")
    if reader == "an4":
        _write_an4_corpus(project.corpus)
    if reader == "csv":
        _write_csv_corpus(project.corpus)
    for name, text in {"corpora/tiny.yaml": CORPUS_FILES[reader], **CONFIG_FILES}.items():
        path = project.configs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(root=project.corpus, epochs=epochs))
    return project


def _write_an4_corpus(root: Path) -> None:
    """Three utterances of four speakers in AN4's layout; two of the speakers are the test set."""
    generator = np.random.default_rng(0)
    for kind, speakers in (("train", AN4_SPEAKERS[::2]), ("test", AN4_SPEAKERS[1::2])):
        folder = "an4_clstk" if kind == "train" else "an4test_clstk"
        ids, lines = [], []
        for speaker in speakers:
            for number, words in enumerate(TRANSCRIPTS):
                name = f"an{number}-{speaker}-b"
                path = root / "wav" / folder / speaker / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = generator.normal(0, 3000, 16_000).astype(np.int16)
                soundfile.write(path, noise, 16_000)
                ids.append(f"{folder}/{speaker}/{name}")
                lines.append(f"<s> {words} </s> ({name})")
        (root / "etc").mkdir(exist_ok=True)
        (root / "etc" / f"an4_{kind}.fileids").write_text("\n".join(ids) + "\n")
        (root / "etc" / f"an4_{kind}.transcription").write_text("\n".join(lines) + "\n")


def _write_csv_corpus(root: Path) -> None:
    """Twelve utterances of four speakers; the sound of one more is not sound."""
    generator = np.random.default_rng(0)
    root.mkdir()
    lines = ["audio,text,speaker", "broken.wav,NO,faaa"]
    for number in range(12):
        noise = generator.normal(0, 3000, 16_000).astype(np.int16)
        soundfile.write(root / f"u{number}.wav", noise, 16_000)
        lines.append(f"u{number}.wav,{TRANSCRIPTS[number % 3]},{AN4_SPEAKERS[number % 4]}")
    (root / "broken.wav").write_bytes(b"no sound")
    (root / "list.csv").write_text("\n".join(lines) + "\n", "utf-8")
