"""Symptoms: what the rows of a run say of its settings, its input and its transcripts.

In:   rows, the experiment.   Out: a sentence for each problem; nothing where there is none.
Not here: whether a run has left the blank plateau, and the whole sentence (runs/plateau.py).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pipeline.config.experiment import Experiment
from pipeline.corpus.manifest import MIN_LENGTH_CORRELATION
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.runs.rows import CLAMPED_LAYERS, Row, column_of, rows_of_split

UNIFORM_LOSS_RATIO = 1.2  # a loss above this share of the loss of a uniform output diverges
MAX_CEILING_SHARE = 0.05  # share of a layer at the ceiling; below 0.001 if the input is scaled
MAX_CEILING_SHARE_AFTER_ESCAPE = 0.5  # a run that has escaped can learn with a larger share
MAX_INFEASIBLE_SHARE = 0.1  # of the training utterances
MAX_SUSPICIOUS_SHARE = 0.05  # of the training utterances
MAX_ZERO_SHARE = 0.99  # share of a layer at zero
MAX_SCALED_Z = 12.0  # largest |z| of a scaled input; 7 is usual on a log scale, hundreds without
UNSCALED_Z = 50.0  # that of an input that is certainly not scaled
CONSTANT_Z = 0.5  # that of a normalised input that hardly varies, such as silence
# Transcripts that do not match the audio: train falls, because they can be learnt by heart, dev
# does not, and nearly all characters stay wrong.
MISMATCH_CER = 0.8
MISMATCH_DEPENDENCE = 0.15  # nats; a run that recognises letters soon has 0.3
MISMATCH_GAP = 0.3  # nats per character from the train loss up to the dev loss
# Settings outside these limits are named before other advice.
MIN_CLAMP, MAX_WEIGHT_DECAY, MAX_DROPOUT = 1.0, 1.0, 0.7
FALLEN_MARGIN = 0.05  # nats per character
LEARNT_MARGIN = 0.1  # nats per character below the reference loss


def unusual_settings(experiment: Experiment) -> list[str]:
    """Return the settings that alone can keep a network from learning, with their values."""
    model, train = experiment.model, experiment.train
    found = []
    if model.clamp is not None and model.clamp < MIN_CLAMP:
        found.append(f"model.clamp: {model.clamp:g} (raise it)")
    if train.weight_decay > MAX_WEIGHT_DECAY:
        found.append(f"train.weight_decay: {train.weight_decay:g} (lower it)")
    if model.dropout > MAX_DROPOUT:
        found.append(f"model.dropout: {model.dropout:g} (lower it)")
    return found


def describe_divergence(dev: Sequence[Row], experiment: Experiment | None) -> str:
    """Return what the last dev loss is compared with; empty if the run does not diverge."""
    loss, reference = dev[-1]["loss_per_character"], dev[-1]["reference_loss"]
    lowest = min(column_of(dev, "loss_per_character"))
    if not math.isfinite(loss) or (loss > 2 * reference and loss > 1.5 * lowest):
        return f", lowest {lowest:.2f}"
    uniform = _uniform_loss(dev[-1], experiment)
    if loss > UNIFORM_LOSS_RATIO * uniform:
        return f", above the {uniform:.2f} of an output where all letters are equally probable"
    return ""


def _uniform_loss(row: Row, experiment: Experiment | None) -> float:
    """Return at least the loss per character of the uniform output; nan if it is not known.

    Each of T steps has probability 1/C for each class, and at least one alignment is possible, so
    the loss of an utterance is at most T log C.
    """
    alphabet = ALPHABETS.get(str(experiment.alphabet)) if experiment else None
    if not experiment or not alphabet or not row["chars"] > 0 or row["infeasible"] > 0:
        return math.nan  # unknown classes, or characters that are not in the loss
    strides = experiment.model.time_strides[: experiment.model.convolutions]
    stride = experiment.input.stack * math.prod(strides)
    return float(row["frames"] / stride * math.log(alphabet.size) / row["chars"])


def transcripts_do_not_match(rows: Sequence[Row]) -> bool:
    """Whether train falls below the reference loss and dev does not follow.

    Healthy runs get most characters right before their train loss is so far below dev.
    """
    dev, train = rows_of_split(rows, "dev"), rows_of_split(rows, "train")
    if len(dev) < 2 or not train:
        return False
    last, learnt = dev[-1]["loss_per_character"], train[-1]
    return (
        min(column_of(dev, "cer")) >= MISMATCH_CER
        and learnt["loss_per_character"] < learnt["reference_loss"] - LEARNT_MARGIN
        and last - learnt["loss_per_character"] > MISMATCH_GAP
        and last >= min(column_of(dev, "loss_per_character")[:-1])
    )


def stands_below_reference(dev: Sequence[Row], experiment: Experiment | None) -> bool:
    """Whether the dev loss is a little below the reference loss, and falls no further.

    With transcripts of other utterances, a network still learns how long and how frequent letters
    are, which takes its loss below the reference loss; its output hardly depends on the audio.
    """
    last = dev[-1]
    lowest_before = min(column_of(dev, "loss_per_character")[:-2], default=math.inf)
    return (
        lowest_before - FALLEN_MARGIN < last["loss_per_character"] < last["reference_loss"]
        and last["cer"] >= MISMATCH_CER
        and last["input_dependence"] < MISMATCH_DEPENDENCE
        and not (experiment and unusual_settings(experiment))
    )


def missing_scaling(experiment: Experiment | None) -> list[str]:
    """Return the settings that would scale the input; empty if the experiment has them."""
    missing = []
    if experiment is None or not experiment.features.is_log_scale:
        missing.append("features.scale: log")
    if experiment is None or experiment.input.normalisation == "none":
        missing.append("input.normalisation: standardise")
    return missing


def input_problem(row: Row, experiment: Experiment | None) -> str:
    """Return what the largest |z| of the input says; empty if it is usual."""
    largest = row["largest_z"]
    ceiling, _ = _most_saturated_layer(row, "ceiling")
    if largest > UNSCALED_Z and ceiling < MAX_CEILING_SHARE:  # else the clamp's warning says so
        size = f"its largest |z| is {largest:.0f}, usual is 7"
        if missing := missing_scaling(experiment):
            return f"the input is not scaled: {size}; set {' and '.join(missing)}"
        return f"the input has values far from all others: {size}; make doctor names utterances"
    normalised = experiment is not None and experiment.input.normalisation != "none"
    if normalised and largest < CONSTANT_Z:
        return f"the input hardly varies (largest |z| {largest:.2g}): is the audio silent?"
    return ""


def clamp_warnings(row: Row, experiment: Experiment | None, *, escaped: bool) -> Iterator[str]:
    """Yield the layer with the largest share at each end of the clamp, where that is a problem."""
    ceiling, layer = _most_saturated_layer(row, "ceiling")
    if ceiling >= (MAX_CEILING_SHARE_AFTER_ESCAPE if escaped else MAX_CEILING_SHARE):
        clamp = experiment.model.clamp if experiment else None
        why = "the input is not scaled"
        if clamp is not None and clamp < MIN_CLAMP:
            why = f"raise model.clamp, which is {clamp:g}"
        elif row["largest_z"] < MAX_SCALED_Z:  # so the cause is the weights
            why = "no gradient passes there; lower train.learning_rate"
            if not experiment or experiment.model.batch_norm == "none":
                why += ", or set model.batch_norm"
        yield f"clamp: {100 * ceiling:.0f} % of {layer} at the ceiling: {why}"
    zero, layer = _most_saturated_layer(row, "zero")
    if zero >= MAX_ZERO_SHARE:
        yield f"clamp: {100 * zero:.0f} % of {layer} at zero: no gradient passes there"


def _most_saturated_layer(row: Row, end: str) -> tuple[float, str]:
    """Return share and layer; (0, "") where there is no clamp, because its shares are NaN."""
    values = cast("Mapping[str, Any]", row)
    shares = [(values[f"saturation_{layer}_{end}"], layer) for layer in CLAMPED_LAYERS]
    return max((one for one in shares if one[0] > 0), default=(0.0, ""))


def infeasible_warnings(train: Row) -> Iterator[str]:
    """Yield how many training utterances are left out because they cannot be aligned, if many."""
    count, every = train["infeasible"], train["utterances"] + train["infeasible"]
    if count > MAX_INFEASIBLE_SHARE * every:
        yield (
            f"left out of training: {count} of {every} utterances have more labels than output "
            "steps; lower input.stack or model.time_strides, or check their transcripts"
        )


def sound_problem(train: Row) -> str:
    """Return what to do about suspicious sound of the training utterances, if it is much."""
    count, every = train["suspicious_utterances"], train["utterances"] + train["infeasible"]
    if not count > MAX_SUSPICIOUS_SHARE * every:
        return ""
    return (
        f"the sound of {count} of {every} training utterances is silent, constant or scaled "
        "wrongly; repair them, or list them under exclude: in the corpus file (make features names "
        "them)"
    )


def transcript_problem(train: Row) -> str:
    """Return what the lengths of the training utterances say of their transcripts, or ""."""
    found = train["length_correlation"]
    if not found < MIN_LENGTH_CORRELATION:
        return ""
    return (
        "check that the transcripts of train belong to their recordings: their lengths hardly "
        f"follow those of the audio (correlation {found:.2f}, usual is 0.5 or more)"
    )


def nonfinite_warnings(train: Row) -> Iterator[str]:
    if count := train["nonfinite_utterances"]:
        ids = train["nonfinite_ids"].split()
        named = ", ".join([*ids, "…"] if len(ids) < count else ids)
        yield (
            f"left out of the epoch: {count} of {train['utterances'] + count} training utterances "
            f"have NaN or infinity in their input ({named})"
        )
