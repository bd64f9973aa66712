"""Verbs that look at features: verify, inspect.

In:   feature sets, shards, or the sweep or corpus that wanted them.   Out: lines; an exit code.
Not here: the format (pipeline/features/shards.py), drawing (pipeline/results/spectrograms.py).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import numpy as np

from jobs.console import count, duration, in_terminal, say
from jobs.profile import place
from jobs.wanted import SweepFolder, recorded, stem_of
from pipeline.corpora import load_corpus
from pipeline.features import feature_set
from pipeline.features.feature_set import DESCRIPTION, STATISTICS
from pipeline.features.hdf5 import contents
from pipeline.features.shards import Shard, StoredUtterance
from pipeline.features.statistics import Statistics
from pipeline.files import InputError

SHOWN = 5  # utterances, refusals
DRAWN = 4  # utterances, where none is named
MEGABYTE = 1e6


def verify(options: argparse.Namespace) -> int:
    """1 if anything is damaged or missing."""
    folders = [folder for name in options.sets for folder in _feature_sets(name, options)]
    return max(_verify(folder) for folder in dict.fromkeys(folders))


def inspect(options: argparse.Namespace) -> int:
    shards = _shards(options)
    shard = shards[0]
    if options.utterance:
        found = [(s, u) for s in shards for u in s.utterances if u.id == options.utterance]
        if not found:
            every = [utterance.id for each in shards for utterance in each.utterances]
            raise InputError(
                f"UTTERANCE={options.utterance}: not in {options.target}; "
                f"{_likely(options.utterance, every)}"
            )
    else:
        found = [(shard, utterance) for utterance in shard.utterances[:DRAWN]]
    if options.output:
        spectrograms = import_module("pipeline.results.spectrograms")
        pictures = [
            spectrograms.Picture(f"{u.id}: {u.transcript}", s.reader()(u.start, u.stop))
            for s, u in found
        ]
        spectrograms.draw(pictures, shard.settings, options.output)
    if options.utterance:
        _show_utterance(*found[0])
    else:
        _show(shards)
    if options.output:
        say(f"drawn: {options.output}")
    return 0


def _likely(utterance: str, ids: Sequence[str]) -> str:
    if close := get_close_matches(utterance, ids, n=1):
        return f"did you mean {close[0]}?"
    if not ids:
        return "it has no utterances"
    more = ", …: the manifests in the work folder list them all" if ids[SHOWN:] else ""
    return f"its ids are {', '.join(ids[:SHOWN])}{more}"


def _feature_sets(name: str, options: argparse.Namespace) -> list[Path]:
    """A folder or an id of a feature set; a file or a name of a sweep or a corpus."""
    _, work = place(options)
    path = Path(name)
    for folder in (path, work / "features" / name):
        if (folder / DESCRIPTION).exists():
            return [folder]
    said = _said(path)
    sweeps = [SweepFolder(work, each) for each in (said, f"features-{said}")]
    folders = [
        sweep.features(each.feature_id)
        for sweep in sweeps
        if sweep.record.exists()
        for each in recorded(sweep).features
    ]
    if not folders:  # of a corpus that only runs have wanted
        made = sorted((work / "features").glob(f"*/{DESCRIPTION}"))
        folders = [p.parent for p in made if feature_set.describe(p.parent).corpus == said]
    if not folders:
        raise InputError(f"{name}: {_nothing_there(path, work)}")
    return folders


def _said(path: Path) -> str:
    """A sweep's or a corpus's name; the file of a corpus may hold another than its own."""
    if path.is_file():
        with suppress(InputError):  # of a sweep, or its folder is not said here
            return load_corpus(path).name
    return stem_of(path)


def _nothing_there(path: Path, work: Path) -> str:
    """What `path` is instead, and which feature sets there are."""
    if within := _sets_in(path):
        return f"is a folder of feature sets; name one in it: {', '.join(within)}"
    if path.is_dir():
        what = f"is a folder without {DESCRIPTION}, and so no feature set"
    elif path.is_file() and path.suffix not in {".yaml", ".yml"}:
        what = "is no shard, no sweep and no corpus"
    else:
        what = f"no sweep or corpus whose features were made in {work}, and no feature set"
    if made := _sets_in(work / "features"):
        return (
            f"{what}; there are the feature sets {', '.join(made)}: name one with FEATURES=…, or "
            "their corpus with CORPUS=…"
        )
    return f"{what}; make features makes them, WORK=… or CLUSTER=… names another work folder"


def _sets_in(folder: Path) -> list[str]:
    return sorted(found.parent.name for found in folder.glob(f"*/{DESCRIPTION}"))


def _verify(folder: Path) -> int:
    description = feature_set.describe(folder)
    shards = feature_set.survey(folder, description.shards)
    damage = [str(shard) for shard in shards if isinstance(shard, InputError)]
    whole = [shard.path for shard in shards if isinstance(shard, Shard)]
    files = [*whole, *(path for path in [folder / STATISTICS] if path.exists())]
    read, began = 0, time.monotonic()
    for number, path in enumerate(files):
        if in_terminal():
            print(f"{folder.name}: {number} of {len(files)}", end="\r", flush=True)
        try:
            read += feature_set.compare(path)
        except InputError as error:
            damage.append(str(error))
    took = time.monotonic() - began
    for line in damage:
        say(f"damaged: {line}")
    verdict = f"{len(damage)} damaged or missing" if damage else "all whole"
    say(
        f"{folder.name}: {len(whole)} of {count(description.shards, 'shard')} read, "
        f"{read / MEGABYTE:.1f} MB in {duration(took)}, {read / took / 1e9:.2f} GB/s: {verdict}"
    )
    return int(bool(damage))


def _shards(options: argparse.Namespace) -> list[Shard]:
    path = Path(options.target)
    if path.is_file() and path.suffix == ".h5":
        return [Shard.open(path)]
    folders = _feature_sets(options.target, options)
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise InputError(f"{options.target}: has {len(folders)} feature sets: {names}; name one")
    return list(feature_set.FeatureSet.open(folders[0]).shards)


def _show(shards: Sequence[Shard]) -> None:
    """What they hold together; the datasets of the first."""
    first, settings = shards[0], shards[0].settings
    say(f"{first.feature_id}: {count(len(shards), 'shard')} of {first.count}")
    say("  " + ", ".join(f"{key} {value}" for key, value in settings.model_dump().items()))
    say(f"  {first.path.name}:")
    for each in contents(first.path):
        say(f"    {each.name} {each.shape} {each.dtype}{'' if each.whole else ': DAMAGED'}")
    utterances = [utterance for shard in shards for utterance in shard.utterances]
    splits = [utterance.split for utterance in utterances]
    named = ", ".join(f"{name} {splits.count(name)}" for name in sorted(set(splits)))
    rows = sum(shard.rows for shard in shards)
    hours = rows * settings.hop / settings.sample_rate / 3600
    say(f"  {count(len(utterances), 'utterance')} ({named}), {rows} frames, {hours:.3f} h")
    for utterance in utterances[:SHOWN]:
        say(f"    {utterance.id}: {utterance.frames} frames: {utterance.transcript}")
    _show_statistics(sum((s.statistics for s in shards), Statistics.empty(settings.bins)))
    refusals = [refusal for shard in shards for refusal in shard.refusals]
    say(f"  {count(len(refusals), 'refusal')}")
    for refusal in refusals[:SHOWN]:
        say(f"    {refusal.utterance}: {refusal.reason}")


def _show_statistics(statistics: Statistics) -> None:
    if statistics.count:
        mean, deviation = statistics.mean, np.sqrt(statistics.variance)
        say(
            f"  statistics of {statistics.count} training frames, least to greatest bin: mean "
            f"{mean.min():.3g} to {mean.max():.3g}, deviation "
            f"{deviation.min():.3g} to {deviation.max():.3g}"
        )


def _show_utterance(shard: Shard, utterance: StoredUtterance) -> None:
    frames = shard.reader()(utterance.start, utterance.stop).astype(np.float32)
    say(f"{utterance.id}: {utterance.transcript}")
    say(
        f"  {shard.path.name}, rows {utterance.start} to {utterance.stop}, speaker "
        f"{utterance.speaker}, split {utterance.split}"
    )
    if frames.size:
        seconds = utterance.frames * shard.settings.hop / shard.settings.sample_rate
        say(
            f"  {utterance.frames} frames, {seconds:.2f} s; least {frames.min():.3g}, "
            f"mean {frames.mean():.3g}, greatest {frames.max():.3g}"
        )
        if sys.stdout.isatty():
            for line in _sketch(frames):
                say(line)


SHADES = " .:-=+*#%@"


def _sketch(frames: np.ndarray, width: int = 76, height: int = 12) -> list[str]:
    """Time to the right, frequency upwards, in characters."""
    columns = np.linspace(0, len(frames) - 1, min(width, len(frames))).astype(int)
    rows = np.linspace(frames.shape[1] - 1, 0, min(height, frames.shape[1])).astype(int)
    chosen = frames[np.ix_(columns, rows)].T
    low, high = np.percentile(frames, [5, 99])
    level = np.clip((chosen - low) / max(high - low, 1e-9), 0, 1) * (len(SHADES) - 1)
    return ["".join(SHADES[value] for value in row) for row in level.astype(int)]
