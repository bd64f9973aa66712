"""What a sweep wants of a work folder: manifests, feature sets, runs, with their identities.

In:   a sweep.   Out: `Wanted`, stored in the `SweepFolder`, so that status and report know
the sweep without reading any audio.
Not here: what of it is there already (status.py), what to do about it (plan.py).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

from jobs.ledger import Entry, Ledger
from jobs.plan import Run
from jobs.profile import Profile, typed_again
from pipeline.config import FeatureSettings, feature_id, run_id
from pipeline.corpora import Corpus
from pipeline.corpus.manifest import Manifest, require_enough, require_letters
from pipeline.corpus.text import alphabet
from pipeline.files import InputError, digest, read_json, write_json
from pipeline.sweep import Sweep
from pipeline.training.run import RunFolder
from pipeline.values import dataclass

Found = Mapping[Corpus, Manifest]


@dataclass(frozen=True)
class WantedRun:
    label: str
    settings: dict[str, Any]  # swept dotted keys -> values
    run_id: str
    feature_id: str

    @property
    def run(self) -> Run:
        return Run(self.run_id, self.feature_id)


@dataclass(frozen=True)
class WantedFeatures:
    feature_id: str
    manifest: str  # path of the file
    slices: int
    seconds: float  # of speech


@dataclass(frozen=True)
class Wanted:
    name: str
    question: str
    path: str  # of the sweep file
    digest: str  # of labels and experiments: whether the file has changed since
    runs: tuple[WantedRun, ...]
    features: tuple[WantedFeatures, ...]
    sources: dict[str, str] = field(default_factory=dict)  # settings file -> digest of its bytes
    changes: dict[str, Any] = field(default_factory=dict)  # of SET

    @property
    def sweep(self) -> str:
        """SWEEP=… that finds it: its file, or its name where the file is an experiment's."""
        return self.path if Path(self.path).stem == self.name else self.name

    @property
    def command(self) -> str:
        """What was typed, and continues it."""
        if self.sweep == self.path:
            return f"make sweep SWEEP={quote(self.path)}"
        kind = "train EXPERIMENT" if self.runs else "features CORPUS"
        return f"make {kind}={quote(self.path)}"


def stem_of(said: str | Path) -> str:
    """A sweep's or a corpus's name, of its file or as it is."""
    path = Path(said)
    return path.stem if path.suffix in {".yaml", ".yml"} else path.name


@dataclass(frozen=True)
class SweepFolder:
    """`work/sweeps/<sweep>/`."""

    work: Path
    name: str

    @property
    def path(self) -> Path:
        return self.work / "sweeps" / self.name

    @property
    def record(self) -> Path:
        return self.path / "sweep.json"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path / "ledger.jsonl")

    def attempts(self) -> dict[str, list[Entry]]:
        """Item -> the tasks that were to make it, of whichever sweep: sweeps share runs."""
        ledgers = sorted(self.path.parent.glob("*/ledger.jsonl"))
        entries = (entry for path in ledgers for entry in Ledger(path).entries())
        found: dict[str, list[Entry]] = {}
        for entry in sorted(entries, key=lambda entry: entry.time):
            for item in entry.items:
                found.setdefault(item, []).append(entry)
        return found

    def latest(self) -> dict[str, Entry]:
        """Item -> the last of its tasks."""
        return {item: entries[-1] for item, entries in self.attempts().items()}

    @property
    def tasks(self) -> Path:
        return self.path / "tasks"

    @property
    def jobs(self) -> Path:  # scripts and output of SLURM jobs
        return self.path / "jobs"

    def output(self, job: str) -> Path:
        """What a SLURM job printed; another sweep may have submitted it."""
        name = f"{job}_0_log.out"
        own = self.jobs / name
        return own if own.exists() else next(self.path.parent.glob(f"*/jobs/{name}"), own)

    @property
    def cancellations(self) -> Path:
        return self.path / "cancelled.json"

    def cancelled(self) -> set[str]:
        """Jobs, an array once, that a person has cancelled: of whichever sweep, as above."""
        files = self.path.parent.glob(f"*/{self.cancellations.name}")
        return {job for file in files for job in _cancelled_in(file)}

    def keep_cancelled(self, jobs: Collection[str]) -> None:
        before = _cancelled_in(self.cancellations) if self.cancellations.exists() else []
        write_json(self.cancellations, sorted({*before, *jobs}))

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def owner(self) -> Path:  # the process on this machine that deals its tasks
        return self.path / "owner.json"

    @property
    def reports(self) -> Path:
        return self.work / "reports" / self.name

    @property
    def report(self) -> Path:
        return self.reports / "report.html"

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.work / "runs" / run_id)

    def features(self, feature_id: str) -> Path:
        return self.work / "features" / feature_id


def wanted(sweep: Sweep, found: Found, work: Path) -> Wanted:
    """Identities of everything that the sweep needs; `found` has the manifest of each corpus."""
    runs, features = [], {}
    for swept in sweep.experiments:
        manifest = found[swept.experiment.corpus]
        features_id = feature_id(swept.experiment.features, manifest.digest)
        identity = run_id(swept.experiment, features_id)
        runs.append(WantedRun(swept.label, swept.settings, identity, features_id))
        features[features_id] = WantedFeatures(
            features_id,
            str(manifest_path(manifest, work)),
            len(manifest.slices),
            manifest.seconds,
        )
    return Wanted(
        name=sweep.name,
        question=sweep.question,
        path=str(sweep.path),
        digest=content(sweep),
        runs=tuple(runs),
        features=tuple(features.values()),
        sources=_checksums(sweep.sources),
        changes=sweep.changes,
    )


def unchanged(wanted: Wanted, path: Path, changes: Mapping[str, Any]) -> bool:
    """Every file that the sweep was made from is as it was: a thousand runs need no reading."""
    if str(path.resolve()) not in wanted.sources or changes != wanted.changes:
        return False
    try:
        return _checksums(map(Path, wanted.sources)) == wanted.sources
    except OSError:
        return False


def _checksums(paths: Iterable[Path]) -> dict[str, str]:
    return {str(path.resolve()): sha256(path.read_bytes()).hexdigest() for path in paths}


def content(sweep: Sweep) -> str:
    """Digest of what the sweep file says; where a corpus lies changes no answer."""
    return digest(
        [
            [swept.label, swept.experiment.model_dump(exclude={"corpus": {"root"}})]
            for swept in sweep.experiments
        ]
    )


def manifest_path(manifest: Manifest, work: Path) -> Path:
    """Named by its content: another split of a corpus must not replace what queued jobs read."""
    return work / "manifests" / f"{manifest.corpus}-{manifest.digest[:8]}.jsonl"


def by_path(found: Found, work: Path) -> dict[str, Manifest]:
    return {str(manifest_path(manifest, work)): manifest for manifest in found.values()}


def settings_of(sweep: Sweep, wanted: Wanted) -> dict[str, tuple[FeatureSettings, Corpus]]:
    """Feature set -> how it is computed, and from which corpus."""
    return {
        run.feature_id: (swept.experiment.features, swept.experiment.corpus)
        for swept, run in zip(sweep.experiments, wanted.runs, strict=True)
    }


def refuse_untrainable(sweep: Sweep, found: Found) -> None:
    """Too few utterances, a character that an alphabet lacks: before anything is submitted."""
    pairs = dict.fromkeys((s.experiment.corpus, s.experiment.alphabet) for s in sweep.experiments)
    for corpus, name in pairs:
        try:
            require_enough(found[corpus].utterances)
            require_letters(found[corpus].utterances, alphabet(name))
        except InputError as error:
            raise InputError(f"corpus {corpus.name}: {error}") from None


def typed(wanted: Wanted, profile: Profile, work: Path) -> tuple[str, ...]:
    """What a reader of its report may type: to continue it, to report again."""
    return tuple(
        typed_again(command, profile, work)
        for command in (wanted.command, f"make report SWEEP={quote(wanted.sweep)}")
    )


def recorded(folder: SweepFolder) -> Wanted:
    """What the last `make sweep` wanted."""
    if not folder.record.exists():
        records = folder.path.parent.glob("*/sweep.json")
        known = sorted(path.parent.name for path in records if _of_a_sweep_file(path))
        raise InputError(
            f"{folder.name}: not in the work folder {folder.work}; "
            + (f"there are {', '.join(known)}; " if known else "")
            + "make sweep puts it there; another work folder is named by WORK=…, or by the "
            "CLUSTER=… of the sweep"
        )
    try:
        stored = read_json(folder.record)
        runs = tuple(WantedRun(**run) for run in stored["runs"])
        features = tuple(WantedFeatures(**each) for each in stored["features"])
        return Wanted(**{**stored, "runs": runs, "features": features})
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder.record}: is damaged, or of another version; make sweep writes it anew"
        ) from None


def _cancelled_in(file: Path) -> list[str]:
    try:
        return [str(job) for job in read_json(file)]
    except (ValueError, TypeError):
        raise InputError(
            f"{file}: is damaged; delete it: jobs that were cancelled then count as queued until "
            "SLURM lets go of them"
        ) from None


def _of_a_sweep_file(record: Path) -> bool:
    """Rather than of an experiment or a corpus, as `make doctor` leaves one."""
    try:
        return Path(read_json(record)["path"]).stem == record.parent.name
    except (ValueError, KeyError, TypeError):
        return True
