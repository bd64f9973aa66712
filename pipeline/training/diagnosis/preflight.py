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
from pipeline.corpus.text import Alphabet, alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.plateau import HIGHEST, LEAST_REACH, UNSCALED, USUAL
from pipeline.training.data import batches
from pipeline.training.data.batches import Split
from pipeline.training.data.frame_store import joined
from pipeline.training.loop import devices, optimizer, schedule
from pipeline.training.loop.checkpoint import State
from pipeline.training.loop.devices import Device
from pipeline.training.loop.evaluator import Recogniser
from pipeline.training.loop.metrics import Tally
from pipeline.training.loop.splits import MOST_NAMED, InfeasibleError, Splits
from pipeline.training.loop.train_step import DivergedError, Learner, derived
from pipeline.training.loss import reference_line
from pipeline.training.network.cost import cost
from pipeline.training.network.layers import Dropout
from pipeline.training.network.model import Network
from pipeline.training.network.output_stats import Health

BY_HEART = 8  # utterances
LEARNING_RATE = 3e-3  # of AdamW: takes some hundred updates, whatever the network
MOST_UPDATES = 1000
MOST_SECONDS = 40.0
LOOKED_AT = 64  # utterances, for the scale of the input
LEAST_DEVIATION = 1e-3  # of the bin that varies most
SANE = 1e-3  # learning rate of adam and adamw
MOST_STEPS = 400  # a second: about 30 for each letter; a hop of 10 ms makes 100 frames
ROUNDED = 0.01  # of the hop, that whole samples take away or add


@dataclass(frozen=True)
class Finding:
    about: str
    what: str
    remedy: str = ""  # where something is wrong
    decided: bool = True

    @property
    def well(self) -> bool:
        return not self.remedy


def examine(
    experiment: Experiment,
    features: FeatureSet,
    device: Device = "auto",
    threads: int | None = None,
) -> Iterator[Finding]:
    """Raises InputError where the rest cannot be looked at."""
    if threads is not None:
        torch.set_num_threads(threads)
    letters, chosen = alphabet(experiment.alphabet), devices.device(device)
    require_trainable(features.utterances, letters)
    yield _alphabet(features, letters)
    torch.manual_seed(derived(experiment.train.seed, 0))
    network = Network(experiment.model, features.bins, experiment.input.stack, letters.size)
    yield _feasibility(experiment, features, letters, network)
    try:
        splits = Splits.gather(features, experiment, network.steps, residence=None)
    except InfeasibleError:
        return  # the feasibility above has said it
    yield _scale(experiment, splits.train)
    yield _lines(splits, network, letters)
    yield _network(experiment, features, network)
    yield _updates(experiment.train, splits)
    yield _by_heart(experiment, splits.train, network.to(chosen), letters)


def _alphabet(features: FeatureSet, letters: Alphabet) -> Finding:
    said = {c for u in features.utterances if u.split == "train" for c in u.transcript}
    heard = {c for u in features.utterances if u.split != "train" for c in u.transcript}
    all_letters = [letters.decode([label]) for label in range(1, letters.size)]
    dead = [letter for letter in all_letters if letter not in said]
    what = f"{letters.name}: {len(all_letters) - len(dead)} of {len(all_letters)} letters occur"
    if dead:
        what += f"; outputs that nothing trains: {' '.join(dead)}"
    if never := sorted(heard - said):
        return Finding(
            "alphabet",
            f"{what}; dev or test have letters that train has not: {' '.join(never)}",
            "they cannot be learnt: choose another split: in the corpus file",
        )
    return Finding("alphabet", what)


def _feasibility(
    experiment: Experiment, features: FeatureSet, letters: Alphabet, network: Network
) -> Finding:
    strides: list[int] = []
    parts: list[str] = []
    for name, kind in (("train", "training"), ("dev", "dev"), ("test", "test")):
        split = [u for u in features.utterances if u.split == name]
        frames = np.array([u.frames for u in split], np.int64)
        steps: np.ndarray = network.steps(joined(frames, experiment.input.stack))
        labels = [tuple(letters.encode(u.transcript)) for u in split]
        needs = np.array([reference_line.minimum_frames(one) for one in labels], np.int64)
        if name == "train":
            density = sum(map(len, labels)) / max(int(steps.sum()), 1)
        if len(short := np.flatnonzero(steps < needs)):
            strides += [reference_line.largest_stride(int(frames[u]), labels[u]) for u in short]
            named = ", ".join(split[u].id for u in short[:MOST_NAMED])
            more = ", …" if len(short) > MOST_NAMED else ""
            parts.append(f"{len(short)} of {len(split)} {kind} utterances ({named}{more})")
    if not parts:
        what = f"all {len(features.utterances)} utterances can be aligned"
        return Finding("feasibility", f"{what}; {density:.2f} labels a step")
    way = f"take at most every {min(strides)}. frame: lower input.stack or model.time_strides"
    return Finding(
        "feasibility",
        f"more labels than steps: {', '.join(parts)}; a run lists all in its log",
        way
        if min(strides)
        else "lower features.hop_ms, or list them under exclude: in the corpus file",
    )


def _scale(experiment: Experiment, train: Split) -> Finding:
    """Of what the network sees, padding left out."""
    batch = train.batch(np.array(train.typical(LOOKED_AT), np.int64))
    whole = torch.cat([batch.frames[b, :n] for b, n in enumerate(batch.lengths.tolist())]).double()
    if not bool(whole.isfinite().all()):
        return Finding(
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
    if varies < LEAST_DEVIATION:
        floor = f"lower features.floor, which is {experiment.features.floor:g}, or "
        return Finding(
            "scale",
            f"the input is the same in every frame: {what}",
            f"{floor if experiment.features.is_logarithm else ''}look at the sound files with "
            "make inspect",
        )
    if largest <= UNSCALED:
        return Finding("scale", what)
    return Finding(
        "scale",
        f"the input is not scaled: {what}",
        "set features.scale: log and input.normalisation: standardise",
    )


def _lines(splits: Splits, network: Network, letters: Alphabet) -> Finding:
    parts = []
    for split in (splits.train, splits.dev):
        steps = network.steps(split.lengths).tolist()
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
    return Finding("reference lines", f"{what}; at or above it nothing has been learnt")


def _network(experiment: Experiment, features: FeatureSet, network: Network) -> Finding:
    settings = experiment.features
    second = round(settings.sample_rate / settings.hop / experiment.input.stack)  # frames
    found, steps = cost(network, second), network.steps(second)
    what = (
        f"{found.parameters:,} parameters; {found.multiply_adds / 1e6:.1f} million multiply-adds "
        f"per second of speech, and twice as many backward; {steps} steps a second"
    )
    hop_ms = 1000 * settings.hop / settings.sample_rate
    if abs(hop_ms / settings.hop_ms - 1) > ROUNDED:
        what += f"; hop_ms {settings.hop_ms:g} is rounded to {settings.hop} samples, {hop_ms:g} ms"
    if steps > MOST_STEPS:
        return Finding(
            "network",
            f"{what}, more than {MOST_STEPS}: a letter lasts tens of steps, all paid for",
            "raise features.hop_ms, input.stack or model.time_strides",
        )
    return Finding("network", what)


def _updates(settings: TrainSettings, splits: Splits) -> Finding:
    updates = batches.updates(splits.train, settings, splits.fits)
    about = "about " if updates % settings.epochs else ""  # batches by frames differ in number
    each = round(updates / settings.epochs)
    what = f"{settings.epochs} epochs of {about}{each} updates are {updates}"
    rates = [schedule.learning_rate(settings, u, updates) for u in range(1, updates + 1)]
    lr = f"at lr {settings.learning_rate:g}"
    if settings.optimiser != "sgd" and max(rates) > HIGHEST:
        return Finding(
            "updates",
            f"{what}: {lr} each of them moves every weight by more than {HIGHEST:g}",
            f"lower train.learning_rate: {SANE:g} is sane for adam and adamw",
        )
    if settings.optimiser != "sgd" and (way := sum(rates)) < LEAST_REACH:
        return Finding(
            "updates",
            f"{what}: {lr} they move a weight by at most {way:.0e}",
            _way_out(settings, updates),
        )
    if updates < USUAL[0]:
        return Finding(
            "updates",
            f"{what}; escape from the blanks usually comes after {USUAL[0]} to {USUAL[1]}",
            _MORE,
        )
    if settings.warmup_updates >= updates:
        return Finding("updates", f"{what}, all of them warm-up", _SHORTER)
    return Finding("updates", what)


def _way_out(settings: TrainSettings, updates: int) -> str:
    """Of weights that cannot get anywhere: what alone would let them."""
    if settings.warmup_updates and updates * settings.learning_rate >= LEAST_REACH:
        return _SHORTER
    if settings.learning_rate < SANE and updates * SANE >= LEAST_REACH:
        return f"raise train.learning_rate: {SANE:g} is sane for adam and adamw"
    return _MORE


_MORE = "raise train.epochs, or lower train.batch"
_SHORTER = "lower train.warmup_updates, or raise train.epochs"


def _by_heart(experiment: Experiment, train: Split, network: Network, letters: Alphabet) -> Finding:
    """The shorter quarter of the utterances, so that it takes seconds."""
    ascending = np.argsort(train.stored, kind="stable")
    shorter = train.choose(ascending[: max(BY_HEART, len(train) // 4)].tolist())
    few = shorter.choose(shorter.typical(BY_HEART)).resident(network.fc3.weight.device)
    batch = few.batch(np.arange(len(few)))
    sane = _sane(experiment)
    network.dropout = Dropout(0.0)
    optimiser = optimizer.optimiser(sane.train, network.parameters())
    recogniser = Recogniser(network, letters, batch.frames.device)
    learner, state = Learner(sane, recogniser, optimiser), State.start(letters.size)
    began, least = time.monotonic(), math.inf
    whose = f"with a rate of its own, {LEARNING_RATE:g}, {len(batch.utterances)} utterances"
    while state.update < MOST_UPDATES and time.monotonic() - began < MOST_SECONDS:
        state.tally = Tally(Health.empty(letters.size))
        try:
            learner.learn(batch, state, MOST_UPDATES)
        except DivergedError as error:
            return Finding("one batch", f"{whose} could not be learnt by heart: {error}", _AMISS)
        least = min(least, state.tally.score.cer)
        if not least:
            took = f"{state.update} updates, {time.monotonic() - began:.1f} s"
            return Finding("one batch", f"{whose} learnt by heart, CER 0 % after {took}")
    lowest = f"lowest CER {100 * least:.0f} % in {state.update} updates"
    if state.update < MOST_UPDATES:
        what = f"{whose}: stopped after {MOST_SECONDS:.0f} s, {lowest}; undecided"
        return Finding("one batch", what, decided=False)
    took = f"{time.monotonic() - began:.0f} s"
    return Finding("one batch", f"{whose} not learnt by heart: {lowest}, {took}", _AMISS)


_AMISS = "mend the scale of the input first; else features and transcripts do not belong together"


def _sane(experiment: Experiment) -> Experiment:
    changes = {"optimiser": "adamw", "learning_rate": LEARNING_RATE, "clip": 1.0}
    constant = {"schedule": "constant", "warmup_updates": 0, "weight_decay": 0.0}
    train = experiment.train.model_copy(update={**changes, **constant})
    plain = type(experiment.ctc)()
    return experiment.model_copy(update={"train": train, "ctc": plain})
