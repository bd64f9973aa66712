"""What a sweep wants of a work folder: manifests, feature sets, runs, with their identities.

In:   a sweep.   Out: `Wanted`, stored in the `SweepFolder`, so that status and report know
the sweep without reading any audio.
Not here: what of it is there already (status.py), what to do about it (plan.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shlex import quote
from typing import Any

from jobs.node.task_file import Run
from jobs.profile import Profile, make_command
from jobs.sweep.folder import SweepFolder
from pipeline.config.corpus import Corpus
from pipeline.config.features import FeatureSettings
from pipeline.config.identity import feature_id, run_id
from pipeline.config.sweep import Sweep
from pipeline.corpus.manifest import Manifest, require_enough_utterances, require_known_characters
from pipeline.corpus.text import get_alphabet
from pipeline.files import InputError, json_digest, read_json

CorpusManifests = Mapping[Corpus, Manifest]


@dataclass(frozen=True)
class PlannedRun:
    label: str
    settings: dict[str, Any]  # swept dotted keys -> values
    run_id: str
    feature_id: str

    @property
    def run(self) -> Run:
        return Run(self.run_id, self.feature_id)


@dataclass(frozen=True)
class PlannedFeatures:
    feature_id: str
    manifest: str  # path of the file
    slices: int
    seconds: float  # of speech


@dataclass(frozen=True)
class SweepRecord:
    name: str
    question: str
    path: str  # of the sweep file
    digest: str  # of labels and experiments: whether the file has changed since
    runs: tuple[PlannedRun, ...]
    features: tuple[PlannedFeatures, ...]
    sources: dict[str, str] = field(default_factory=dict)  # settings file -> digest of its bytes
    changes: dict[str, Any] = field(default_factory=dict)  # of SET

    @property
    def sweep_argument(self) -> str:
        """SWEEP=… that finds it: its file, or its name where the file is an experiment's."""
        return self.path if Path(self.path).stem == self.name else self.name

    @property
    def command(self) -> str:
        """What was typed, and continues it."""
        if self.sweep_argument == self.path:
            return f"make sweep SWEEP={quote(self.path)}"
        kind = "train EXPERIMENT" if self.runs else "features CORPUS"
        return f"make {kind}={quote(self.path)}"


def make_record(sweep: Sweep, corpus_manifests: CorpusManifests, work: Path) -> SweepRecord:
    """Identities of everything that the sweep needs; `found` has the manifest of each corpus."""
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
    )


def is_unchanged(record: SweepRecord, path: Path, changes: Mapping[str, Any]) -> bool:
    """Every file that the sweep was made from is as it was: a thousand runs need no reading."""
    if str(path.resolve()) not in record.sources or changes != record.changes:
        return False
    try:
        return _file_digests(map(Path, record.sources)) == record.sources
    except OSError:
        return False


def _file_digests(paths: Iterable[Path]) -> dict[str, str]:
    return {str(path.resolve()): sha256(path.read_bytes()).hexdigest() for path in paths}


def experiments_digest(sweep: Sweep) -> str:
    """Digest of what the sweep file says; where a corpus lies changes no answer."""
    return json_digest(
        [
            [swept.label, swept.experiment.model_dump(exclude={"corpus": {"root"}})]
            for swept in sweep.experiments
        ]
    )


def manifest_path(manifest: Manifest, work: Path) -> Path:
    """Named by its content: another split of a corpus must not replace what queued jobs read."""
    return work / "manifests" / f"{manifest.corpus}-{manifest.digest[:8]}.jsonl"


def manifests_by_path(corpus_manifests: CorpusManifests, work: Path) -> dict[str, Manifest]:
    return {str(manifest_path(manifest, work)): manifest for manifest in corpus_manifests.values()}


def feature_settings_of(
    sweep: Sweep, record: SweepRecord
) -> dict[str, tuple[FeatureSettings, Corpus]]:
    """Feature set -> how it is computed, and from which corpus."""
    return {
        run.feature_id: (swept.experiment.features, swept.experiment.corpus)
        for swept, run in zip(sweep.experiments, record.runs, strict=True)
    }


def refuse_untrainable(sweep: Sweep, corpus_manifests: CorpusManifests) -> None:
    """Too few utterances, a character that an alphabet lacks: before anything is submitted."""
    pairs = dict.fromkeys((s.experiment.corpus, s.experiment.alphabet) for s in sweep.experiments)
    for corpus, name in pairs:
        try:
            require_enough_utterances(corpus_manifests[corpus].utterances)
            require_known_characters(corpus_manifests[corpus].utterances, get_alphabet(name))
        except InputError as error:
            raise InputError(f"corpus {corpus.name}: {error}") from None


def report_commands(record: SweepRecord, profile: Profile, work: Path) -> tuple[str, ...]:
    """What a reader of its report may type: to continue it, to report again."""
    return tuple(
        make_command(command, profile, work)
        for command in (record.command, f"make report SWEEP={quote(record.sweep_argument)}")
    )


def load_record(folder: SweepFolder) -> SweepRecord:
    """What the last `make sweep` wanted."""
    if not folder.record_file.exists():
        records = folder.path.parent.glob("*/sweep.json")
        known = sorted(path.parent.name for path in records if _is_of_sweep_file(path))
        raise InputError(
            f"{folder.name}: not in the work folder {folder.work}; "
            + (f"there are {', '.join(known)}; " if known else "")
            + "make sweep puts it there; another work folder is named by WORK=…, or by the "
            "CLUSTER=… of the sweep"
        )
    try:
        stored = read_json(folder.record_file)
        runs = tuple(PlannedRun(**run) for run in stored["runs"])
        features = tuple(PlannedFeatures(**each) for each in stored["features"])
        return SweepRecord(**{**stored, "runs": runs, "features": features})
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder.record_file}: is damaged, or of another version; make sweep writes it anew"
        ) from None


def _is_of_sweep_file(record: Path) -> bool:
    """Rather than of an experiment or a corpus, as `make doctor` leaves one."""
    try:
        return Path(read_json(record)["path"]).stem == record.parent.name
    except (ValueError, KeyError, TypeError):
        return True
