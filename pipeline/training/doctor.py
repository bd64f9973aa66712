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

from pipeline.config import Experiment
from pipeline.corpus.text import Alphabet, alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.training import ctc, machine, schedule
from pipeline.training.batches import Split
from pipeline.training.cost import cost
from pipeline.training.escape import LEAST_REACH, UNSCALED, USUAL
from pipeline.training.health import Health
from pipeline.training.layers import Dropout
from pipeline.training.learner import DivergedError, Learner, derived
from pipeline.training.machine import Device
from pipeline.training.model import Network
from pipeline.training.recogniser import Recogniser
from pipeline.training.splits import MOST_NAMED, Splits, check
from pipeline.training.state import State
from pipeline.training.store import joined
from pipeline.training.tally import Tally

BY_HEART = 8  # utterances
LEARNING_RATE = 3e-3  # of AdamW: takes some hundred updates, whatever the network
MOST_UPDATES = 1000
MOST_SECONDS = 40.0
LOOKED_AT = 64  # utterances, for the scale of the input


@dataclass(frozen=True)
class Finding:
    about: str
    what: str
    remedy: str = ""  # where something is wrong

    @property
    def well(self) -> bool:
        return not self.remedy


def examine(
    experiment: Experiment, features: FeatureSet, device: Device = "auto"
) -> Iterator[Finding]:
    """Raises InputError where the rest cannot be looked at."""
    letters, chosen = alphabet(experiment.alphabet), machine.device(device)
    check(features.utterances, letters)
    yield _alphabet(features, letters)
    torch.manual_seed(derived(experiment.train.seed, 0))
    network = Network(experiment.model, features.bins, experiment.input.stack, letters.size)
    yield _feasibility(experiment, features, letters, network)
    splits = Splits.gather(features, experiment, network.steps, residence=None)
    yield _scale(splits.train)
    yield _lines(splits, network, letters)
    yield _network(experiment, features, network)
    yield _updates(experiment, splits.train)
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
    train = [u for u in features.utterances if u.split == "train"]
    frames = np.array([u.frames for u in train], np.int64)
    steps: np.ndarray = network.steps(joined(frames, experiment.input.stack))
    labels = [tuple(letters.encode(u.transcript)) for u in train]
    needs = np.array([ctc.minimum_frames(one) for one in labels], np.int64)
    density = sum(map(len, labels)) / max(int(steps.sum()), 1)
    short = np.flatnonzero(steps < needs)
    if not len(short):
        what = f"all {len(train)} training utterances can be aligned; {density:.2f} labels a step"
        return Finding("feasibility", what)
    stride = min(ctc.largest_stride(int(frames[u]), labels[u]) for u in short)
    named = ", ".join(train[u].id for u in short[:MOST_NAMED])
    way = f"take at most every {stride}. frame: lower input.stack or model.time_strides"
    return Finding(
        "feasibility",
        f"{len(short)} of {len(train)} training utterances have more labels than steps: {named}",
        way if stride else "lower features.hop_ms, or list them under exclude: in the corpus file",
    )


def _scale(train: Split) -> Finding:
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
    kurtosis = float(((centred**4).mean(0) / variance**2 - 3).median())
    spread = f"mean {float(whole.mean()):.2f}, deviation {float(whole.std()):.2f}"
    what = f"{spread}, largest |z| {largest:.3g}, median excess kurtosis {kurtosis:.3g}"
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
            ctc.uniform_loss(n, y, letters.size) / max(len(y), 1)
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
    second = round(1000 / experiment.features.hop_ms / experiment.input.stack)  # frames
    found = cost(network, second)
    return Finding(
        "network",
        f"{found.parameters:,} parameters; {found.multiply_adds / 1e6:.1f} million multiply-adds "
        f"per second of speech, and twice as many backward; {network.steps(second)} steps a second",
    )


def _updates(experiment: Experiment, train: Split) -> Finding:
    settings = experiment.train
    each = math.ceil(len(train) / settings.batch)
    updates = settings.epochs * each
    what = f"{settings.epochs} epochs of {each} updates are {updates}"
    rates = (schedule.learning_rate(settings, u, updates) for u in range(1, updates + 1))
    if settings.optimiser != "sgd" and (way := sum(rates)) < LEAST_REACH:
        return Finding(
            "updates",
            f"{what}: at lr {settings.learning_rate:g} they move a weight by at most {way:.0e}",
            "raise train.learning_rate: 1e-3 is sane for adam and adamw",
        )
    if updates < USUAL[0]:
        return Finding(
            "updates",
            f"{what}; escape from the blanks usually comes after {USUAL[0]} to {USUAL[1]}",
            "raise train.epochs, or lower train.batch",
        )
    return Finding("updates", what)


def _by_heart(experiment: Experiment, train: Split, network: Network, letters: Alphabet) -> Finding:
    """The shorter quarter of the utterances, so that it takes seconds."""
    ascending = np.argsort(train.stored, kind="stable")
    shorter = train.choose(ascending[: max(BY_HEART, len(train) // 4)].tolist())
    few = shorter.choose(shorter.typical(BY_HEART)).resident(network.fc3.weight.device)
    batch = few.batch(np.arange(len(few)))
    sane = _sane(experiment)
    network.dropout = Dropout(0.0)
    optimiser = schedule.optimiser(sane.train, network.parameters())
    recogniser = Recogniser(network, letters, batch.frames.device)
    learner, state = Learner(sane, recogniser, optimiser), State.start(letters.size)
    began, least = time.monotonic(), math.inf
    whose = f"{len(batch.utterances)} utterances"
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
    return Finding(
        "one batch",
        f"{whose} not learnt by heart: lowest CER {100 * least:.0f} % in {state.update} updates, "
        f"{time.monotonic() - began:.0f} s",
        _AMISS,
    )


_AMISS = "mend the scale of the input first; else features and transcripts do not belong together"


def _sane(experiment: Experiment) -> Experiment:
    changes = {"optimiser": "adamw", "learning_rate": LEARNING_RATE, "clip": 1.0}
    constant = {"schedule": "constant", "warmup_updates": 0, "weight_decay": 0.0}
    train = experiment.train.model_copy(update={**changes, **constant})
    plain = type(experiment.ctc)()
    return experiment.model_copy(update={"train": train, "ctc": plain})
