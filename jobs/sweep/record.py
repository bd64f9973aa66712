"""The record of a sweep: its manifests, feature sets and runs, with their identities.

In:   a sweep, the manifests of its corpora.
Out:  a `SweepRecord`, stored in the sweep's folder, so that status and report read no audio.
Not here: what is done already (run_status.py, feature_status.py), what to do next (plan.py).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from jobs.node.task_file import Run
from jobs.profile import Profile
from jobs.sweep.folder import SweepFolder
from jobs.work_folder import report_command
from pipeline.config.corpus import Corpus
from pipeline.config.identity import feature_id, run_id
from pipeline.config.sweep import Sweep, changed_name
from pipeline.config.sweep_sections.expectation import Expectation
from pipeline.corpus.manifest import (
    Manifest,
    ManifestFile,
    require_enough_utterances,
    require_known_characters,
)
from pipeline.corpus.text.alphabet import resolve_alphabet
from pipeline.files import InputError, json_digest, read_json

CorpusManifests = Mapping[Corpus, Manifest]


class PlannedRun(NamedTuple):
    label: str
    settings: dict[str, Any]  # swept dotted keys -> values
    run_id: str
    feature_id: str

    @property
    def run(self) -> Run:
        return Run(self.run_id, self.feature_id)


class PlannedFeatures(NamedTuple):
    feature_id: str
    manifest: str  # path of the file
    slices: int
    seconds: float  # of speech


@dataclass(frozen=True)
class SweepRecord:
    name: str
    question: str
    path: str  # of the sweep file
    digest: str  # of labels and experiments; shows whether the file has changed since
    runs: tuple[PlannedRun, ...]
    features: tuple[PlannedFeatures, ...]
    sources: dict[str, str] = field(default_factory=dict)  # settings file -> digest of its bytes
    changes: dict[str, Any] = field(default_factory=dict)  # made by SET=…
    seeds: int | None = None  # of SEEDS=…, the least number of seeds per arm
    expect: tuple[Expectation, ...] = ()
    fixed: dict[str, Any] = field(default_factory=dict)  # by the sweep file, for every run

    def to_json(self) -> dict[str, Any]:
        runs, features = ([each._asdict() for each in x] for x in (self.runs, self.features))
        return {**vars(self), "runs": runs, "features": features}

    @property
    def sweep_argument(self) -> str:
        """The words SWEEP=… that name it: its file with its SET, or else its name.

        The file of an experiment or a corpus is not that of a sweep.
        """
        if _is_named_by(self.path, self.name, self.changes):
            return f"SWEEP={quote(self.path)}{set_argument(self.changes)}"
        return f"SWEEP={quote(self.name)}"

    @property
    def command(self) -> str:
        """The make command that continues it."""
        changes = set_argument(self.changes)
        if _is_named_by(self.path, self.name, self.changes):
            seeds = f" SEEDS={self.seeds}" if self.seeds else ""
            return f"make sweep SWEEP={quote(self.path)}{changes}{seeds}"
        stem, demo = Path(self.path).stem, self.name.removeprefix("demo-")
        if stem.startswith("demo-") and demo != self.name:  # numbers in a language without a file
            return f"make demo LANGUAGE={demo}"
        kind = "train EXPERIMENT" if self.runs else "features CORPUS"
        return f"make {kind}={quote(self.path)}{changes}"


def set_argument(changes: Mapping[str, Any]) -> str:
    """Return ` SET="a.b=1 c=null"`, or nothing without changes; JSON values are valid YAML."""
    words = " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for key, value in changes.items()
    )
    if not words:
        return ""
    return f' SET="{words}"' if not set('"$`\\!') & set(words) else f" SET={quote(words)}"


def _is_named_by(path: str, name: str, changes: Mapping[str, Any]) -> bool:
    """Return whether the sweep `name` is that of the sweep file `path` (under SET)."""
    stem = Path(path).stem
    return name in {stem, changed_name(stem, changes)}


def make_record(sweep: Sweep, corpus_manifests: CorpusManifests, work: Path) -> SweepRecord:
    """Return the record of a sweep; `corpus_manifests` has the manifest of each of its corpora."""
    runs, features = [], {}
    for swept in sweep.experiments:
        manifest = corpus_manifests[swept.experiment.corpus]
        features_id = feature_id(swept.experiment.features, manifest.digest)
        identity = run_id(swept.experiment, features_id)
        runs.append(PlannedRun(swept.label, swept.settings, identity, features_id))
        features[features_id] = PlannedFeatures(
            features_id,
            str(manifest_path(manifest, work)),
            len(manifest.slices),
            manifest.seconds,
        )
    return SweepRecord(
        name=sweep.name,
        question=sweep.question,
        path=str(sweep.path),
        digest=experiments_digest(sweep),
        runs=tuple(runs),
        features=tuple(features.values()),
        sources=_file_digests(sweep.sources),
        changes=sweep.changes,
        seeds=sweep.seeds,
        expect=sweep.expect,
        fixed=sweep.fixed,
    )


def runs_of_file(sweep: Sweep, record: SweepRecord) -> tuple[PlannedRun, ...]:
    """Return the runs of the sweep file as it is now, with the manifests of the last make sweep.

    No audio is read. A corpus that is new has no manifest yet: its runs have an id that no job has.
    """
    known = {run.run_id for run in record.runs}
    candidates = _possible_runs(sweep, record)
    return tuple(next((run for run in runs if run.run_id in known), runs[0]) for runs in candidates)


def possible_run_ids(sweep: Sweep, record: SweepRecord) -> set[str]:
    """Return each id that a run of the sweep file may have, so that no such job is cancelled."""
    return {run.run_id for runs in _possible_runs(sweep, record) for run in runs}


def _possible_runs(sweep: Sweep, record: SweepRecord) -> Iterator[list[PlannedRun]]:
    """Yield for each experiment its run with each manifest of the corpus: one for each fold."""
    paths = sorted({each.manifest for each in record.features})
    digests: dict[str, list[str]] = {}
    for file in (ManifestFile.open(Path(path)) for path in paths):
        digests.setdefault(file.corpus, []).append(file.digest)
    for swept in sweep.experiments:
        features = [
            feature_id(swept.experiment.features, digest)
            for digest in digests.get(swept.experiment.corpus.name, [""])
        ]
        yield [
            PlannedRun(swept.label, swept.settings, run_id(swept.experiment, each), each)
            for each in features
        ]


def refuse_name_of_another_file(sweep: Sweep, folder: SweepFolder) -> None:
    """Raise InputError if the folder is that of another sweep file, which has the same name."""
    if not sweep.sources:  # of an experiment or a corpus
        return
    try:
        record = load_record(folder)
    except InputError:  # none, or a damaged one, which is written again
        return
    former = Path(record.path)
    is_other = former.is_file() and not former.samefile(sweep.path)
    if is_other and record.digest != experiments_digest(sweep):
        raise InputError(
            f"{sweep.path}: {folder.path} belongs to {former}, another sweep file of this name; "
            "rename one of the files, or choose another work folder with WORK=…"
        )


def is_unchanged(record: SweepRecord, path: Path, changes: Mapping[str, Any]) -> bool:
    """Return whether all settings files of the sweep, and SET, are as they were at the submission.

    Comparing bytes is much faster than expanding a sweep of a thousand runs.
    """
    if str(path.resolve()) not in record.sources or changes != record.changes:
        return False
    try:
        return _file_digests(map(Path, record.sources)) == record.sources
    except OSError:
        return False


def _file_digests(paths: Iterable[Path]) -> dict[str, str]:
    return {str(path.resolve()): sha256(path.read_bytes()).hexdigest() for path in paths}


def experiments_digest(sweep: Sweep) -> str:
    """Return a digest of labels and experiments, without the folders of corpora."""
    return json_digest(
        [
            [swept.label, swept.experiment.model_dump(exclude={"corpus": {"root"}})]
            for swept in sweep.experiments
        ]
    )


def manifest_path(manifest: Manifest, work: Path) -> Path:
    """Return the file of a manifest.

    It is named by its content: a new split of the corpus must not replace what queued jobs read.
    """
    return work / "manifests" / f"{manifest.corpus}-{manifest.digest[:8]}.jsonl"


def manifests_by_path(corpus_manifests: CorpusManifests, work: Path) -> dict[str, Manifest]:
    return {str(manifest_path(manifest, work)): manifest for manifest in corpus_manifests.values()}


def refuse_untrainable(sweep: Sweep, corpus_manifests: CorpusManifests) -> None:
    """Raise InputError if a corpus has too few utterances, or characters outside the alphabet."""
    pairs = dict.fromkeys((s.experiment.corpus, s.experiment.alphabet) for s in sweep.experiments)
    for corpus, setting in pairs:
        utterances = corpus_manifests[corpus].utterances
        try:
            require_enough_utterances(utterances)
            require_known_characters(utterances, resolve_alphabet(setting, utterances))
        except InputError as error:
            raise InputError(f"corpus {corpus.name}: {error}") from None


def report_commands(record: SweepRecord, profile: Profile, work: Path) -> tuple[str, ...]:
    """Return the commands for the report's page: continue the sweep, write the report again."""
    return tuple(
        report_command(command, profile, work)
        for command in (record.command, f"make report {record.sweep_argument}")
    )


def load_record(folder: SweepFolder) -> SweepRecord:
    """Return the record that the last `make sweep` stored; InputError if there is none."""
    if not folder.record_file.exists():
        records = folder.path.parent.glob("*/sweep.json")
        known = sorted(path.parent.name for path in records if _is_of_sweep_file(path))
        raise InputError(
            f"{folder.name}: not in the work folder {folder.work}; "
            + (f"there are {', '.join(known)}; " if known else "")
            + "make sweep creates it; if it is in another work folder, add WORK=…, or the "
            "CLUSTER=… of the sweep"
        )
    try:
        stored = read_json(folder.record_file)
        runs = tuple(PlannedRun(**run) for run in stored["runs"])
        features = tuple(PlannedFeatures(**each) for each in stored["features"])
        expect = tuple(Expectation(*each) for each in stored.get("expect", ()))
        lists = {"runs": runs, "features": features, "expect": expect}
        return SweepRecord(**{**stored, **lists})
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder.record_file}: is damaged, or of another version; make sweep writes it again"
        ) from None


def read_records(work: Path) -> Iterator[tuple[SweepFolder, SweepRecord]]:
    """Yield the sweeps of a work folder by name, without those whose record is damaged."""
    for file in sorted(work.glob("sweeps/*/sweep.json")):
        folder = SweepFolder(work, file.parent.name)
        try:
            record = load_record(folder)
        except InputError:
            continue
        yield folder, record


def _is_of_sweep_file(record: Path) -> bool:
    """Return whether a record belongs to a sweep file, and not to an experiment or a corpus."""
    try:
        stored = read_json(record)
        return _is_named_by(stored["path"], record.parent.name, stored.get("changes", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return True
