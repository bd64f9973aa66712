"""Run description: a few sentences about the state of one run, from its rows.

In:   a run summary.   Out: text.
Not here: comparing runs and arms (arms.py), the sentence about the plateau (runs/plateau.py).
"""

from collections.abc import Iterator, Sequence

from pipeline.results.summary.formatting import format_decimal, format_integer, format_percent
from pipeline.results.summary.run_summary import RunSummary
from pipeline.results.summary.table import speed_columns
from pipeline.runs import plateau
from pipeline.runs.rows import Row, column_of, is_from_training

MAX_LOADER_WAIT_SHARE = 0.10  # a larger share of the training time spent waiting is reported
OVERFITTING_LOSS_RATIO = 1.10  # last dev loss over the lowest one; above it the run overfits


def describe_run(run: RunSummary) -> str:
    """Return a few sentences about the state of a run, from its rows."""
    dev = run.rows_for("dev")
    if not dev:
        return {
            "missing": "It has not started.",
            "waiting": "It waits to start.",
        }.get(run.state, "No epoch has ended yet.")
    status = plateau.describe_status(
        run.rows, run.experiment, is_last_epoch=run.state == "finished"
    )
    sentences = [f"{status[0].upper()}{status[1:]}."]
    return " ".join([*sentences, *_describe_training(run, dev), *_describe_problems(run)])


def _describe_training(run: RunSummary, dev: Sequence[Row]) -> Iterator[str]:
    selected = run.selected_dev_row
    if run.escape_updates is None or selected is None:
        return
    losses = column_of(dev, "loss_per_character")
    last, lowest = dev[-1], dev[min(range(len(dev)), key=losses.__getitem__)]
    last_loss, lowest_loss = last["loss_per_character"], lowest["loss_per_character"]
    cer, epoch, finished = selected["cer"], selected["epoch"], run.state == "finished"
    so_far = f"in epoch {epoch} of {last['epoch']}" if finished else f"so far, in epoch {epoch}"
    is_mean = not is_from_training(selected)
    if is_mean:
        yield f"Dev {run.rate_name} {format_percent(cer)} with the {selected['weights']}."
    else:
        yield f"Lowest dev {run.rate_name} {format_percent(cer)} {so_far}."
    if finished and run.message:
        yield f"{run.message[0].upper()}{run.message[1:]}."
    if last_loss > OVERFITTING_LOSS_RATIO * lowest_loss:
        yield (
            f"It overfits: the dev loss rose from {format_decimal(lowest_loss)} in epoch "
            f"{lowest['epoch']} to {format_decimal(last_loss)}."
        )
    elif finished and epoch == last["epoch"] and not is_mean:
        yield "The last epoch is the best one, so more epochs may help."


def _describe_problems(run: RunSummary) -> Iterator[str]:
    train = run.rows_for("train")
    if not train:
        return
    if infeasible := train[-1]["infeasible"]:
        yield (
            f"{format_integer(infeasible)} training utterances have more labels than frames "
            "and were left out."
        )
    waited = speed_columns(run)["loader_wait"]
    if waited > MAX_LOADER_WAIT_SHARE:
        yield f"{format_percent(waited)} of the training time was spent waiting for data."
