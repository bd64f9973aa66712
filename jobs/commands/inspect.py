"""The verb inspect: print and draw what a shard or a feature set holds.

In:   typed options.   Out: lines; a figure; an exit code.
Not here: the format (pipeline/features/shards.py), drawing
(pipeline/results/figures/spectrograms.py).
"""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from shlex import quote

import numpy as np

from jobs.commands.checking.verify import find_feature_sets
from jobs.messages import count_text, print_line
from pipeline.features import feature_set
from pipeline.features.hdf5 import check_datasets
from pipeline.features.shards import Shard, StoredUtterance
from pipeline.features.statistics import Statistics
from pipeline.files import InputError

MAX_LISTED_ITEMS = 5  # utterances, refusals
DEFAULT_SPECTROGRAM_COUNT = 4  # utterances to draw if none is named
SHADES = " .:-=+*#%@"


def inspect(options: argparse.Namespace) -> int:
    shards = _open_shards(options)
    shard = shards[0]
    if options.utterance:
        found = [(s, u) for s in shards for u in s.utterances if u.id == options.utterance]
        if not found:
            every = [utterance.id for each in shards for utterance in each.utterances]
            raise InputError(
                f"UTTERANCE={options.utterance}: not in {options.target}; "
                f"{_suggest_ids(options.utterance, every)}"
            )
    else:
        found = [(shard, utterance) for utterance in shard.utterances[:DEFAULT_SPECTROGRAM_COUNT]]
    if options.output:
        spectrograms = import_module("pipeline.results.figures.spectrograms")
        drawn = [
            spectrograms.Spectrogram(f"{u.id}: {u.transcript}", s.reader()(u.start, u.stop))
            for s, u in found
        ]
        spectrograms.draw_spectrograms(drawn, shard.settings, options.output)
    if options.utterance:
        _print_utterance(*found[0])
    else:
        _print_shards(shards)
    if options.output:
        print_line(f"drawn: {options.output}")
    return 0


def _suggest_ids(utterance_id: str, ids: Sequence[str]) -> str:
    if close := get_close_matches(utterance_id, ids, n=1):
        return f"did you mean {close[0]}?"
    if not ids:
        return "it has no utterances"
    more = ", …; the manifests in the work folder list all" if ids[MAX_LISTED_ITEMS:] else ""
    return f"its ids are {', '.join(ids[:MAX_LISTED_ITEMS])}{more}"


def _open_shards(options: argparse.Namespace) -> list[Shard]:
    path = Path(options.target)
    if path.is_file() and path.suffix == ".h5":
        return [Shard.open(path)]
    folders = find_feature_sets(options.target, options)
    if len(folders) > 1:
        _print_choices(folders, options.output)
        raise InputError(
            f"{options.target}: has {len(folders)} feature sets; type one of the above"
        )
    return list(feature_set.FeatureSet.open(folders[0]).shards)


def _print_choices(folders: Sequence[Path], output: Path | None) -> None:
    """Print what each feature set is, and the command that shows it."""
    to_file = f" OUT={quote(str(output))}" if output else ""
    for folder in folders:
        settings = feature_set.read_description(folder).settings
        defaults = type(settings)().model_dump()
        changed = [
            f"{key} {value}"
            for key, value in settings.model_dump().items()
            if value != defaults[key]
        ]
        print_line(f"{settings.spectrum}: {', '.join(changed) or 'the default settings'}")
        print_line(f"    make inspect FEATURES={quote(str(folder))}{to_file}")


def _print_shards(shards: Sequence[Shard]) -> None:
    """Print what the shards hold together, and the datasets of the first one."""
    first, settings = shards[0], shards[0].settings
    print_line(f"{first.feature_id}: {count_text(len(shards), 'shard')} of {first.count}")
    engines = sorted({shard.engine or "unknown" for shard in shards})
    print_line(f"  computed by: {', '.join(engines)}")
    print_line("  " + ", ".join(f"{key} {value}" for key, value in settings.model_dump().items()))
    print_line(f"  {first.path.name}:")
    for each in check_datasets(first.path):
        print_line(f"    {each.name} {each.shape} {each.dtype}{'' if each.intact else ': DAMAGED'}")
    utterances = [utterance for shard in shards for utterance in shard.utterances]
    splits = [utterance.split for utterance in utterances]
    named = ", ".join(f"{name} {splits.count(name)}" for name in sorted(set(splits)))
    rows = sum(shard.rows for shard in shards)
    hours = rows * settings.hop_length / settings.sample_rate / 3600
    print_line(
        f"  {count_text(len(utterances), 'utterance')} ({named}), {rows} frames, {hours:.3f} h"
    )
    for utterance in utterances[:MAX_LISTED_ITEMS]:
        print_line(f"    {utterance.id}: {utterance.frames} frames: {utterance.transcript}")
    _print_statistics(sum((s.statistics for s in shards), Statistics.empty(settings.bins)))
    refusals = [refusal for shard in shards for refusal in shard.refusals]
    print_line(f"  {count_text(len(refusals), 'refusal')}")
    for refusal in refusals[:MAX_LISTED_ITEMS]:
        print_line(f"    {refusal.utterance}: {refusal.reason}")


def _print_statistics(statistics: Statistics) -> None:
    if statistics.count:
        mean, deviation = statistics.mean, np.sqrt(statistics.variance)
        print_line(
            f"  statistics of {statistics.count} training frames, smallest to largest bin: mean "
            f"{mean.min():.3g} to {mean.max():.3g}, deviation "
            f"{deviation.min():.3g} to {deviation.max():.3g}"
        )


def _print_utterance(shard: Shard, utterance: StoredUtterance) -> None:
    frames = shard.reader()(utterance.start, utterance.stop).astype(np.float32)
    print_line(f"{utterance.id}: {utterance.transcript}")
    print_line(
        f"  {shard.path.name}, rows {utterance.start} to {utterance.stop}, speaker "
        f"{utterance.speaker}, split {utterance.split}"
    )
    if frames.size:
        seconds = utterance.frames * shard.settings.hop_length / shard.settings.sample_rate
        print_line(
            f"  {utterance.frames} frames, {seconds:.2f} s; minimum {frames.min():.3g}, "
            f"mean {frames.mean():.3g}, maximum {frames.max():.3g}"
        )
        if sys.stdout.isatty():
            for line in _ascii_spectrogram(frames):
                print_line(line)


def _ascii_spectrogram(frames: np.ndarray, width: int = 76, height: int = 12) -> list[str]:
    """Return lines of characters: time to the right, frequency upwards, dark is loud."""
    columns = np.linspace(0, len(frames) - 1, min(width, len(frames))).astype(int)
    rows = np.linspace(frames.shape[1] - 1, 0, min(height, frames.shape[1])).astype(int)
    selected = frames[np.ix_(columns, rows)].T
    low, high = np.percentile(frames, [5, 99])
    level = np.clip((selected - low) / max(high - low, 1e-9), 0, 1) * (len(SHADES) - 1)
    return ["".join(SHADES[value] for value in row) for row in level.astype(int)]
