"""The verb verify: compare every byte of feature sets with its checksum.

In:   names of feature sets, or of a sweep or a corpus that has some.   Out: lines; an exit code.
Not here: the comparison (pipeline/features/shards.py).
"""

import argparse
import time
from contextlib import suppress
from pathlib import Path

from jobs.messages import count_text, duration_text, in_terminal, print_line
from jobs.sweep.folder import SweepFolder, sweep_name
from jobs.sweep.record import load_record
from jobs.work_folder import load_profile_and_workdir
from pipeline.config.corpus import load_corpus
from pipeline.features import feature_set
from pipeline.features.feature_set import DESCRIPTION_FILE, STATISTICS_FILE
from pipeline.features.shards import Shard
from pipeline.files import InputError


def verify(options: argparse.Namespace) -> int:
    """1 if anything is damaged or missing."""
    folders = [folder for name in options.sets for folder in _find_feature_sets(name, options)]
    return max(_verify_feature_set(folder) for folder in dict.fromkeys(folders))


def _find_feature_sets(name: str, options: argparse.Namespace) -> list[Path]:
    """A folder or an id of a feature set; a file or a name of a sweep or a corpus."""
    _, work = load_profile_and_workdir(options)
    path = Path(name)
    for folder in (path, work / "features" / name):
        if (folder / DESCRIPTION_FILE).exists():
            return [folder]
    found_name = _sweep_or_corpus_name(path)
    sweeps = [SweepFolder(work, each) for each in (found_name, f"features-{found_name}")]
    folders = [
        sweep.features(each.feature_id)
        for sweep in sweeps
        if sweep.record_file.exists()
        for each in load_record(sweep).features
    ]
    if not folders:  # of a corpus that only runs have wanted
        descriptions = sorted((work / "features").glob(f"*/{DESCRIPTION_FILE}"))
        folders = [
            p.parent
            for p in descriptions
            if feature_set.read_description(p.parent).corpus == found_name
        ]
    if not folders:
        raise InputError(f"{name}: {_not_found_message(path, work)}")
    return folders


def _sweep_or_corpus_name(path: Path) -> str:
    """A sweep's or a corpus's name; the file of a corpus may hold another than its own."""
    if path.is_file():
        with suppress(InputError):  # of a sweep, or its folder is not said here
            return load_corpus(path).name
    return sweep_name(path)


def _not_found_message(path: Path, work: Path) -> str:
    """What `path` is instead, and which feature sets there are."""
    if within := _feature_sets_in(path):
        return f"is a folder of feature sets; name one in it: {', '.join(within)}"
    if path.is_dir():
        what = f"is a folder without {DESCRIPTION_FILE}, and so no feature set"
    elif path.is_file() and path.suffix not in {".yaml", ".yml"}:
        what = "is no shard, no sweep and no corpus"
    else:
        what = f"no sweep or corpus whose features were made in {work}, and no feature set"
    if made := _feature_sets_in(work / "features"):
        return (
            f"{what}; there are the feature sets {', '.join(made)}: name one with FEATURES=…, or "
            "their corpus with CORPUS=…"
        )
    return f"{what}; make features makes them, WORK=… or CLUSTER=… names another work folder"


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
