"""`make bench`: Blankslate, the limits of this machine and other tools, side by side; bench.json.

It prints one table per group of cases, with the targets. A target that is not met does not fail the
command. Times change with the load of the machine; the ratios of one run are more stable.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from tests.benchmarks import (
    alphabet,
    chance,
    decoding,
    features,
    illnesses,
    lists,
    lr_range,
    padding,
    race,
    reading,
    report,
    same_runs,
    storage,
    suspicion,
    training,
)
from tests.benchmarks.corpora import BenchmarkCorpora, find_an4
from tests.benchmarks.measure import (
    PEER_MODULES,
    REPOSITORY,
    CaseGroup,
    measure_group,
    missing_peers,
)
from tests.benchmarks.show import group_record, print_group

LIBRARIES = ("numpy", "h5py", "soundfile", "torch", "torchaudio", *PEER_MODULES)
CONSOLE_WIDTH = 132  # columns, if the output is not a terminal
CPUINFO = Path("/proc/cpuinfo")

MakeGroups = Callable[[BenchmarkCorpora, bool], Iterable[CaseGroup]]
GROUP_MAKERS: dict[str, MakeGroups] = {
    "features": lambda corpora, everything: features.feature_groups(corpora),
    "command": lambda corpora, everything: features.command_groups(corpora),
    "scale": features.scale_groups,
    "compressed": lambda corpora, everything: features.compressed_groups(corpora),
    "lists": lambda corpora, everything: lists.list_groups(corpora.thin),
    "storage": lambda corpora, everything: storage.storage_groups(corpora),
    "reading": lambda corpora, everything: reading.reading_groups(corpora),
    "training": lambda corpora, everything: training.training_groups(corpora),
    "padding": lambda corpora, everything: padding.padding_groups(corpora),
    "alphabet": lambda corpora, everything: alphabet.alphabet_groups(),
    "report": lambda corpora, everything: report.report_groups(corpora.thin),
}

# They train runs or simulate sweeps, and run only where they are named.
SIMULATIONS: dict[str, Callable[[Console], object]] = {
    "statistics": chance.measure_chance,
    "race": race.measure_race,
    "same": same_runs.measure_same_runs,
    "decoding": decoding.measure_decoding,
    "suspicion": suspicion.measure_suspicion,
    "illnesses": illnesses.measure_illnesses,
    "lr-range": lr_range.measure_learning_rates,
}


def main() -> int:
    options = parse_arguments()
    if options.groups and set(options.groups) <= set(SIMULATIONS):
        return simulate(options)
    an4 = find_an4()
    console = Console()
    if not console.is_terminal:
        console.width = CONSOLE_WIDTH
    missing = list(PEER_MODULES) if options.no_peers else missing_peers()
    for name in missing:
        console.print(
            f"{name} is not installed; to compare with it: make bench-setup, then make bench"
        )
    found, started = describe_machine(options.rounds), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blankslate-bench-") as folder:
        corpora = BenchmarkCorpora(an4, Path(folder), options.thin)
        for name in options.groups or GROUP_MAKERS:
            if name in SIMULATIONS:
                found[name] = SIMULATIONS[name](console)
                continue
            found[name] = {}
            for group in GROUP_MAKERS[name](corpora, options.all):
                rounds, failed = measure_group(group, options.rounds, missing)
                print_group(console, group, rounds)
                for line in failed:
                    console.print(line, style="red", markup=False)
                found[name][group.title] = group_record(group, rounds)
                write_results(options.out, found)
    console.print(f"{time.monotonic() - started:.0f} s; the rounds are in {options.out}")
    return 0


def simulate(options: argparse.Namespace) -> int:
    console, started = Console(width=CONSOLE_WIDTH), time.monotonic()
    found = describe_machine(1) | {name: SIMULATIONS[name](console) for name in options.groups}
    write_results(options.out, found)
    console.print(f"{time.monotonic() - started:.0f} s; the shares are in {options.out}")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "groups",
        nargs="*",
        metavar="GROUP",
        help=f"{', '.join(GROUP_MAKERS)}; default: all of these; {', '.join(SIMULATIONS)}",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds of each case; the medians are shown"
    )
    parser.add_argument(
        "--all", action="store_true", help="also AN4 listed fifty times: 5 GB of disk"
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="measure only the limits and Blankslate"
    )
    parser.add_argument("--thin", type=int, default=1, help="use every THIN-th utterance of AN4")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench.json")
    options = parser.parse_args()
    for name in options.groups:
        if name not in (*GROUP_MAKERS, *SIMULATIONS):
            names = ", ".join((*GROUP_MAKERS, *SIMULATIONS))
            parser.error(f"there is no group {name}; groups: {names}")
    return options


def describe_machine(rounds: int) -> dict[str, object]:
    models = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = {line.split(":")[1].strip() for line in models if line.startswith("model name")}
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = None
    return {
        "machine": platform.platform(),
        "processor": sorted(names),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "rounds": rounds,
    }


def write_results(path: Path, found: dict[str, object]) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
