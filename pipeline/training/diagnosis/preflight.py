"""Preflight: the checks of an experiment that `make doctor` makes before any training.

In:   an experiment, its features, a device.
Out:  the result of each check as soon as it is known: ok or not, with numbers and a remedy.
Not here: what the rows of a run say about it (pipeline/runs/plateau.py).

The last check overfits one batch, with a learning rate that is known to work and the dropout and
the weight decay of the experiment. If network, labels and loss fit together, the CER reaches 0. If
it does not, no training can succeed. It counts updates, so a busy machine changes no result.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.config.experiment import Experiment, TrainSettings
from pipeline.corpus.manifest import require_trainable
from pipeline.corpus.text.alphabet import Alphabet, resolve_alphabet
from pipeline.decoding.scoring import Scoring
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.health.symptoms import unusual_settings
from pipeline.runs.plateau import (
    BASELINE_ESCAPE_UPDATES,
    MAX_ADAM_LR,
    MIN_LR_SUM,
    TYPICAL_ESCAPE,
)
from pipeline.training.data import epoch_plan
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import count_stacked_frames
from pipeline.training.diagnosis import input_scale
from pipeline.training.loop import devices
from pipeline.training.loop.checkpoint import TrainingState
from pipeline.training.loop.devices import Device
from pipeline.training.loop.evaluator import Evaluator
from pipeline.training.loop.metrics import Evaluation
from pipeline.training.loop.splits import MAX_IDS_IN_MESSAGE, InfeasibleError, Splits
from pipeline.training.loop.train_step import DivergedError, TrainStep, fold_seed
from pipeline.training.loss.constant_output import uniform_loss
from pipeline.training.loss.feasibility import largest_stride, minimum_frames
from pipeline.training.network.cost import network_cost
from pipeline.training.network.model import Network
from pipeline.training.optim import schedule
from pipeline.training.optim.optimizer import make_optimizer

OVERFIT_UTTERANCES = 8
OVERFIT_LEARNING_RATE = 3e-3  # with AdamW; any of the networks then needs a few hundred updates
OVERFIT_MAX_UPDATES = 1000
OVERFIT_CHECK_UPDATES = 10  # between two looks at the CER
LEARNT_CER_WITH_DROPOUT = 0.1  # without dropout it reaches 0
SAFE_ADAM_LR = 1e-3  # a learning rate that suits adam and adamw
FEW_INFEASIBLE = 0.1  # a share of train; with more, the strides are a likelier cause than texts
MAX_STEPS_PER_SECOND = 400  # about 30 per letter; a hop of 10 ms makes 100 frames per second
HOP_ROUNDING_TOLERANCE = 0.01  # relative change of the hop by rounding to whole samples

_SOUND_ADVICE = (
    "make features names them; repair them, or list them under exclude: in the corpus file"
)
_MORE_UPDATES_ADVICE = "raise train.epochs, or lower train.batch"
_SHORTER_WARMUP_ADVICE = "lower train.warmup_updates, or raise train.epochs"
_LEARNING_RATE_ADVICE = f"{SAFE_ADAM_LR:g} is a safe value for adam and adamw"
_NOT_LEARNT_ADVICE = (
    "fix the input scale; if it is right, the transcripts probably do not match the audio"
)


@dataclass(frozen=True)
class PreflightResult:
    check: str
    result: str
    remedy: str = ""  # empty if the check is ok

    @property
    def ok(self) -> bool:
        return not self.remedy


def run_preflight(
    experiment: Experiment,
    features: FeatureSet,
    device: Device = "auto",
    threads: int | None = None,
) -> Iterator[PreflightResult]:
    """Yield the result of each check; InputError where the rest cannot be checked."""
    if threads is not None:
        torch.set_num_threads(threads)
    alphabet = resolve_alphabet(experiment.alphabet, features.utterances)
    torch_device = devices.select_device(device)
    require_trainable(features.utterances, alphabet)
    yield _check_alphabet(features, alphabet)
    if unusual := unusual_settings(experiment):
        result = "a value can keep the network from learning"
        yield PreflightResult("settings", result, f"change {' and '.join(unusual)}")
    torch.manual_seed(fold_seed(experiment.train.seed, 0))
    network = Network(experiment.model, features.bins, experiment.input.stack, alphabet.size)
    yield _check_feasibility(experiment, features, alphabet, network)
    try:
        train = experiment.train.model_copy(update={"max_infeasible": 1.0})
        lenient = experiment.model_copy(update={"train": train})  # the check has reported them
        splits = Splits.from_features(features, lenient, network.output_length, None)
    except InfeasibleError:
        return  # the feasibility check has reported it
    if sound := input_scale.suspicious_sound(features):
        yield PreflightResult("sound", sound, _SOUND_ADVICE)
    scale = input_scale.check_input_scale(experiment, features, splits.train)
    yield PreflightResult("scale", *scale)
    yield _check_reference_losses(splits, network, alphabet, experiment.corpus.unit)
    yield _check_network(experiment, features, network)
    yield _check_updates(experiment.train, splits)
    if not scale[0].startswith(input_scale.CONSTANT_INPUT):  # from which no update can learn
        yield _overfit_one_batch(experiment, splits.train, network.to(torch_device), alphabet)


def _check_alphabet(features: FeatureSet, alphabet: Alphabet) -> PreflightResult:
    letters: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for utterance in features.utterances:
        letters[utterance.split].update(alphabet.split(utterance.transcript))
    unused = [unit for unit in alphabet.units if unit not in letters["train"]]
    used = len(alphabet.units) - len(unused)
    result = f"{alphabet.name}: {used} of {len(alphabet.units)} {alphabet.unit}s occur in train"
    if unused:
        result += f"; never trained: {' '.join(unused)}"
    if unseen := sorted((letters["dev"] | letters["test"]) - letters["train"]):
        result += f"; only in dev or test: {' '.join(unseen)}"
        if not alphabet.skips_unknown:
            remedy = "these letters cannot be learnt: choose another split: in the corpus file"
            return PreflightResult("alphabet", result, remedy)
        result += " (each counts as an error)"
    return PreflightResult("alphabet", result)


def _check_feasibility(
    experiment: Experiment, features: FeatureSet, alphabet: Alphabet, network: Network
) -> PreflightResult:
    strides: list[int] = []
    parts: list[str] = []
    few_of_train = True
    for name in ("train", "dev", "test"):
        split = [u for u in features.utterances if u.split == name]
        frames = np.array([u.frames for u in split], np.int64)
        steps: np.ndarray = network.output_length(
            count_stacked_frames(frames, experiment.input.stack)
        )
        labels = [tuple(alphabet.encode(u.transcript)) for u in split]
        required = np.array([minimum_frames(one) for one in labels], np.int64)
        if name == "train":
            labels_per_step = sum(map(len, labels)) / max(int(steps.sum()), 1)
            few_of_train = bool((steps < required).mean() <= FEW_INFEASIBLE)
        if len(short := np.flatnonzero(steps < required)):
            strides += [largest_stride(int(frames[u]), labels[u]) for u in short]
            named = ", ".join(split[u].id for u in short[:MAX_IDS_IN_MESSAGE])
            more = ", …" if len(short) > MAX_IDS_IN_MESSAGE else ""
            parts.append(f"{len(short)} of {len(split)} {name} utterances ({named}{more})")
    if not parts:
        result = f"all {len(features.utterances)} utterances can be aligned"
        return PreflightResult("feasibility", f"{result}; {labels_per_step:.2f} labels per step")
    stride = min(strides)
    remedy = "check their transcripts, list them under exclude:, or lower features.hop_ms"
    if stride:
        remedy = f"lower input.stack or model.time_strides: their product must be at most {stride}"
        if few_of_train:
            remedy = f"check the transcripts of those named; if they are right, {remedy}"
    result = f"more labels than steps: {', '.join(parts)}; the log of a run lists them all"
    return PreflightResult("feasibility", result, remedy)


def _check_reference_losses(
    splits: Splits, network: Network, alphabet: Alphabet, unit: str
) -> PreflightResult:
    parts = []
    for split in (splits.train, splits.dev):
        steps = network.output_length(split.lengths).tolist()
        losses = [
            uniform_loss(n, labels, alphabet.size) / max(len(labels), 1)
            for n, labels in zip(steps, split.labels, strict=True)
        ]
        finite = [loss for loss in losses if math.isfinite(loss)]
        uniform = sum(finite) / len(finite) if finite else math.nan
        reference = splits.reference_loss(split.name)
        parts.append(f"{split.name} {reference:.2f} (uniform output {uniform:.2f})")
    result = f"best output that ignores the input, nats per {unit}: {', '.join(parts)}"
    return PreflightResult(
        "reference loss", f"{result}; a run at or above it has learnt nothing from the input"
    )


def _check_network(
    experiment: Experiment, features: FeatureSet, network: Network
) -> PreflightResult:
    settings = experiment.features
    frames = round(settings.sample_rate / settings.hop_length / experiment.input.stack)  # per s
    cost, steps = network_cost(network, frames), network.output_length(frames)
    result = (
        f"{cost.parameters:,} parameters; {cost.multiply_adds / 1e6:.1f} million multiply-adds "
        f"per second of speech forward, twice as many backward; {steps} steps per second"
    )
    hop_ms = 1000 * settings.hop_length / settings.sample_rate
    if abs(hop_ms / settings.hop_ms - 1) > HOP_ROUNDING_TOLERANCE:
        rounded = f"{settings.hop_length} samples, {hop_ms:g} ms"
        result += f"; hop_ms {settings.hop_ms:g} is rounded to {rounded}"
    if steps > MAX_STEPS_PER_SECOND:
        return PreflightResult(
            "network",
            f"{result}, more than {MAX_STEPS_PER_SECOND}: training is slow for no gain",
            "raise features.hop_ms, input.stack or model.time_strides",
        )
    return PreflightResult("network", result)


def _check_updates(settings: TrainSettings, splits: Splits) -> PreflightResult:
    updates = epoch_plan.count_updates(splits.train, settings, splits.is_feasible)
    about = "about " if updates % settings.epochs else ""  # with batch_frames epochs may differ
    per_epoch = round(updates / settings.epochs)
    result = f"{settings.epochs} epochs of {about}{per_epoch} updates are {updates}"
    problem = remedy = ""
    rates = [schedule.learning_rate(settings, u, updates) for u in range(1, updates + 1)]
    adam, rate = settings.optimiser != "sgd", f"at learning rate {settings.learning_rate:g}"
    if adam and max(rates) > MAX_ADAM_LR:
        problem = f": {rate} each update moves every weight by more than {MAX_ADAM_LR:g}"
        remedy = f"lower train.learning_rate: {_LEARNING_RATE_ADVICE}"
    elif adam and (lr_sum := sum(rates)) < MIN_LR_SUM:
        problem = f": {rate} all of them together move a weight by at most {lr_sum:.0e}"
        remedy = _advise_on_lr_sum(settings, updates)
    elif updates < BASELINE_ESCAPE_UPDATES[1]:
        problem = f"; runs usually escape the blank plateau {TYPICAL_ESCAPE}"
        remedy = _MORE_UPDATES_ADVICE
    elif settings.warmup_updates >= updates:
        problem = ", all of them warm-up"
        remedy = _SHORTER_WARMUP_ADVICE
    return PreflightResult("updates", result + problem, remedy)


def _advise_on_lr_sum(settings: TrainSettings, updates: int) -> str:
    """Return the one setting whose change makes the sum of the learning rates large enough."""
    if settings.warmup_updates and updates * settings.learning_rate >= MIN_LR_SUM:
        return _SHORTER_WARMUP_ADVICE
    if settings.learning_rate < SAFE_ADAM_LR and updates * SAFE_ADAM_LR >= MIN_LR_SUM:
        return f"raise train.learning_rate: {_LEARNING_RATE_ADVICE}"
    return _MORE_UPDATES_ADVICE


def _overfit_one_batch(
    experiment: Experiment, train: SplitData, network: Network, alphabet: Alphabet
) -> PreflightResult:
    """Train on one batch of short utterances, so that it takes seconds, until no error is left."""
    few = _short_utterances(train).to_resident(network.fc3.weight.device)
    batch = few.make_batch(np.tile(np.arange(len(few)), experiment.ctc.views))
    overfit = _overfit_experiment(experiment)
    scoring = Scoring.from_experiment(experiment)
    evaluator = Evaluator(network, alphabet, batch.frames.device, scoring=scoring)
    optimizer = make_optimizer(overfit.train, network.parameters())
    step, state = TrainStep(overfit, evaluator, optimizer), TrainingState.initial(alphabet.size)
    rate = experiment.corpus.rate_name
    lowest_cer, learnt_cer = math.inf, LEARNT_CER_WITH_DROPOUT if experiment.model.dropout else 0.0
    what = f"{len(few)} utterances, at learning rate {OVERFIT_LEARNING_RATE:g}"
    while state.update < OVERFIT_MAX_UPDATES:
        try:
            step.step([batch], state, OVERFIT_MAX_UPDATES)
        except DivergedError as error:
            return PreflightResult("one batch", f"{what}: {error}", _not_learnt_advice(experiment))
        if state.update % OVERFIT_CHECK_UPDATES == 0:
            lowest_cer = min(lowest_cer, _measure_cer(evaluator, few))
        if lowest_cer <= learnt_cer:
            cer = f"{rate} {100 * lowest_cer:.0f} % after {state.update} updates"
            return PreflightResult("one batch", f"{what}: {cer}")
    lowest = f"lowest {rate} {100 * lowest_cer:.0f} % in {state.update} updates"
    return PreflightResult(
        "one batch", f"{what}: not learnt, {lowest}", _not_learnt_advice(experiment)
    )


def _measure_cer(evaluator: Evaluator, split: SplitData) -> float:
    """Return the CER of the split, without dropout."""
    evaluation = Evaluation.initial(len(split), evaluator.alphabet.size)
    evaluator.evaluate(split, evaluation, len(split))
    return evaluation.metrics.score.cer


def _not_learnt_advice(experiment: Experiment) -> str:
    if unusual := unusual_settings(experiment):
        return f"change {' and '.join(unusual)}"
    return _NOT_LEARNT_ADVICE


def _short_utterances(train: SplitData) -> SplitData:
    """Return up to OVERFIT_UTTERANCES of the shorter quarter of the utterances."""
    ascending = np.argsort(train.frame_counts, kind="stable")
    shorter = train.take(ascending[: max(OVERFIT_UTTERANCES, len(train) // 4)].tolist())
    return shorter.take(shorter.evenly_spaced_by_length(OVERFIT_UTTERANCES))


def _overfit_experiment(experiment: Experiment) -> Experiment:
    """Return the experiment with a rate that is known to work; dropout and weight decay stay."""
    changes = {"optimiser": "adamw", "learning_rate": OVERFIT_LEARNING_RATE, "clip": 1.0}
    constant = {"schedule": "constant", "warmup_updates": 0, "accumulate": 1, "ema": None}
    train = experiment.train.model_copy(update={**changes, **constant})
    return experiment.model_copy(update={"train": train, "ctc": type(experiment.ctc)()})
