"""The sentences on runs that have the illness, and the update of escape."""

import math
from typing import Any

import pytest

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.runs.plateau import describe_status, escape_updates, lr_sum, selection_key
from pipeline.runs.rows import ROW_COLUMNS, Row

LINE = 3.02


def row(split: str, updates: int, loss: float, dependence: float, **values: Any) -> Row:
    empty: dict[str, Any] = dict.fromkeys(ROW_COLUMNS, math.nan)
    given = {
        "split": split,
        "updates": updates,
        "loss_per_character": loss,
        "reference_loss": LINE,
        "input_dependence": dependence,
        "learning_rate": 1e-3,
        "cer": 1.0,
        "largest_z": 6.0,
        "nonfinite_utterances": 0,
        "nonfinite_ids": "",
        "utterances": 20,
    }
    return Row(**{**empty, **given, **values})


def history(*points: tuple[float, float], per_epoch: int = 53, **values: Any) -> list[Row]:
    """Train and dev rows of epochs with these (dev loss, input dependence)."""
    rows = []
    for n, (loss, dependence) in enumerate(points, 1):
        train = {"learning_rate_sum": per_epoch * values.get("learning_rate", 1e-3), **values}
        rows.append(row("train", per_epoch * n, loss, dependence, **train))
        rows.append(row("dev", per_epoch * n, loss, dependence, **values))
    return rows


PLATEAU, BELOW, ESCAPED = (3.01, 0.0), (2.8, 0.01), (2.8, 0.06)


@pytest.mark.parametrize(
    ("points", "updates"),
    [
        ([PLATEAU, PLATEAU], None),
        ([PLATEAU, ESCAPED], None),  # once may be chance
        ([PLATEAU, ESCAPED, ESCAPED], 106),
        ([ESCAPED, PLATEAU, ESCAPED, ESCAPED, PLATEAU], 159),
        ([BELOW, BELOW], None),  # a lower loss that owes nothing to the input
        ([(2.93, 1.0), (2.93, 1.0)], None),  # not below by the margin
        ([], None),
    ],
)
def test_escape_is_the_first_of_two_evaluations_running(
    points: list[tuple[float, float]], updates: int | None
):
    assert escape_updates(history(*points)) == updates


def test_escape_looks_at_dev_only():
    rows = [one for one in history(ESCAPED, ESCAPED) if one["split"] == "train"]
    assert escape_updates(rows) is None


def test_reach_is_the_sum_of_the_rates():
    """Whatever the last rate of an epoch is: a schedule ends near zero."""
    rows = [
        row("train", 10, 3, 0, learning_rate_sum=0.01, learning_rate=1e-9),
        row("train", 30, 3, 0, learning_rate_sum=0.02, learning_rate=1e-9),
    ]
    assert lr_sum(rows) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no epoch has ended yet"),
        (
            history(PLATEAU, PLATEAU),
            (
                "on the blank plateau: 3.01 against 3.02 nats per character after 106 updates; "
                "escape usually comes after 300 to 1500; nothing is wrong yet (the baseline"
            ),
        ),
        (
            history(PLATEAU, per_epoch=90, learning_rate=1e-6),
            (
                "not learning: lr 1e-06 can move a weight by at most 9e-05 in 90 updates; 3.01 "
                "against 3.02 nats per character after 90 updates"
            ),
        ),
        (
            history((27.2, 0.0), (27.1, 0.0), learning_rate=1e-6),
            "not learning: lr 1e-06 can move a weight by at most 1e-04 in 106 updates",
        ),
        (
            history((64.6, 0.0), (61.5, 0.0), learning_rate=1e-6),
            "on the way to the blank plateau: 61.50 against 3.02",
        ),
        (history(PLATEAU, per_epoch=5000), "longer than usual; is the input on a logarithm"),
        (history((9.1, 0.0)), "on the way to the blank plateau: 9.10 against 3.02"),
        (history(PLATEAU, BELOW), "leaving the blank plateau: 2.80 against 3.02"),
        (history(PLATEAU, ESCAPED), "input dependence 0.06 nats"),
        (history(ESCAPED, (1.2, 1.0), cer=0.4), "escaped at update 53: 1.20 against 3.02"),
        (history(ESCAPED, (1.2, 1.0), cer=0.4), "CER 40.0 %"),
        # Overfitted: the loss is above the line, but the output still follows the input.
        (history(ESCAPED, (1.2, 1.0), (3.3, 2.1), cer=0.4), "escaped at update 53: 3.30 against"),
        (
            history(ESCAPED, ESCAPED, PLATEAU),
            (
                "fell back to the blank plateau after escaping at update 53: 3.01 against 3.02 "
                "nats per character after 159 updates; CER 100.0 %; lower the learning rate,"
            ),
        ),
        (
            history((3.4, 0.0), per_epoch=10_600),
            (
                "on the way to the blank plateau: 3.40 against 3.02 nats per character after 10600 "
                "updates, longer than usual; make doctor looks for the cause"
            ),
        ),
        (
            history((2.85, 0.02), per_epoch=5300),
            "input dependence 0.02 nats, longer than usual; make doctor looks for the cause",
        ),
        (
            history((math.nan, 0.3), reference_loss=math.nan, cer=0.7),
            (
                "CER 70.0 % after 53 updates, and no loss to say more: no utterance of dev can be "
                "aligned; lower input.stack or model.time_strides"
            ),
        ),
        (history(PLATEAU, (60.0, 0.0)), "diverging: 60.00 against 3.02"),
        (history(PLATEAU, (math.nan, 0.0)), "diverging: nan against 3.02"),
        (
            history(
                PLATEAU, saturation_fc2_ceiling=0.61, saturation_fc1_ceiling=0.2, largest_z=431
            ),
            "; clamp: 61 % of fc2 at the ceiling: the input is not scaled",
        ),
        (
            history(PLATEAU, saturation_fc1_ceiling=0.06),
            "; clamp: 6 % of fc1 at the ceiling: no gradient passes there; lower the learning rate",
        ),
        (history(PLATEAU, saturation_fc1_zero=1.0), "; clamp: 100 % of fc1 at zero"),
        (
            history(PLATEAU, nonfinite_utterances=7, nonfinite_ids="a-1 b-2"),
            "; left out of the epoch: a-1, b-2, …: 7 of 27 training utterances hold values that",
        ),
    ],
)
def test_the_sentence_says_where_the_run_stands(rows: list[Row], words: str):
    assert words in describe_status(rows)


def set_to(**sections: dict[str, Any]) -> Experiment:
    return Experiment(corpus=Corpus(name="an4", reader="an4", root="an4"), **sections)


def test_a_run_that_has_ended_on_the_plateau_says_what_to_change_and_nothing_that_is_set():
    rows = history(PLATEAU, PLATEAU)
    first = set_to(features={"scale": "none"}, input={"normalisation": "none"})
    assert describe_status(rows, first, is_last_epoch=True) == (
        "ended on the blank plateau: 3.01 against 3.02 nats per character after 106 updates; "
        "set features.scale: log and input.normalisation: standardise, or raise "
        "train.learning_rate (make lr-range suggests one) or train.epochs"
    )
    assert describe_status(rows, set_to(), is_last_epoch=True).endswith(
        "106 updates; raise train.learning_rate (make lr-range suggests one) or train.epochs"
    )
    assert describe_status(history(BELOW), is_last_epoch=True).startswith(
        "ended while leaving the blank plateau"
    )


def test_no_constant_output_is_below_the_line_so_that_such_a_run_is_leaving_it():
    assert describe_status(history((2.95, 0.04))).startswith(
        "leaving the blank plateau: 2.95 against"
    )


def test_a_rate_that_is_too_high_is_wrong_already_on_the_plateau():
    words = describe_status(history(PLATEAU, learning_rate=0.5))
    assert words.startswith("on the blank plateau")
    assert words.endswith("after 53 updates; lower train.learning_rate")


def test_a_clamp_that_binds_is_no_illness_of_a_run_that_learns_with_it():
    escaped = {"saturation_fc2_ceiling": 0.08}
    assert "clamp" not in describe_status(history(ESCAPED, (1.2, 1.0), **escaped))
    assert "clamp: 60 % of fc2" in describe_status(
        history(ESCAPED, ESCAPED, saturation_fc2_ceiling=0.6)
    )


def test_the_clamps_advice_names_nothing_that_is_set():
    rows = history(PLATEAU, saturation_fc2_ceiling=0.08)
    assert describe_status(rows, set_to()).endswith(
        "lower the learning rate, or set model.batch_norm"
    )
    words = describe_status(rows, set_to(model={"batch_norm": "sequence"}))
    assert words.endswith("at the ceiling: no gradient passes there; lower the learning rate")


@pytest.mark.parametrize("share", [0.04, math.nan])
def test_a_clamp_that_is_hardly_reached_or_not_there_is_no_word_worth(share: float):
    rows = history(PLATEAU, saturation_fc2_ceiling=share, saturation_fc1_zero=0.6)
    assert "clamp" not in describe_status(rows)


def test_a_first_loss_far_above_the_line_is_no_divergence():
    assert "on the way" in describe_status(history((27.0, 0.0)))


def test_adams_reach_says_nothing_about_sgd():
    assert "plateau" in describe_status(
        history(PLATEAU, learning_rate=1e-6), set_to(train={"optimiser": "sgd"})
    )


def test_above_the_line_an_epoch_is_chosen_by_loss_because_silence_has_the_worst_cer():
    gibberish = row("dev", 53, 50.0, 0.0, cer=0.95)
    silence = row("dev", 106, 3.1, 0.0, cer=1.0)
    learnt = row("dev", 159, 2.5, 0.2, cer=0.99)
    better = row("dev", 212, 2.6, 0.2, cer=0.9)
    assert sorted([gibberish, silence, learnt, better], key=selection_key) == [
        better,
        learnt,
        silence,
        gibberish,
    ]


def test_where_dev_has_no_loss_an_epoch_is_chosen_by_cer():
    lost = {"reference_loss": math.nan}
    first, better = (row("dev", 53 * n, math.nan, 0.2, cer=1 / n, **lost) for n in (1, 2))
    assert selection_key(better) < selection_key(first)
