"""Input scale: the frames that the network sees, and what explains a value that is too large.

In:   an experiment, its feature set, the training split.   Out: numbers in words, and a remedy.
Not here: the other checks before training (preflight.py).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from pipeline.config.experiment import Experiment
from pipeline.corpus.levels import SOUND_PROBLEMS, read_suspicious
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.health.symptoms import MAX_SCALED_Z, missing_scaling
from pipeline.training.data.batches import SplitData

SCALE_CHECK_UTTERANCES = 64
MIN_INPUT_DEVIATION = 1e-3  # standard deviation of the bin that varies most
MAX_IDS = 5  # in a message
MAX_SPREAD_OF_EMPTY_BIN = 0.05  # standard deviations between the quartiles; 1.3 is usual

CONSTANT_INPUT = "the input is the same in every frame"
AUDIO_ADVICE = "look at the audio files with make inspect"
RATE_ADVICE = (
    "set features.sample_rate to the lowest rate that make features names, or "
    "features.mel_high_hz to half of it"
)
LISTEN_ADVICE = (
    "listen to them, for silence or noise instead of speech; list them under exclude: in the "
    "corpus file, or repair them"
)


def suspicious_sound(features: FeatureSet) -> str:
    """Return the kinds of suspicious sound in the feature set with their counts, or ""."""
    counts = Counter(each.kind for each in read_suspicious([features.folder]))
    return "; ".join(
        f"{problem.split(';')[0]}: {counts[kind]} of {len(features.utterances)} utterances"
        for kind, problem in SOUND_PROBLEMS.items()
        if counts[kind]
    )


def check_input_scale(
    experiment: Experiment, features: FeatureSet, train: SplitData
) -> tuple[str, str]:
    """Check frames of utterances of all lengths, without padding.

    Return what was found, and the remedy: "" if the scale is right.
    """
    indices = train.evenly_spaced_by_length(SCALE_CHECK_UTTERANCES)
    batch = train.make_batch(np.array(indices, np.int64))
    each = [batch.frames[b, :n].double() for b, n in enumerate(batch.lengths.tolist())]
    x_TF = torch.cat(each)
    if not bool(x_TF.isfinite().all()):
        return "the input has NaN or infinity", f"set features.storage: float32, or {AUDIO_ADVICE}"
    largest = float(x_TF.abs().max())
    centred_TF = x_TF - x_TF.mean(0)
    variance_F = (centred_TF**2).mean(0).clamp(min=1e-30)
    kurtosis = float(((centred_TF**4).mean(0) / variance_F**2 - 3).median())
    moments = f"mean {float(x_TF.mean()):.2f}, deviation {float(x_TF.std()):.2f}"
    summary = f"{moments}, largest |z| {largest:.3g}, median excess kurtosis {kurtosis:.3g}"
    is_log = experiment.features.is_log_scale
    if float(variance_F.max().sqrt()) < MIN_INPUT_DEVIATION:
        floor = f"lower features.floor, which is {experiment.features.floor:g}, or "
        remedy = f"{floor if is_log else ''}{AUDIO_ADVICE}"
        return f"{CONSTANT_INPUT}: {summary}", remedy
    if largest <= MAX_SCALED_Z:
        return summary, ""
    if missing := missing_scaling(experiment):
        return f"the input is not scaled: {summary}", f"set {' and '.join(missing)}"
    names = [train.utterances[index].id for index in indices]
    cause, remedy = _explain_large_values(experiment, each, names)
    return f"{cause}: {summary}", remedy


def _explain_large_values(
    experiment: Experiment, utterances: Sequence[torch.Tensor], names: Sequence[str]
) -> tuple[str, str]:
    """Return why a scaled input has values that are too large, and what to do."""
    bins = experiment.features.bins
    large_F = torch.cat([(x_TF.abs() > MAX_SCALED_Z) for x_TF in utterances]).any(0)
    large = sorted({int(f) % bins for f in large_F.nonzero()})
    ids = [
        name
        for name, x_TF in zip(names, utterances, strict=True)
        if bool((x_TF.abs() > MAX_SCALED_Z).any())
    ]
    if large[0] and _is_constant_mostly(torch.cat(list(utterances)), large, bins):
        cause = f"bins {large[0]} to {large[-1]} of {bins} are empty in most frames"
        return f"{cause}, as in audio that was recorded at a lower sampling rate", RATE_ADVICE
    more = f" and {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else ""
    named = f"{', '.join(ids[:MAX_IDS])}{more}"
    cause = f"{len(ids)} of {len(names)} utterances have values far from all others ({named})"
    return cause, LISTEN_ADVICE


def _is_constant_mostly(x_TF: torch.Tensor, bins: Sequence[int], bin_count: int) -> bool:
    """Return whether half of all frames have the same value, in each of these bins."""
    lower, upper = (
        x_TF.kthvalue(max(1, round(share * len(x_TF))), dim=0).values for share in (0.25, 0.75)
    )
    spread_F = (upper - lower).reshape(-1, bin_count).amax(0)
    return all(float(spread_F[each]) < MAX_SPREAD_OF_EMPTY_BIN for each in bins)
