"""The program: one verb for each thing that a person does; each is also a make target.

In:   the words of a command.
Out:  an exit code: 0 done, 1 something failed or was refused, 2 bad input, 130 interrupted.
Not here: what a verb does. Its module is imported only when the verb is used, so that --help and
status are quick, and a login node loads no library that it does not need.
"""

import argparse
import difflib
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from jobs.commands.arguments import (
    SUMMARIES,
    VERB_GROUPS,
    Subparsers,
    add_cancel_arguments,
    add_checking_verbs,
    add_dry_run_option,
    add_experiment_arguments,
    add_output_option,
    add_report_arguments,
    add_run_argument,
    add_set_option,
    add_sweep_argument,
    add_sweep_option,
    add_sweep_verb_arguments,
    add_verb,
)
from jobs.commands.trained.arguments import TRAINED_VERBS, add_trained_verbs
from jobs.environment import REPOSITORY_ROOT, use_locked_packages_alone
from jobs.exit_codes import DONE
from jobs.imports import quick_imports
from jobs.messages import exit_code
from pipeline.files import InputError, expand_home

# Verb -> the module with the function of the same name.
VERB_MODULES = {
    "demo": "jobs.commands.sweep",
    "corpus-new": "jobs.commands.corpora.corpus_new",
    "corpus-check": "jobs.commands.corpora.corpus_check",
    "features": "jobs.commands.sweep",
    "train": "jobs.commands.sweep",
    "sweep": "jobs.commands.sweep",
    "status": "jobs.commands.status",
    "logs": "jobs.commands.logs",
    "cancel": "jobs.commands.status",
    "report": "jobs.commands.report",
    "doctor": "jobs.commands.checking.doctor",
    "lr-range": "jobs.commands.checking.lr_range",
    "cluster-check": "jobs.commands.checking.cluster_check",
    **{verb: f"jobs.commands.trained.{verb}" for verb in TRAINED_VERBS},
    "verify": "jobs.commands.checking.verify",
    "inspect": "jobs.commands.inspect",
    "task": "jobs.launch.entrypoint",
}

# Option -> the folder where its files usually are.
CONFIG_FOLDERS = {
    "corpus": "configs/corpora",
    "sweep": "configs/sweeps",
    "experiment": "configs/experiments",
    "cluster": "cluster",
    "profile": "cluster",
}
# They end soon or start other processes: garbage is collected more seldom than by default.
PLANNING_VERBS = {"features", "sweep", "status", "cancel", "logs"}
PLANNED_OBJECTS = 50_000
VERBS_ACCEPTING_SWEEP_NAME = {"decode", "status", "cancel", "report"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; without a verb, print the list of verbs."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    use_locked_packages_alone(REPOSITORY_ROOT)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console of cp1252 cannot show every letter
        sys.stdout.reconfigure(errors="backslashreplace")
    verb = next(iter(words), "")
    parser = build_parser(verb)
    if verb and not verb.startswith("-") and verb not in VERB_MODULES:
        parser.error(_unknown_verb_message(verb))
    options = parser.parse_args(words)
    if options.version:
        from importlib.metadata import version  # noqa: PLC0415 (a tenth of a command's time)

        print(f"blankslate {version('blankslate')}")
        return DONE
    if options.verb is None:
        parser.print_help()
        return DONE
    # This process only plans; the processes that compute get their own number of threads. It can
    # be forked only while NumPy has started no threads (local/fork_worker.py).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _disable_pydantic_plugins()
    return exit_code(lambda: _run(options, process_ends=arguments is None))


def _disable_pydantic_plugins() -> None:
    """Let pydantic look for no plugins, for which it would read the metadata of every package.

    Only to be able to look, it imports importlib.metadata: a twentieth of a command's time.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    loader = ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = tuple
    sys.modules.setdefault(loader.__name__, loader)


def _unknown_verb_message(word: str) -> str:
    """Return the message; argparse's own would name the verb that only this program uses."""
    close = difflib.get_close_matches(word, SUMMARIES, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"the verbs are {', '.join(SUMMARIES)}"
    return f"unknown verb {word!r}; {hint}"


def _expand_home(options: argparse.Namespace) -> None:
    """Replace `~` in paths, which not every shell does in `make sweep SWEEP=~/a.yaml`."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, expand_home(value))


def _run(options: argparse.Namespace, *, process_ends: bool) -> int:
    """Import the module of the verb and call its function."""
    _expand_home(options)
    _refuse_bare_names(options)
    with quick_imports():
        module = import_module(VERB_MODULES[options.verb])
        if process_ends:
            gc.freeze()
            if options.verb in PLANNING_VERBS:
                gc.set_threshold(PLANNED_OBJECTS)
    act: Callable[[argparse.Namespace], int] = getattr(module, options.verb.replace("-", "_"))
    return act(options)


def _refuse_bare_names(options: argparse.Namespace) -> None:
    """Refuse `spectrum` if it means configs/sweeps/spectrum.yaml, and name that file."""
    for option, folder in CONFIG_FOLDERS.items():
        path = getattr(options, option, None)
        if (
            path is None
            or path.exists()
            or (option == "sweep" and options.verb in VERBS_ACCEPTING_SWEEP_NAME)
        ):
            continue
        name = path.name.removesuffix(".yml").removesuffix(".yaml")
        likely = Path(folder, f"{name}.yaml")
        if likely.is_file():
            raise InputError(f"{path}: no such file; did you mean {likely}?")


def build_parser(verb: str = "") -> argparse.ArgumentParser:
    """Return the parser with the arguments of one verb, or else of all: each takes time."""
    program = argparse.ArgumentParser(
        prog="blankslate",
        usage="blankslate VERB ... [options]",
        description="From wav files to a comparison table of CTC training runs, with the same\n"
        f"commands on a laptop and on a SLURM cluster.\n\n{_verb_list()}",
        epilog="`blankslate VERB --help` describes a verb.\n"
        "BLANKSLATE_DEBUG=1 shows the traceback of an error.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program.add_argument("--version", action="store_true", help="print the version")
    subparsers = program.add_subparsers(
        prog="blankslate", dest="verb", metavar="VERB", help=argparse.SUPPRESS
    )
    for verbs, add_verbs in ARGUMENTS_OF_VERBS.items():
        if verb in verbs or verb not in VERB_MODULES:
            add_verbs(subparsers)
    return program


def _verb_list() -> str:
    blocks = []
    for purpose, verbs in VERB_GROUPS.items():
        lines = [f"  {verb:<15}{text}" for verb, text in verbs.items()]
        blocks.append("\n".join([f"{purpose}:", *lines]))
    return "\n\n".join(blocks)


def _add_corpus_verbs(subparsers: Subparsers) -> None:
    new = add_verb(subparsers, "corpus-new", "It asks nothing, and replaces no file.")
    new.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of recordings")
    check = add_verb(
        subparsers, "corpus-check", "The exit code is 1 if an utterance cannot be used."
    )
    check.add_argument("corpus", type=Path, metavar="CORPUS", help="the YAML file of the corpus")
    add_output_option(
        check,
        "the .png or .svg file of the picture (default: reports/corpus-NAME/corpus.png in "
        "the work folder)",
    )


def _add_running_verbs(subparsers: Subparsers) -> None:
    features = add_verb(subparsers, "features")
    source = features.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--corpus",
        type=Path,
        metavar="FILE",
        help="compute amplitude, power and mel spectra of this corpus",
    )
    source.add_argument(
        "--sweep", type=Path, metavar="FILE", help="compute what the experiments of this sweep need"
    )
    add_set_option(features, seeds=True)
    add_dry_run_option(features)

    train = add_verb(subparsers, "train", "Its features are computed first, if they are missing.")
    add_experiment_arguments(train)

    sweep = add_verb(
        subparsers,
        "sweep",
        "The same command again continues the sweep: it submits what is missing and what failed, "
        "and does nothing when every run is finished.",
    )
    add_sweep_verb_arguments(sweep)

    demo = add_verb(subparsers, "demo", "It needs no data and takes minutes.")
    demo.add_argument(
        "--language",
        metavar="CODE",
        help="a demo in another language, such as tr, de, hi, zh or fr (default: English)",
    )


def _add_following_verbs(subparsers: Subparsers) -> None:
    status = add_verb(subparsers, "status")
    add_sweep_argument(status)
    add_set_option(status, seeds=True)
    status.add_argument(
        "--once", action="store_true", help="show it once (default: until all runs have ended)"
    )
    status.add_argument(
        "--json", action="store_true", help="print it once as JSON (default: a table)"
    )

    logs = add_verb(subparsers, "logs", "Without RUN it is the run of the sweep that failed last.")
    add_run_argument(logs, optional=True)
    add_sweep_option(logs, "the sweep's file, or its name (default: RUN says which run)")
    logs.add_argument(
        "--job",
        choices=("features", "report"),
        help="the SLURM job of the sweep's features or report (default: a run)",
    )
    logs.add_argument(
        "--follow",
        action="store_true",
        help="print on until the run has ended (default: what is there)",
    )

    cancel = add_verb(subparsers, "cancel", "A running job saves its state before it ends.")
    add_cancel_arguments(cancel)

    report = add_verb(subparsers, "report", "The files go to reports/SWEEP in the work folder.")
    add_report_arguments(report)


def _add_task_verb(subparsers: Subparsers) -> None:
    task = add_verb(
        subparsers, "task", "Execute one task file; only this program uses it.", cluster=False
    )
    task.add_argument("file", type=Path, metavar="FILE", help="a task file")


ARGUMENTS_OF_VERBS: Mapping[tuple[str, ...], Callable[[Subparsers], None]] = {
    ("corpus-new", "corpus-check"): _add_corpus_verbs,
    ("features", "train", "sweep", "demo"): _add_running_verbs,
    ("status", "logs", "cancel", "report"): _add_following_verbs,
    tuple(TRAINED_VERBS): add_trained_verbs,
    ("doctor", "lr-range", "cluster-check", "verify", "inspect"): add_checking_verbs,
    ("task",): _add_task_verb,
}
