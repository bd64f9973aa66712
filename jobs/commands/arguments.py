"""Arguments: the list of verbs by purpose, and the arguments that several verbs share.

In:   a parser.   Out: the same parser with more arguments.
Not here: which verb takes which arguments (parser.py).
"""

import argparse
from pathlib import Path
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# Purpose -> verb -> what it does. Without `task`, which only this program uses.
VERB_GROUPS = {
    "Try it": {
        "demo": "make a small corpus, run a small sweep on it, write a report",
    },
    "Look at your recordings": {
        "corpus-new": "look at a folder of recordings and write a corpus file for it",
        "corpus-check": "decode a corpus; print and draw what it holds and what is wrong",
    },
    "Run experiments": {
        "features": "compute the feature sets that are missing",
        "train": "train one experiment and show its progress",
        "sweep": "compute the features and train the runs of a sweep that are missing",
    },
    "Follow a sweep": {
        "status": "show the state of each run until all have ended",
        "logs": "print the log of a run or a job, and why it failed",
        "cancel": "cancel the queued and running jobs of a sweep",
        "report": "write tables, figures and report.html from what is finished",
    },
    "Use what was trained": {
        "decode": "decode a finished run again, with a lexicon and an n-gram model",
        "align": "find words and letters in time, and transcripts that do not fit their sound",
        "transcribe": "turn recordings into text with a finished run",
        "export": "write a finished run as one file, with its model card",
        "outputs": "write log-probabilities and hidden states of a run for a corpus, as HDF5",
    },
    "Check before you spend hours": {
        "doctor": "check one experiment: alphabet, lengths, input scale, updates, one batch",
        "lr-range": "train briefly at several learning rates, and suggest one",
        "cluster-check": "test a cluster profile with tiny jobs",
    },
    "Look at feature sets": {
        "verify": "compare every byte of feature sets with its checksum",
        "inspect": "print what a shard or a feature set holds; draw spectrograms",
    },
}
SUMMARIES = {verb: text for group in VERB_GROUPS.values() for verb, text in group.items()}


def add_verb(
    subparsers: Subparsers, name: str, details: str = "", *, cluster: bool = True
) -> argparse.ArgumentParser:
    summary = SUMMARIES.get(name, "")
    sentences = [f"{summary[:1].upper()}{summary[1:]}." if summary else "", details]
    verb = subparsers.add_parser(name, description=" ".join(filter(None, sentences)))
    if cluster:
        verb.add_argument(
            "--cluster",
            type=Path,
            metavar="FILE",
            help="where to run: a file of cluster/ (default: $BLANKSLATE_CLUSTER, or this machine)",
        )
    verb.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="the work folder (default: that of the cluster file, which is `work` if not set)",
    )
    return verb


def add_sweep_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("sweep", type=Path, metavar="SWEEP", help="the sweep's file, or its name")


def add_sweep_option(verb: argparse.ArgumentParser, help_text: str) -> None:
    verb.add_argument("--sweep", type=Path, metavar="SWEEP", help=help_text)


def add_split_option(verb: argparse.ArgumentParser, help_text: str) -> None:
    splits = ("train", "dev", "test")
    verb.add_argument("--split", action="append", choices=splits, help=help_text)


def add_output_option(
    verb: argparse.ArgumentParser, help_text: str, *, metavar: str = "FILE"
) -> None:
    verb.add_argument("--output", "-o", type=Path, metavar=metavar, help=help_text)


def add_run_argument(
    verb: argparse.ArgumentParser, more: str = "", *, optional: bool = False
) -> None:
    text = f"a run id, the beginning of one, or a run folder{more}"
    if optional:
        verb.add_argument("run", metavar="RUN", nargs="?", default="", help=text)
    else:
        verb.add_argument("run", metavar="RUN", help=text)


def add_experiment_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "experiment", type=Path, metavar="EXPERIMENT", help="the YAML file of the experiment"
    )
    add_set_option(verb)


def add_set_option(
    verb: argparse.ArgumentParser, *, seeds: bool = False, example: str = "train.epochs=3"
) -> None:
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change one setting, such as {example}; may be repeated (default: none changed)",
    )
    if seeds:
        text = "at least N seeds per arm of the sweep (default: the seeds of its file)"
        verb.add_argument("--seeds", type=int, metavar="N", help=text)


def add_cancel_arguments(cancel: argparse.ArgumentParser) -> None:
    add_sweep_argument(cancel)
    add_set_option(cancel)
    cancel.add_argument(
        "--removed",
        action="store_true",
        help="only jobs of runs that were taken out of the sweep (default: all of its jobs)",
    )


def add_dry_run_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan and submit nothing (default: submit it)",
    )


def add_sweep_verb_arguments(sweep: argparse.ArgumentParser) -> None:
    sweep.add_argument("sweep", type=Path, metavar="SWEEP", help="the YAML file of the sweep")
    add_set_option(sweep, seeds=True)
    add_dry_run_option(sweep)
    sweep.add_argument(
        "--first",
        action="store_true",
        help="of the runs only the first one, which tells what the others cost (default: all)",
    )


def add_report_arguments(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "sweeps", nargs="*", metavar="SWEEP", help="a sweep's file or name; several: one report"
    )
    report.add_argument(
        "--experiment",
        type=Path,
        metavar="FILE",
        help="report what train made of this experiment (default: the sweeps that are named)",
    )
    report.add_argument(
        "--run",
        metavar="RUN",
        help="report one run: its id, the beginning of it, or its folder (default: the sweeps)",
    )
    add_set_option(report)
    report.add_argument(
        "--images",
        action="store_true",
        help="write each figure also as PNG and PDF (default: SVG, which takes less time)",
    )
    report.add_argument(
        "--excel",
        choices=("comma", "semicolon"),
        help="CSV files that Excel opens: with a byte order mark; semicolon: also with ; between "
        "cells and , in decimals, as Excel in Turkish or German expects (default: plain CSV)",
    )


def add_checking_verbs(subparsers: Subparsers) -> None:
    doctor = add_verb(
        subparsers,
        "doctor",
        "Its features are computed first, if they are missing. "
        "The exit code is 1 if something is wrong.",
    )
    add_experiment_arguments(doctor)

    lr_range = add_verb(
        subparsers, "lr-range", "It trains on this machine, and refuses a profile of SLURM."
    )
    add_experiment_arguments(lr_range)

    check = add_verb(subparsers, "cluster-check", cluster=False)
    check.add_argument("profile", type=Path, metavar="CLUSTER", help="a file of cluster/")

    verify = add_verb(subparsers, "verify")
    verify.add_argument(
        "sets",
        nargs="+",
        metavar="SET",
        help="a feature set; or a sweep or a corpus, for all of its feature sets",
    )

    inspect = add_verb(subparsers, "inspect")
    inspect.add_argument(
        "target", metavar="SET", help="a shard, a feature set, a sweep, or a corpus"
    )
    inspect.add_argument(
        "--utterance", metavar="ID", help="only this utterance (default: the whole set)"
    )
    add_output_option(
        inspect, "draw spectrograms into this .png or .svg file (default: draw nothing)"
    )
