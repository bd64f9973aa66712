"""Doctor: what can be known about an experiment before it is trained.

In:   an experiment, its features, a device.
Out:  findings, one by one as they are made: well or not, in numbers, with the way out.
Not here: what a run's own rows say (escape.py).

One batch is learnt by heart, with a learning rate that is known to be sane: a network, labels and
a loss that fit together reach a CER of 0. Where they do not, no training will.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.config.experiment import Experiment, TrainSettings
from pipeline.corpus.manifest import require_trainable
from pipeline.corpus.text import Alphabet, get_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.plateau import MAX_ADAM_LR, MAX_SCALED_Z, MIN_LR_SUM, TYPICAL_ESCAPE_UPDATES
from pipeline.training.data import batches
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import count_stacked_frames
from pipeline.training.loop import devices, optimizer, schedule
from pipeline.training.loop.checkpoint import TrainingState
from pipeline.training.loop.devices import Device
from pipeline.training.loop.evaluator import Evaluator
from pipeline.training.loop.metrics import EpochMetrics
from pipeline.training.loop.splits import MAX_IDS_IN_MESSAGE, InfeasibleError, Splits
from pipeline.training.loop.train_step import DivergedError, TrainStep, fold_seed
from pipeline.training.loss import reference_line
from pipeline.training.network.cost import network_cost
from pipeline.training.network.layers import Dropout
from pipeline.training.network.model import Network
from pipeline.training.network.output_stats import OutputStats

OVERFIT_UTTERANCES = 8  # utterances
OVERFIT_LEARNING_RATE = 3e-3  # of AdamW: takes some hundred updates, whatever the network
OVERFIT_MAX_UPDATES = 1000
OVERFIT_TIMEOUT_S = 40.0
SCALE_CHECK_UTTERANCES = 64  # utterances, for the scale of the input
MIN_INPUT_DEVIATION = 1e-3  # of the bin that varies most
SAFE_ADAM_LR = 1e-3  # learning rate of adam and adamw
MAX_STEPS_PER_SECOND = 400  # a second: about 30 for each letter; a hop of 10 ms makes 100 frames
HOP_ROUNDING_TOLERANCE = 0.01  # of the hop, that whole samples take away or add


@dataclass(frozen=True)
class PreflightResult:
    check: str
    result: str
    remedy: str = ""  # where something is wrong
    conclusive: bool = True

    @property
    def ok(self) -> bool:
        return not self.remedy


def run_preflight(
    experiment: Experiment,
    features: FeatureSet,
    device: Device = "auto",
    threads: int | None = None,
) -> Iterator[PreflightResult]:
    """Raises InputError where the rest cannot be looked at."""
    if threads is not None:
        torch.set_num_threads(threads)
    letters, chosen = get_alphabet(experiment.alphabet), devices.select_device(device)
    require_trainable(features.utterances, letters)
    yield _check_alphabet(features, letters)
    torch.manual_seed(fold_seed(experiment.train.seed, 0))
    network = Network(experiment.model, features.bins, experiment.input.stack, letters.size)
    yield _check_feasibility(experiment, features, letters, network)
    try:
        splits = Splits.from_features(features, experiment, network.output_length, residence=None)
    except InfeasibleError:
        return  # the feasibility above has said it
    yield _check_input_scale(experiment, splits.train)
    yield _check_reference_losses(splits, network, letters)
    yield _check_network(experiment, features, network)
    yield _check_updates(experiment.train, splits)
    yield _overfit_one_batch(experiment, splits.train, network.to(chosen), letters)


def _check_alphabet(features: FeatureSet, letters: Alphabet) -> PreflightResult:
    said = {c for u in features.utterances if u.split == "train" for c in u.transcript}
    heard = {c for u in features.utterances if u.split != "train" for c in u.transcript}
    all_letters = [letters.decode([label]) for label in range(1, letters.size)]
    dead = [letter for letter in all_letters if letter not in said]
    what = f"{letters.name}: {len(all_letters) - len(dead)} of {len(all_letters)} letters occur"
    if dead:
        what += f"; outputs that nothing trains: {' '.join(dead)}"
    if never := sorted(heard - said):
        return PreflightResult(
            "alphabet",
            f"{what}; dev or test have letters that train has not: {' '.join(never)}",
            "they cannot be learnt: choose another split: in the corpus file",
        )
    return PreflightResult("alphabet", what)


def _check_feasibility(
    experiment: Experiment, features: FeatureSet, letters: Alphabet, network: Network
) -> PreflightResult:
    strides: list[int] = []
    parts: list[str] = []
    for name, kind in (("train", "training"), ("dev", "dev"), ("test", "test")):
        split = [u for u in features.utterances if u.split == name]
        frames = np.array([u.frames for u in split], np.int64)
        output_length: np.ndarray = network.output_length(
            count_stacked_frames(frames, experiment.input.stack)
        )
        labels = [tuple(letters.encode(u.transcript)) for u in split]
        needs = np.array([reference_line.minimum_frames(one) for one in labels], np.int64)
        if name == "train":
            density = sum(map(len, labels)) / max(int(output_length.sum()), 1)
        if len(short := np.flatnonzero(output_length < needs)):
            strides += [reference_line.largest_stride(int(frames[u]), labels[u]) for u in short]
            named = ", ".join(split[u].id for u in short[:MAX_IDS_IN_MESSAGE])
            more = ", …" if len(short) > MAX_IDS_IN_MESSAGE else ""
            parts.append(f"{len(short)} of {len(split)} {kind} utterances ({named}{more})")
    if not parts:
        what = f"all {len(features.utterances)} utterances can be aligned"
        return PreflightResult("feasibility", f"{what}; {density:.2f} labels a step")
    way = f"take at most every {min(strides)}. frame: lower input.stack or model.time_strides"
    return PreflightResult(
        "feasibility",
        f"more labels than steps: {', '.join(parts)}; a run lists all in its log",
        way
        if min(strides)
        else "lower features.hop_ms, or list them under exclude: in the corpus file",
    )


def _check_input_scale(experiment: Experiment, train: SplitData) -> PreflightResult:
    """Of what the network sees, padding left out."""
    batch = train.make_batch(
        np.array(train.evenly_spaced_by_length(SCALE_CHECK_UTTERANCES), np.int64)
    )
    whole = torch.cat([batch.frames[b, :n] for b, n in enumerate(batch.lengths.tolist())]).double()
    if not bool(whole.isfinite().all()):
        return PreflightResult(
            "scale",
            "the input holds values that are no finite numbers",
            "set features.storage: float32, or look at the sound files with make inspect",
        )
    largest = float(whole.abs().max())
    centred = whole - whole.mean(0)
    variance = (centred**2).mean(0).clamp(min=1e-30)
    varies = float(variance.max().sqrt())
    kurtosis = float(((centred**4).mean(0) / variance**2 - 3).median())
    spread = f"mean {float(whole.mean()):.2f}, deviation {float(whole.std()):.2f}"
    what = f"{spread}, largest |z| {largest:.3g}, median excess kurtosis {kurtosis:.3g}"
    if varies < MIN_INPUT_DEVIATION:
        floor = f"lower features.floor, which is {experiment.features.floor:g}, or "
        return PreflightResult(
            "scale",
            f"the input is the same in every frame: {what}",
            f"{floor if experiment.features.is_log_scale else ''}look at the sound files with "
            "make inspect",
        )
    if largest <= MAX_SCALED_Z:
        return PreflightResult("scale", what)
    return PreflightResult(
        "scale",
        f"the input is not scaled: {what}",
        "set features.scale: log and input.normalisation: standardise",
    )


def _check_reference_losses(splits: Splits, network: Network, letters: Alphabet) -> PreflightResult:
    parts = []
    for split in (splits.train, splits.dev):
        steps = network.output_length(split.lengths).tolist()
        found = [
            reference_line.uniform_loss(n, y, letters.size) / max(len(y), 1)
            for n, y in zip(steps, split.labels, strict=True)
        ]
        finite = [loss for loss in found if math.isfinite(loss)]
        uniform = sum(finite) / len(finite) if finite else math.nan
        parts.append(
            f"{split.name} {splits.reference_loss(split.name):.2f} (uniform {uniform:.2f})"
        )
    what = f"best constant output, nats per character: {', '.join(parts)}"
    return PreflightResult("reference lines", f"{what}; at or above it nothing has been learnt")


def _check_network(
    experiment: Experiment, features: FeatureSet, network: Network
) -> PreflightResult:
    settings = experiment.features
    second = round(settings.sample_rate / settings.hop_length / experiment.input.stack)  # frames
    found, steps = network_cost(network, second), network.output_length(second)
    what = (
        f"{found.parameters:,} parameters; {found.multiply_adds / 1e6:.1f} million multiply-adds "
        f"per second of speech, and twice as many backward; {steps} steps a second"
    )
    hop_ms = 1000 * settings.hop_length / settings.sample_rate
    if abs(hop_ms / settings.hop_ms - 1) > HOP_ROUNDING_TOLERANCE:
        what += f"; hop_ms {settings.hop_ms:g} is rounded to {settings.hop_length} samples, {hop_ms:g} ms"
    if steps > MAX_STEPS_PER_SECOND:
        return PreflightResult(
            "network",
            f"{what}, more than {MAX_STEPS_PER_SECOND}: a letter lasts tens of steps, all paid for",
            "raise features.hop_ms, input.stack or model.time_strides",
        )
    return PreflightResult("network", what)


def _check_updates(settings: TrainSettings, splits: Splits) -> PreflightResult:
    updates = batches.count_updates(splits.train, settings, splits.is_feasible)
    about = "about " if updates % settings.epochs else ""  # batches by frames differ in number
    each = round(updates / settings.epochs)
    what = f"{settings.epochs} epochs of {about}{each} updates are {updates}"
    rates = [schedule.learning_rate(settings, u, updates) for u in range(1, updates + 1)]
    lr = f"at lr {settings.learning_rate:g}"
    if settings.optimiser != "sgd" and max(rates) > MAX_ADAM_LR:
        return PreflightResult(
            "updates",
            f"{what}: {lr} each of them moves every weight by more than {MAX_ADAM_LR:g}",
            f"lower train.learning_rate: {SAFE_ADAM_LR:g} is sane for adam and adamw",
        )
    if settings.optimiser != "sgd" and (way := sum(rates)) < MIN_LR_SUM:
        return PreflightResult(
            "updates",
            f"{what}: {lr} they move a weight by at most {way:.0e}",
            _advise_on_updates(settings, updates),
        )
    if updates < TYPICAL_ESCAPE_UPDATES[0]:
        return PreflightResult(
            "updates",
            f"{what}; escape from the blanks usually comes after {TYPICAL_ESCAPE_UPDATES[0]} to {TYPICAL_ESCAPE_UPDATES[1]}",
            _MORE_UPDATES_ADVICE,
        )
    if settings.warmup_updates >= updates:
        return PreflightResult("updates", f"{what}, all of them warm-up", _SHORTER_WARMUP_ADVICE)
    return PreflightResult("updates", what)


def _advise_on_updates(settings: TrainSettings, updates: int) -> str:
    """Of weights that cannot get anywhere: what alone would let them."""
    if settings.warmup_updates and updates * settings.learning_rate >= MIN_LR_SUM:
        return _SHORTER_WARMUP_ADVICE
    if settings.learning_rate < SAFE_ADAM_LR and updates * SAFE_ADAM_LR >= MIN_LR_SUM:
        return f"raise train.learning_rate: {SAFE_ADAM_LR:g} is sane for adam and adamw"
    return _MORE_UPDATES_ADVICE


_MORE_UPDATES_ADVICE = "raise train.epochs, or lower train.batch"
_SHORTER_WARMUP_ADVICE = "lower train.warmup_updates, or raise train.epochs"


def _overfit_one_batch(
    experiment: Experiment, train: SplitData, network: Network, letters: Alphabet
) -> PreflightResult:
    """The shorter quarter of the utterances, so that it takes seconds."""
    ascending = np.argsort(train.frame_counts, kind="stable")
    shorter = train.take(ascending[: max(OVERFIT_UTTERANCES, len(train) // 4)].tolist())
    few = shorter.take(shorter.evenly_spaced_by_length(OVERFIT_UTTERANCES)).to_resident(
        network.fc3.weight.device
    )
    batch = few.make_batch(np.arange(len(few)))
    sane = _overfit_experiment(experiment)
    network.dropout = Dropout(0.0)
    optimiser = optimizer.make_optimizer(sane.train, network.parameters())
    recogniser = Evaluator(network, letters, batch.frames.device)
    learner, state = TrainStep(sane, recogniser, optimiser), TrainingState.initial(letters.size)
    began, least = time.monotonic(), math.inf
    whose = f"with a rate of its own, {OVERFIT_LEARNING_RATE:g}, {len(batch.utterances)} utterances"
    while state.update < OVERFIT_MAX_UPDATES and time.monotonic() - began < OVERFIT_TIMEOUT_S:
        state.train_metrics = EpochMetrics(OutputStats.empty(letters.size))
        try:
            learner.step(batch, state, OVERFIT_MAX_UPDATES)
        except DivergedError as error:
            return PreflightResult(
                "one batch", f"{whose} could not be learnt by heart: {error}", _NOT_LEARNT_ADVICE
            )
        least = min(least, state.train_metrics.score.cer)
        if not least:
            took = f"{state.update} updates, {time.monotonic() - began:.1f} s"
            return PreflightResult("one batch", f"{whose} learnt by heart, CER 0 % after {took}")
    lowest = f"lowest CER {100 * least:.0f} % in {state.update} updates"
    if state.update < OVERFIT_MAX_UPDATES:
        what = f"{whose}: stopped after {OVERFIT_TIMEOUT_S:.0f} s, {lowest}; undecided"
        return PreflightResult("one batch", what, conclusive=False)
    took = f"{time.monotonic() - began:.0f} s"
    return PreflightResult(
        "one batch", f"{whose} not learnt by heart: {lowest}, {took}", _NOT_LEARNT_ADVICE
    )


_NOT_LEARNT_ADVICE = (
    "mend the scale of the input first; else features and transcripts do not belong together"
)


def _overfit_experiment(experiment: Experiment) -> Experiment:
    changes = {"optimiser": "adamw", "learning_rate": OVERFIT_LEARNING_RATE, "clip": 1.0}
    constant = {"schedule": "constant", "warmup_updates": 0, "weight_decay": 0.0}
    train = experiment.train.model_copy(update={**changes, **constant})
    plain = type(experiment.ctc)()
    return experiment.model_copy(update={"train": train, "ctc": plain})
