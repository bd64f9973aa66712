"""Origin: the run that another run starts from: with train.init, or with fewer epochs.

In:   an experiment, its feature set's id, a run folder among others.
Out:  an `Origin`; its sentence, which is kept in the run folder.
Not here: loading weights and states (training/loop/checkpoint.py).

A run with more epochs than a finished one is another run, with another identity. Where the
learning rate does not depend on the number of epochs, both agree up to the shorter one's end, so
the longer one continues from there, to the same bits.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.experiment import Experiment
from pipeline.config.identity import shorter_run_ids
from pipeline.files import InputError, write_text
from pipeline.runs.folder import RunFolder

EPOCH_FREE_SCHEDULES = ("constant", "plateau")  # their rate does not depend on train.epochs


@dataclass(frozen=True)
class Origin:
    """A finished run that differs in train.epochs only, the longest one that is shorter."""

    run: RunFolder
    epochs: int
    schedule: str

    @property
    def can_be_continued(self) -> bool:
        return self.schedule in EPOCH_FREE_SCHEDULES

    def sentence(self, *, continued: bool) -> str:
        """Return what it means for the longer run, which was continued from this one or not."""
        name = f"run {self.run.run_id}"
        if continued:
            return f"continues {name} after epoch {self.epochs}, its last one"
        if self.can_be_continued:
            return f"starts anew: the last state of {name} is damaged or of an earlier version"
        return (
            f"starts anew: train.schedule {self.schedule} spreads the learning rate over "
            f"train.epochs, so its first {self.epochs} epochs are not those of {name}"
        )


def find_shorter_run(experiment: Experiment, feature_id: str, runs: Path) -> Origin | None:
    names = {path.name for path in runs.iterdir()} if runs.is_dir() else set[str]()
    for epochs, name in shorter_run_ids(experiment, feature_id):
        if name in names and (found := RunFolder(runs / name)).finished:
            return Origin(found, epochs, experiment.train.schedule)
    return None


def find_source_run(init: str, runs: Path) -> RunFolder:
    """Return the run that train.init names; InputError where it cannot be used."""
    source = RunFolder(runs / init.removeprefix("run:"))
    if not source.path.is_dir():
        raise InputError(f"train.init: {init}: there is no such run in {runs}")
    if not source.finished:
        raise InputError(
            f"train.init: {init}: that run is not finished, or its files have changed; finish it "
            "with make train or make sweep"
        )
    return source


def has_same_letters(source: RunFolder, run: RunFolder) -> bool:
    """Whether the output classes of both runs are the same letters in the same order."""
    files = [folder.path / "alphabet.txt" for folder in (source, run)]
    return files[0].is_file() and files[0].read_bytes() == files[1].read_bytes()


def write_sentence(run: RunFolder, sentence: str) -> None:
    write_text(run.path / "origin.txt", f"{sentence}\n")


def read_sentence(run: RunFolder) -> str:
    """Return how the run began; empty if from random weights."""
    try:
        return (run.path / "origin.txt").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
