"""The program: one verb per thing a person does; each is also a make target.

In:   words typed.   Out: an exit code: 0 done, 1 something failed or was refused, 2 bad input,
130 interrupted.
Not here: what a verb does. Its module is imported when it is typed, so that --help and status
answer at once and a login node loads nothing that it does not need.
"""

import argparse
import gc
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from jobs.messages import exit_code
from pipeline.files import InputError

# Verb -> the module whose function of the same name does it.
VERB_MODULES = {
    "features": "jobs.commands.sweep",
    "train": "jobs.commands.sweep",
    "lr-range": "jobs.commands.lr_range",
    "doctor": "jobs.commands.doctor",
    "sweep": "jobs.commands.sweep",
    "demo": "jobs.commands.sweep",
    "status": "jobs.commands.status",
    "logs": "jobs.commands.status",
    "cancel": "jobs.commands.status",
    "verify": "jobs.commands.verify",
    "inspect": "jobs.commands.inspect",
    "report": "jobs.commands.report",
    "cluster-check": "jobs.commands.cluster_check",
    "task": "jobs.commands.task",
}


# Option -> where its files lie.
CONFIG_FOLDERS = {
    "corpus": "configs/corpora",
    "sweep": "configs/sweeps",
    "experiment": "configs/experiments",
    "cluster": "cluster",
    "profile": "cluster",
}
VERBS_ACCEPTING_SWEEP_NAME = {"status", "cancel", "report"}  # a sweep's name is enough for them


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    # This process plans; those that compute are told their number of threads. With NumPy's threads
    # it could not be copied (local/fork_worker.py).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # To look for plugins is to read the metadata of every package, for each verb typed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    return exit_code(lambda: _run(options, ends=arguments is None))


def _run(options: argparse.Namespace, *, ends: bool) -> int:
    """Import the module of the verb, and call it. `ends`: this process ends with it."""
    _refuse_bare_names(options)
    gc.disable()  # nothing that is imported is garbage
    module = import_module(VERB_MODULES[options.verb])
    if ends:
        gc.freeze()
    gc.enable()
    act: Callable[[argparse.Namespace], int] = getattr(module, options.verb.replace("-", "_"))
    return act(options)


def _refuse_bare_names(options: argparse.Namespace) -> None:
    """`spectrum`, where configs/sweeps/spectrum.yaml is meant."""
    for option, folder in CONFIG_FOLDERS.items():
        path = getattr(options, option, None)
        if (
            path is None
            or path.exists()
            or (option == "sweep" and options.verb in VERBS_ACCEPTING_SWEEP_NAME)
        ):
            continue
        name = path.name.removesuffix(".yml").removesuffix(".yaml")
        meant = Path(folder, f"{name}.yaml")
        if meant.is_file():
            raise InputError(f"{path}: no such file; did you mean {meant}?")


def build_parser() -> argparse.ArgumentParser:
    program = argparse.ArgumentParser(
        prog="blankslate",
        description="From wav files to a comparison table of CTC training runs, with the same "
        "commands on a laptop and on a SLURM cluster.",
        epilog="BLANKSLATE_DEBUG=1 shows the traceback of an error.",
    )
    subparsers = program.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_compute_verbs(subparsers)
    _add_other_verbs(subparsers)
    return program


Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_compute_verbs(subparsers: Subparsers) -> None:
    features = _add_verb(subparsers, "features", "compute every feature set that is missing")
    source = features.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--corpus", type=Path, metavar="FILE", help="amplitude, power and mel of this corpus"
    )
    source.add_argument(
        "--sweep", type=Path, metavar="FILE", help="what the experiments of this sweep need"
    )
    _add_set_option(features)
    _add_dry_run_option(features)

    train = _add_verb(
        subparsers, "train", "train one experiment in the foreground, its features first"
    )
    _add_experiment_arguments(train)

    doctor = _add_verb(
        subparsers,
        "doctor",
        "look at an experiment before it is trained: what cannot be aligned, the scale of its "
        "input, its reference lines, its cost, one batch learnt by heart. 1: something is wrong",
    )
    _add_experiment_arguments(doctor)

    ranged = _add_verb(
        subparsers,
        "lr-range",
        "try learning rates from 1e-6 to 1e-2 on one experiment, in 200 updates; suggest one",
    )
    _add_experiment_arguments(ranged)

    sweep = _add_verb(
        subparsers,
        "sweep",
        "run what is missing of a sweep: features, then runs. Typed again it continues, submits "
        "what failed, and does nothing when all is finished",
    )
    sweep.add_argument("sweep", type=Path, metavar="SWEEP", help="a YAML file")
    _add_set_option(sweep)
    _add_dry_run_option(sweep)

    _add_verb(subparsers, "demo", "synthesise a corpus, run a small sweep on it, write its report")


def _add_other_verbs(subparsers: Subparsers) -> None:
    status = _add_verb(
        subparsers, "status", "show the state of each run of a sweep until all have ended"
    )
    _add_sweep_argument(status)
    _add_set_option(status)
    status.add_argument("--once", action="store_true", help="show it once")
    status.add_argument("--json", action="store_true", help="show it once, for a program")

    logs = _add_verb(subparsers, "logs", "print the log of one run, and why it failed")
    logs.add_argument("run", metavar="RUN", help="a run id or its beginning, or a run folder")

    cancel = _add_verb(
        subparsers, "cancel", "cancel the queued and running jobs of a sweep; work is saved"
    )
    _add_sweep_argument(cancel)

    verify = _add_verb(subparsers, "verify", "compare every byte of feature sets with its checksum")
    verify.add_argument(
        "sets", nargs="+", metavar="SET", help="a feature set; or a sweep or corpus, all of its"
    )

    inspect = _add_verb(
        subparsers, "inspect", "print what a shard or a feature set holds; draw utterances"
    )
    inspect.add_argument("target", metavar="SET", help="a shard, a feature set, a sweep, a corpus")
    inspect.add_argument("--utterance", metavar="ID", help="this one alone")
    inspect.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help="draw spectrograms: .png or .svg"
    )

    report = _add_verb(
        subparsers, "report", "write results.csv, summary.csv, report.html and figures"
    )
    _add_sweep_argument(report)

    check = _add_verb(subparsers, "cluster-check", "prove a profile with tiny jobs", cluster=False)
    check.add_argument("profile", type=Path, metavar="CLUSTER", help="a file of cluster/")

    task = _add_verb(subparsers, "task", "internal: execute one task file", cluster=False)
    task.add_argument("file", type=Path, metavar="FILE")


def _add_verb(
    subparsers: Subparsers, name: str, purpose: str, *, cluster: bool = True
) -> argparse.ArgumentParser:
    verb = subparsers.add_parser(name, help=purpose, description=f"{purpose}.")
    if cluster:
        verb.add_argument(
            "--cluster",
            type=Path,
            metavar="FILE",
            help="where to run: a file of cluster/ (default: this machine)",
        )
    verb.add_argument(
        "--work", type=Path, metavar="FOLDER", help="work folder (default: the profile's)"
    )
    return verb


def _add_sweep_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("sweep", type=Path, metavar="SWEEP", help="the sweep's file, or its name")


def _add_experiment_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("experiment", type=Path, metavar="EXPERIMENT", help="a YAML file")
    _add_set_option(verb)


def _add_set_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one field of every experiment, such as train.epochs=3; repeatable",
    )


def _add_dry_run_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="print the plan; submit nothing")
