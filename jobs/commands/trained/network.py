"""Runs and networks that RUN=… names: a finished run, its features, its network.

In:   a run id, a run folder or an exported file; the work folder.   Out: runs, feature sets,
recognisers; lines for a person.
Not here: the network (pipeline/training/trained/recogniser.py).
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.commands.trained.scores import describe_search
from jobs.imports import quick_imports
from jobs.messages import print_note
from jobs.work_folder import find_run
from pipeline.config.identity import run_id
from pipeline.features.feature_set import FeatureSet, read_description
from pipeline.files import InputError
from pipeline.runs.decodings import MODEL_FILE, DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.state import require_finished

if TYPE_CHECKING:  # its module imports torch
    from pipeline.training.trained.recogniser import Recogniser


def find_finished_run(name: str, work: Path) -> RunFolder:
    """Find a run as `find_run` does; InputError where it is not finished or has changed."""
    run = find_run(name, work)
    require_finished(run)
    return run


def load_network(name: str, work: Path) -> "Recogniser":
    """Load the network of an exported file or of a run, without its decodings."""
    return _load_file_or_run(name, work)[0]


def load_recogniser(name: str, work: Path) -> "Recogniser":
    """Load an exported file, or a run with its last decoding; print how it decodes."""
    recogniser, run = _load_file_or_run(name, work)
    if run is None:
        return recogniser
    decoding = DecodingFolder.newest(run)
    language = decoding.language() if decoding else None
    print_note(describe_search(run, decoding, recogniser.experiment.corpus))
    return recogniser.with_language(language, {}) if language else recogniser


def _load_file_or_run(name: str, work: Path) -> tuple["Recogniser", RunFolder | None]:
    run = None if Path(name).is_file() else find_run(name, work)
    if "torch" not in sys.modules:
        print_note("starting torch")
    with quick_imports(freeze=False):  # blankslate.load_network is called in notebooks
        from pipeline.training.trained.recogniser import Recogniser  # noqa: PLC0415 (takes seconds)

    if run is None:
        return Recogniser.load(Path(name)), None
    if (file := run.path / MODEL_FILE).exists():
        try:
            return Recogniser.load(file), run
        except InputError as error:
            raise InputError(
                f"{str(error).partition(';')[0]}; delete it: then the network is read from the "
                "run's state"
            ) from None
    require_finished(run)
    return Recogniser.from_run(run, FeatureSet.open(find_features(run, work))), run


def find_features(run: RunFolder, work: Path) -> Path:
    """Return the folder of the feature set that the run was trained on.

    The run of another version of this program has another id; then the corpus and the feature
    settings decide.
    """
    try:
        experiment = run.experiment()
    except InputError as error:
        raise InputError(
            f"{error}; if another version of this program made the run, use that version, or train "
            "the run again"
        ) from None
    alike = []
    for folder in sorted((work / "features").glob(f"{experiment.features.spectrum}-*")):
        try:
            found = read_description(folder)
        except InputError:
            continue
        if run_id(experiment, found.feature_id) == run.run_id:
            return folder
        if (found.corpus, found.settings) == (experiment.corpus.name, experiment.features):
            alike.append(folder)
    if len(alike) == 1:
        return alike[0]
    raise InputError(
        f"{run.path}: {len(alike) or 'no'} feature sets in {work / 'features'} have its corpus and "
        "settings; run make train or make sweep again, which computes it"
    )
