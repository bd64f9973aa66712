"""The blank plateau: whether a run has left it, when, and one sentence on how the run is doing.

In:   a run's rows.   Out: the update of escape; the key that selects an epoch; the sentence.
Not here: measuring the rows (training/loop/metrics.py). Free of torch, because reports import it.

A network trained with CTC first learns to print only blanks. In this phase the loss is at the
reference loss, that of the best output that ignores the input, and the output hardly depends on
the input. A run has escaped when in two evaluations in a row its dev loss is below the reference
loss by ESCAPE_MARGIN and its input dependence is above MIN_INPUT_DEPENDENCE.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.config.experiment import Experiment
from pipeline.runs.health import symptoms
from pipeline.runs.rows import Row, column_of, rows_of_split

ESCAPE_MARGIN = 0.1  # nats per character
MIN_INPUT_DEPENDENCE = 0.05  # nats
# Updates until escape: as published for networks without stacked frames at low learning rates, and
# as measured with configs/experiments/baseline.yaml (106 to 212).
TYPICAL_ESCAPE_UPDATES = (300, 1500)
BASELINE_ESCAPE_UPDATES = (100, 250)
TYPICAL_ESCAPE = (
    f"after {TYPICAL_ESCAPE_UPDATES[0]} to {TYPICAL_ESCAPE_UPDATES[1]} updates (the baseline after "
    f"{BASELINE_ESCAPE_UPDATES[0]} to {BASELINE_ESCAPE_UPDATES[1]})"
)
MAX_PLATEAU_UPDATES = 3000  # a plateau that lasts longer is not just a phase
# Adam moves one weight by at most the sum of the learning rates. A logit has a bias and about a
# hundred weights and must move by about 5, which a smaller sum does not allow.
MIN_LR_SUM = 0.03
ENOUGH_LR_SUM = 0.3  # with ten times that, a run that has not learnt has another problem
# An update of Adam moves each weight by about the learning rate, and a layer with a hundred inputs
# starts with weights of about 0.1: at a higher rate each update undoes the one before.
MAX_ADAM_LR = 0.1
RISING_RATIO = 1.1  # a loss above this multiple of the lowest one does not fall to the plateau
FALLING_LOSS_RATIO = 0.99  # a loss below this share of the first one of its split is falling
# In the first epoch dev is compared with train, whose loss is a mean over the epoch.
FIRST_EPOCH_LOSS_RATIO = 0.9
NEAR_REFERENCE_MARGIN = 0.3  # nats per character above the reference loss that count as near it
BELOW_REFERENCE_MARGIN = 0.03  # nats per character below it that cannot be rounding

_LESS_CHANGE_ADVICE = "lower train.learning_rate or set train.clip"


def escape_updates(rows: Sequence[Row]) -> int | None:
    """Return the updates until the first of two dev evaluations in a row that pass, or None."""
    dev = rows_of_split(rows, "dev")
    names = ("loss_per_character", "reference_loss", "input_dependence")
    columns = [column_of(dev, name) for name in names]
    passed = [
        loss < reference - ESCAPE_MARGIN and dependence > MIN_INPUT_DEPENDENCE
        for loss, reference, dependence in zip(*columns, strict=True)
    ]
    for row, (passes, following) in enumerate(pairwise(passed)):
        if passes and following:
            return dev[row]["updates"]
    return None


def stands_on_plateau(rows: Sequence[Row]) -> bool:
    """Whether the run has not escaped, and its last dev loss is not below the reference loss.

    False where no dev utterance can be aligned, because then there is no reference loss.
    """
    last = rows_of_split(rows, "dev")[-1]
    loss, reference = last["loss_per_character"], last["reference_loss"]
    if math.isnan(reference) or escape_updates(rows) is not None:
        return False
    return not loss < reference - BELOW_REFERENCE_MARGIN


def selection_key(dev: Row) -> tuple[float, float]:
    """Return the key of an epoch's dev row; the epoch with the lowest key is selected.

    Epochs at or above the reference loss are compared by loss and come after all others, which are
    compared by CER: an untrained network gets some characters right by chance, and one that prints
    only blanks gets none. If no dev utterance can be aligned, both losses are NaN and CER decides.
    """
    above = dev["loss_per_character"] >= dev["reference_loss"]
    if not above and not math.isnan(dev["cer"]):
        return dev["cer"], 0.0
    return math.inf, dev["loss_per_character"]


def lr_sum(rows: Sequence[Row]) -> float:
    """Return the sum of the learning rates of all updates: Adam moves no weight further."""
    rates: list[float] = column_of(rows_of_split(rows, "train"), "learning_rate_sum")
    return sum(rates)


def describe_status(
    rows: Sequence[Row], experiment: Experiment | None = None, *, is_last_epoch: bool = False
) -> str:
    """Return how the run is doing, from its train and dev rows, with each problem that they show.

    Settings that `experiment` already has are not recommended.
    """
    dev, train = rows_of_split(rows, "dev"), rows_of_split(rows, "train")
    if not dev:
        return "no epoch has ended yet"
    progress = _describe_progress(rows, experiment, is_last_epoch=is_last_epoch)
    escaped = progress.startswith(("escaped", "left"))
    return "; ".join(
        [
            progress,
            *symptoms.clamp_warnings(dev[-1], experiment, escaped=escaped),
            *symptoms.infeasible_warnings(train[-1] if train else dev[-1]),
            *_sound_warnings(train, progress),
            *symptoms.nonfinite_warnings(train[-1] if train else dev[-1]),
        ]
    )


def _sound_warnings(train: Sequence[Row], progress: str) -> Iterator[str]:
    """Yield what is wrong with the sound of the training split, unless `progress` says it."""
    problem = symptoms.sound_problem(train[-1]) if train else ""
    if problem and problem not in progress:
        yield problem


def _plateau_remedy(rows: Sequence[Row], experiment: Experiment | None) -> str:
    """Return the one thing to change in a run that has ended on the plateau."""
    train, dev = rows_of_split(rows, "train"), rows_of_split(rows, "dev")
    rate = train[-1]["learning_rate"] if train else 0.0
    clamp = symptoms.clamp_warnings(dev[-1], experiment, escaped=False)
    if any("train.learning_rate" in warning for warning in clamp):
        return ""  # the warning is the advice
    if _uses_adam(experiment) and rate > MAX_ADAM_LR:
        return "lower train.learning_rate"
    if experiment and (unusual := symptoms.unusual_settings(experiment)):
        return f"change {' and '.join(unusual)}"
    missing = symptoms.missing_scaling(experiment) if experiment else []
    more = "raise train.learning_rate (make lr-range suggests one) or train.epochs"
    if lr_sum(rows) > ENOUGH_LR_SUM:
        more = "check that the transcripts match the audio, or raise train.epochs"
    return f"set {' and '.join(missing)}, or {more}" if missing else more


def _describe_progress(
    rows: Sequence[Row], experiment: Experiment | None, *, is_last_epoch: bool
) -> str:
    """Return what is most wrong, or how far the run has come."""
    dev = rows_of_split(rows, "dev")
    last = dev[-1]
    loss, reference, updates = last["loss_per_character"], last["reference_loss"], last["updates"]
    summary = f"dev loss {loss:.2f} (reference loss {reference:.2f}) after {updates} updates"
    rate = experiment.corpus.rate_name if experiment else "CER"
    errors = f"{rate} {100 * last['cer']:.1f} %"
    if math.isnan(reference):
        return (
            f"{errors} after {updates} updates; there is no dev loss because no dev utterance can "
            "be aligned: lower input.stack or model.time_strides"
        )
    if problem := _describe_failed_training(rows, experiment, summary, errors):
        return problem
    escaped = escape_updates(dev)
    if escaped is not None:
        advice = _advise_on_errors(experiment) if last["cer"] >= symptoms.MISMATCH_CER else ""
        return f"escaped at update {escaped}: {summary}; {errors}{advice}"
    if loss < reference - ESCAPE_MARGIN and last["cer"] < symptoms.MISMATCH_CER:
        # One evaluation can be chance, but not this CER: as of a run that starts from another.
        return f"left the blank plateau: {summary}; {errors}"
    too_small = _uses_adam(experiment) and lr_sum(rows) < MIN_LR_SUM
    if too_small and not _has_fallen(rows) and not _is_warming_up(updates, experiment):
        return (
            f"not learning: learning rate {lr_sum(rows) / updates:.3g} can move a weight by at "
            f"most {lr_sum(rows):.0e} in {updates} updates; {summary}"
        )
    return _describe_plateau(rows, summary, experiment, is_last_epoch=is_last_epoch)


def _advise_on_errors(experiment: Experiment | None) -> str:
    """Return the settings to change where most characters stay wrong after the escape."""
    if experiment is None:
        return ""
    unusual, rate = symptoms.unusual_settings(experiment), experiment.train.learning_rate
    if _uses_adam(experiment) and rate > MAX_ADAM_LR:
        unusual.append(f"train.learning_rate: {rate:g} (lower it)")
    return f"; change {' and '.join(unusual)}" if unusual else ""


def _is_warming_up(updates: int, experiment: Experiment | None) -> bool:
    """Whether the learning rate is small only because it still rises."""
    if experiment is None or updates > experiment.train.warmup_updates:
        return False
    return experiment.train.learning_rate * updates >= MIN_LR_SUM


def _describe_failed_training(
    rows: Sequence[Row], experiment: Experiment | None, summary: str, errors: str
) -> str:
    """Return how training went wrong: it diverges, learns by heart, or has lost what it learnt."""
    dev = rows_of_split(rows, "dev")
    if diverging := symptoms.describe_divergence(dev, experiment):
        return f"diverging: {summary}{diverging}; {_LESS_CHANGE_ADVICE}"
    if symptoms.transcripts_do_not_match(rows):
        train = rows_of_split(rows, "train")[-1]["loss_per_character"]
        return (
            f"not learning to recognise: {summary}, train loss {train:.2f}, {errors}; the "
            "transcripts probably do not match the audio: listen to some utterances"
        )
    escaped = escape_updates(dev)
    if escaped is None:
        return ""
    return _describe_lost_escape(dev, escaped, experiment, (summary, errors))


def _describe_lost_escape(
    dev: Sequence[Row], escaped: int, experiment: Experiment | None, texts: tuple[str, str]
) -> str:
    """Return what has become of a run that escaped, if it has not learnt more since then."""
    last, (summary, errors) = dev[-1], texts
    if last["input_dependence"] <= MIN_INPUT_DEPENDENCE:
        return (
            f"fell back to the blank plateau after escaping at update {escaped}: {summary}; "
            f"{errors}; {_LESS_CHANGE_ADVICE}"
        )
    if symptoms.stands_below_reference(dev, experiment):
        check = symptoms.input_problem(last, experiment)
        return (
            f"not learning to recognise: {summary}, which falls no further, input dependence "
            f"{last['input_dependence']:.2f} nats, {errors}; "
            f"{check or 'check that the transcripts match the audio'}"
        )
    above = last["loss_per_character"] >= last["reference_loss"]
    if above and last["cer"] >= symptoms.MISMATCH_CER:
        return (
            f"rose above the reference loss again after update {escaped}: {summary}; {errors}; "
            f"{_LESS_CHANGE_ADVICE}"
        )
    return ""


def _describe_plateau(
    rows: Sequence[Row], loss_summary: str, experiment: Experiment | None, *, is_last_epoch: bool
) -> str:
    row = rows_of_split(rows, "dev")[-1]
    above, updates = row["loss_per_character"] - row["reference_loss"], row["updates"]
    late = updates > MAX_PLATEAU_UPDATES
    advice = "; this takes longer than usual, run make doctor to find the cause" if late else ""
    train = rows_of_split(rows, "train")
    data = (
        symptoms.sound_problem(train[-1]) or symptoms.transcript_problem(train[-1]) if train else ""
    )
    if above < -BELOW_REFERENCE_MARGIN:
        leaving = f"leaving the blank plateau: {loss_summary}"
        leaving += f"; input dependence {row['input_dependence']:.2f} nats"
        remedy = f"; {data}" if data else "; raise train.epochs" if is_last_epoch else advice
        return f"{'ended while ' if is_last_epoch else ''}{leaving}{remedy}"
    where = "on the way to" if above > NEAR_REFERENCE_MARGIN else "on"
    plateau = f"{'ended ' if is_last_epoch else ''}{where} the blank plateau: {loss_summary}"
    lowest = min(column_of(rows_of_split(rows, "dev"), "loss_per_character"))
    rising = above > NEAR_REFERENCE_MARGIN and row["loss_per_character"] > RISING_RATIO * lowest
    if rising:
        plateau = f"the loss rises above the blank plateau: {loss_summary}, lowest {lowest:.2f}"
    if problem := data or symptoms.input_problem(row, experiment):
        return f"{plateau}; {problem}"
    remedy = _plateau_remedy(rows, experiment)
    if rising:  # without a remedy, the clamp's warning is the advice
        return f"{plateau}; {_LESS_CHANGE_ADVICE}" if remedy else plateau
    if is_last_epoch or not remedy or remedy.startswith(("lower", "change")):
        return f"{plateau}; {remedy}" if remedy else plateau
    if above > NEAR_REFERENCE_MARGIN:
        return plateau + advice
    scale = "this takes longer than usual, check that the input is on a log scale and normalised"
    usual = f"nothing is wrong yet: runs usually escape {TYPICAL_ESCAPE}"
    return f"{plateau}; {scale if late else usual}"


def _uses_adam(experiment: Experiment | None) -> bool:
    """Whether the optimiser is Adam or AdamW, as it is by default."""
    return experiment is None or experiment.train.optimiser != "sgd"


def _has_fallen(rows: Sequence[Row]) -> bool:
    """Whether the dev loss is below that of the first epoch, each compared on its own split."""
    dev, train = rows_of_split(rows, "dev"), rows_of_split(rows, "train")
    if len(dev) > 1:
        first, last = dev[0]["loss_per_character"], dev[-1]["loss_per_character"]
        return last < FALLING_LOSS_RATIO * first
    first_train = train[0]["loss_per_character"] if train else math.nan
    return dev[-1]["loss_per_character"] < FIRST_EPOCH_LOSS_RATIO * first_train
