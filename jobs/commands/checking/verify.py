"""The verb verify: compare every byte of feature sets with its checksum.

In:   typed options.   Out: a line for each feature set and each damage; an exit code.
Not here: the comparison (pipeline/features/feature_set.py).
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobs.messages import count_text, duration_text, in_terminal, print_line
from jobs.sweep.folder import SweepFolder, sweep_name
from jobs.sweep.record import SweepRecord, read_records
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.corpus import load_corpus
from pipeline.config.sweep import changed_name
from pipeline.features import feature_set
from pipeline.features.feature_set import DESCRIPTION_FILE, STATISTICS_FILE
from pipeline.features.shards import Shard
from pipeline.files import InputError


def verify(options: argparse.Namespace) -> int:
    """Return 1 if anything is damaged or missing."""
    folders = [folder for name in options.sets for folder in find_feature_sets(name, options)]
    return max(_verify_feature_set(folder) for folder in dict.fromkeys(folders))


def find_feature_sets(name: str, options: argparse.Namespace) -> list[Path]:
    """Return the folders of the feature sets that a name stands for.

    `name`: the folder or id of one feature set, or the file or name of a sweep or a corpus.
    """
    _, work = load_profile_and_workdir(options)
    path = Path(name)
    for folder in (path, work / "features" / name):
        if (folder / DESCRIPTION_FILE).exists():
            return [folder]
    found_name = _sweep_or_corpus_name(path)
    folders = [
        sweep.features(each.feature_id)
        for sweep, record in _sweeps_named(found_name, work)
        for each in record.features
    ]
    if not folders:  # a corpus whose features were computed for runs
        descriptions = sorted((work / "features").glob(f"*/{DESCRIPTION_FILE}"))
        folders = [
            p.parent
            for p in descriptions
            if feature_set.read_description(p.parent).corpus == found_name
        ]
    if not folders:
        raise InputError(f"{name}: {_not_found_message(path, work)}")
    return folders


def _sweeps_named(name: str, work: Path) -> Iterator[tuple[SweepFolder, SweepRecord]]:
    """Yield the sweeps of a sweep or a corpus, whatever their SET."""
    for folder, record in read_records(work):
        names = {changed_name(each, record.changes) for each in (name, f"features-{name}")}
        if folder.name in {name, f"features-{name}", *names}:
            yield folder, record


def _sweep_or_corpus_name(path: Path) -> str:
    """Return the name of a sweep or a corpus; a corpus file may set a name of its own."""
    if path.is_file():
        with suppress(InputError):  # it is a sweep, or the folder of its audio is not known here
            return load_corpus(path).name
    return sweep_name(path)


def _not_found_message(path: Path, work: Path) -> str:
    """Return what `path` is, which feature sets exist, and what to type."""
    if within := _feature_sets_in(path):
        return f"is a folder of feature sets; name one in it: {', '.join(within)}"
    if path.is_dir():
        what = f"is a folder without {DESCRIPTION_FILE}, so it is no feature set"
    elif path.is_file() and path.suffix not in {".yaml", ".yml"}:
        what = "is neither a shard nor a sweep nor a corpus"
    else:
        what = f"is neither a feature set nor a sweep or corpus with features in {work}"
    if made := _feature_sets_in(work / "features"):
        return (
            f"{what}; the feature sets are {', '.join(made)}: name one with FEATURES=…, or "
            "their corpus with CORPUS=…"
        )
    return f"{what}; run make features, or name another work folder with WORK=… or CLUSTER=…"


def _feature_sets_in(folder: Path) -> list[str]:
    return sorted(found.parent.name for found in folder.glob(f"*/{DESCRIPTION_FILE}"))


def _verify_feature_set(folder: Path) -> int:
    description = feature_set.read_description(folder)
    shards = feature_set.find_shards(folder, description.shards)
    damage = [str(shard) for shard in shards if isinstance(shard, InputError)]
    whole = [shard.path for shard in shards if isinstance(shard, Shard)]
    files = [*whole, *(path for path in [folder / STATISTICS_FILE] if path.exists())]
    read, began = 0, time.monotonic()
    for number, path in enumerate(files):
        if in_terminal():
            print(f"{folder.name}: {number} of {len(files)}", end="\r", flush=True)
        try:
            read += feature_set.verify_or_set_aside(path)
        except InputError as error:
            damage.append(str(error))
    took = time.monotonic() - began
    for line in damage:
        print_line(f"damaged: {line}")
    verdict = f"{len(damage)} damaged or missing" if damage else "all whole"
    speed = f"{read / 1e6:.1f} MB in {duration_text(took)}, {read / took / 1e9:.2f} GB/s"
    print_line(
        f"{folder.name}: {len(whole)} of {count_text(description.shards, 'shard')} read, "
        f"{speed}: {verdict}"
    )
    return int(bool(damage))
