"""The verb outputs: what a finished run's network computes for a corpus, as one HDF5 file.

In:   typed options.   Out: the file, lines for a person.
Not here: what the file holds (pipeline/training/trained/outputs.py).
"""

import argparse

from jobs.commands.trained.network import find_features, find_finished_run
from jobs.commands.trained.output_paths import require_file
from jobs.imports import quick_imports
from jobs.launch.reconcile import ensure_features
from jobs.messages import print_line
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.corpus import load_corpus
from pipeline.config.sweep import single_run_sweep
from pipeline.features.feature_set import FeatureSet
from pipeline.host import default_threads

SPLITS = ("train", "dev", "test")
REPORTS = 10  # lines of progress


def outputs(options: argparse.Namespace) -> int:
    """Return 1 if utterances of the corpus were refused; the others are written."""
    require_file(options.output)
    profile, work = load_profile_and_workdir(options)
    run = find_finished_run(options.run, work)
    trained_on = features = FeatureSet.open(find_features(run, work))
    code, experiment = 0, run.experiment()
    if options.corpus:
        corpus = load_corpus(options.corpus)
        changed = experiment.model_copy(update={"corpus": corpus})
        single = single_run_sweep(options.corpus, changed, "outputs", {})
        prepared = ensure_features(single, profile, work)
        features, code = prepared.features, prepared.code
        experiment = changed
    name = f"{run.run_id}-{experiment.corpus.name}.h5"
    file = options.output or work / "exports" / name
    print_line("starting torch")  # takes seconds
    with quick_imports():
        from pipeline.training.trained.outputs import write_outputs  # noqa: PLC0415

    write_outputs(
        file,
        run,
        trained_on,
        features,
        options.split or SPLITS,
        device=profile.device,
        threads=profile.threads or default_threads(),
        report=_report_progress,
    )
    print_line(f"{file}: {file.stat().st_size / 1e6:.0f} MB")
    return code


def _report_progress(done: int, count: int) -> None:
    if done * REPORTS // count != (done - 1) * REPORTS // count:
        print_line(f"{done} of {count} utterances")
