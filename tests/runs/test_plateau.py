"""The sentence on the status of a run, the update of escape, and the choice of an epoch."""

import math
from typing import Any

import pytest

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.runs import plateau
from pipeline.runs.plateau import describe_status, escape_updates, lr_sum, selection_key
from pipeline.runs.rows import ROW_COLUMNS, Row

REFERENCE = 3.02


def row(split: str, updates: int, loss: float, dependence: float, **values: Any) -> Row:
    empty: dict[str, Any] = dict.fromkeys(ROW_COLUMNS, math.nan)
    given = {
        "split": split,
        "updates": updates,
        "loss_per_character": loss,
        "reference_loss": REFERENCE,
        "input_dependence": dependence,
        "learning_rate": 1e-3,
        "cer": 1.0,
        "largest_z": 6.0,
        "nonfinite_utterances": 0,
        "nonfinite_ids": "",
        "suspicious_utterances": 0,
        "weights": "epoch",
        "utterances": 20,
    }
    return Row(**{**empty, **given, **values})


def history(*points: tuple[float, float], per_epoch: int = 53, **values: Any) -> list[Row]:
    """Make train and dev rows of epochs with these (loss, input dependence)."""
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
        ([PLATEAU, ESCAPED], None),  # one evaluation can be chance
        ([PLATEAU, ESCAPED, ESCAPED], 106),
        ([ESCAPED, PLATEAU, ESCAPED, ESCAPED, PLATEAU], 159),
        ([BELOW, BELOW], None),  # a lower loss without input dependence
        ([(2.93, 1.0), (2.93, 1.0)], None),  # below, but not by the margin
        ([], None),
    ],
)
def test_escape_is_the_first_of_two_evaluations_running(
    points: list[tuple[float, float]], updates: int | None
):
    assert escape_updates(history(*points)) == updates


def test_escape_uses_dev_rows_only():
    rows = [one for one in history(ESCAPED, ESCAPED) if one["split"] == "train"]
    assert escape_updates(rows) is None


def test_lr_sum_adds_the_rates_of_all_updates():
    """The last rate of an epoch does not matter: a schedule ends near zero."""
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
                "on the blank plateau: dev loss 3.01 (reference loss 3.02) after 106 updates; "
                "nothing is wrong yet: runs usually escape after 300 to 1500 updates (the baseline "
                "after 100 to 250)"
            ),
        ),
        (
            history(PLATEAU, per_epoch=90, learning_rate=1e-6),
            (
                "not learning: learning rate 1e-06 can move a weight by at most 9e-05 in 90 "
                "updates; dev loss 3.01 (reference loss 3.02) after 90 updates"
            ),
        ),
        (
            history((27.2, 0.0), (27.1, 0.0), learning_rate=1e-6),
            "not learning: learning rate 1e-06 can move a weight by at most 1e-04 in 106 updates",
        ),
        (
            history((64.6, 0.0), (61.5, 0.0), learning_rate=1e-6),
            "on the way to the blank plateau: dev loss 61.50 (reference loss 3.02)",
        ),
        (
            history(PLATEAU, per_epoch=5000),
            "longer than usual, check that the input is on a log scale",
        ),
        (
            history((9.1, 0.0)),
            "on the way to the blank plateau: dev loss 9.10 (reference loss 3.02)",
        ),
        (history(PLATEAU, BELOW), "leaving the blank plateau: dev loss 2.80 (reference loss 3.02)"),
        (history(PLATEAU, ESCAPED), "input dependence 0.06 nats"),
        (
            history(ESCAPED, (1.2, 1.0), cer=0.4),
            "escaped at update 53: dev loss 1.20 (reference loss 3.02)",
        ),
        (history(ESCAPED, (1.2, 1.0), cer=0.4), "CER 40.0 %"),
        # Overfitted: the loss is above the reference, but the output still depends on the input.
        (history(ESCAPED, (1.2, 1.0), (3.3, 2.1), cer=0.4), "escaped at update 53: dev loss 3.30"),
        (
            history(ESCAPED, ESCAPED, PLATEAU),
            (
                "fell back to the blank plateau after escaping at update 53: dev loss 3.01 "
                "(reference loss 3.02) after 159 updates; CER 100.0 %; lower train.learning_rate "
                "or set train.clip"
            ),
        ),
        (
            history((3.4, 0.0), per_epoch=10_600),
            (
                "on the way to the blank plateau: dev loss 3.40 (reference loss 3.02) after 10600 "
                "updates; this takes longer than usual, run make doctor to find the cause"
            ),
        ),
        (
            history((2.85, 0.02), per_epoch=5300),
            "input dependence 0.02 nats; this takes longer than usual, run make doctor to find",
        ),
        (
            history((math.nan, 0.3), reference_loss=math.nan, cer=0.7),
            (
                "CER 70.0 % after 53 updates; there is no dev loss because no dev utterance can be "
                "aligned: lower input.stack or model.time_strides"
            ),
        ),
        (history(PLATEAU, (60.0, 0.0)), "diverging: dev loss 60.00 (reference loss 3.02)"),
        (history(PLATEAU, (math.nan, 0.0)), "diverging: dev loss nan (reference loss 3.02)"),
        (
            history(
                PLATEAU, saturation_fc2_ceiling=0.61, saturation_fc1_ceiling=0.2, largest_z=431
            ),
            "; clamp: 61 % of fc2 at the ceiling: the input is not scaled",
        ),
        (
            history(PLATEAU, saturation_fc1_ceiling=0.06),
            "; clamp: 6 % of fc1 at the ceiling: no gradient passes there; lower train.learn",
        ),
        (history(PLATEAU, saturation_fc1_zero=1.0), "; clamp: 100 % of fc1 at zero"),
        (
            history(PLATEAU, nonfinite_utterances=7, nonfinite_ids="a-1 b-2"),
            (
                "; left out of the epoch: 7 of 27 training utterances have NaN or infinity in "
                "their input (a-1, b-2, …)"
            ),
        ),
    ],
)
def test_the_status_of_a_run_is_one_sentence(rows: list[Row], words: str):
    assert words in describe_status(rows)


def set_to(**sections: dict[str, Any]) -> Experiment:
    return Experiment(corpus=Corpus(name="an4", reader="an4", root="an4"), **sections)


def test_a_run_that_ended_on_the_plateau_recommends_only_settings_that_it_does_not_have():
    rows = history(PLATEAU, PLATEAU)
    first = set_to(features={"scale": "none"}, input={"normalisation": "none"})
    assert describe_status(rows, first, is_last_epoch=True) == (
        "ended on the blank plateau: dev loss 3.01 (reference loss 3.02) after 106 updates; "
        "set features.scale: log and input.normalisation: standardise, or raise "
        "train.learning_rate (make lr-range suggests one) or train.epochs"
    )
    assert describe_status(rows, set_to(), is_last_epoch=True).endswith(
        "106 updates; raise train.learning_rate (make lr-range suggests one) or train.epochs"
    )
    assert describe_status(history(BELOW), is_last_epoch=True).startswith(
        "ended while leaving the blank plateau"
    )


def test_a_loss_below_the_reference_is_leaving_the_plateau():
    assert describe_status(history((2.95, 0.04))).startswith(
        "leaving the blank plateau: dev loss 2.95"
    )


def test_a_learning_rate_that_is_too_high_is_reported_on_the_plateau():
    words = describe_status(history(PLATEAU, learning_rate=0.5))
    assert words.startswith("on the blank plateau")
    assert words.endswith("after 53 updates; lower train.learning_rate")


def test_a_run_that_has_escaped_may_reach_the_clamp_more_often():
    escaped = {"saturation_fc2_ceiling": 0.08}
    assert "clamp" not in describe_status(history(ESCAPED, (1.2, 1.0), **escaped))
    assert "clamp: 60 % of fc2" in describe_status(
        history(ESCAPED, ESCAPED, saturation_fc2_ceiling=0.6)
    )


def test_the_clamp_warning_recommends_only_settings_that_the_run_does_not_have():
    rows = history(PLATEAU, saturation_fc2_ceiling=0.08)
    assert describe_status(rows, set_to()).endswith(
        "lower train.learning_rate, or set model.batch_norm"
    )
    words = describe_status(rows, set_to(model={"batch_norm": "sequence"}))
    assert words.endswith("at the ceiling: no gradient passes there; lower train.learning_rate")


@pytest.mark.parametrize("share", [0.04, math.nan])
def test_a_clamp_that_is_rarely_reached_or_absent_is_not_mentioned(share: float):
    rows = history(PLATEAU, saturation_fc2_ceiling=share, saturation_fc1_zero=0.6)
    assert "clamp" not in describe_status(rows)


def test_a_first_loss_far_above_the_reference_is_not_divergence():
    assert "on the way" in describe_status(history((27.0, 0.0)))


def test_the_lr_sum_does_not_limit_sgd():
    assert "plateau" in describe_status(
        history(PLATEAU, learning_rate=1e-6), set_to(train={"optimiser": "sgd"})
    )


def test_above_the_reference_an_epoch_is_selected_by_loss_because_blanks_have_the_worst_cer():
    random = row("dev", 53, 50.0, 0.0, cer=0.95)
    blanks = row("dev", 106, 3.1, 0.0, cer=1.0)
    learned = row("dev", 159, 2.5, 0.2, cer=0.99)
    better = row("dev", 212, 2.6, 0.2, cer=0.9)
    assert sorted([random, blanks, learned, better], key=selection_key) == [
        better,
        learned,
        blanks,
        random,
    ]


def test_without_a_dev_loss_an_epoch_is_selected_by_cer():
    lost = {"reference_loss": math.nan}
    first, better = (row("dev", 53 * n, math.nan, 0.2, cer=1 / n, **lost) for n in (1, 2))
    assert selection_key(better) < selection_key(first)


@pytest.mark.parametrize(
    ("loss", "cer", "key"),
    [
        (3.02, 0.9, (math.inf, 3.02)),  # at the reference: the output may ignore the input
        (3.01, 0.9, (0.9, 0.0)),
        (3.03, 0.9, (math.inf, 3.03)),
        (2.0, math.nan, (math.inf, 2.0)),
    ],
)
def test_the_selection_key_changes_at_the_reference_loss(
    loss: float, cer: float, key: tuple[float, float]
):
    assert selection_key(row("dev", 53, loss, 0.2, cer=cer)) == key


def just_below(value: float) -> float:
    return math.nextafter(value, 0)


def just_above(value: float) -> float:
    return math.nextafter(value, math.inf)


@pytest.mark.parametrize(
    ("loss", "dependence", "escaped"),
    [
        (2.875, 0.0625, False),  # exactly at the margin
        (just_below(2.875), 0.0625, True),
        (2.0, 0.05, False),
        (2.0, just_above(0.05), True),
    ],
)
def test_the_limits_of_escape_are_not_part_of_it(
    monkeypatch: pytest.MonkeyPatch, loss: float, dependence: float, escaped: bool
):
    monkeypatch.setattr(plateau, "ESCAPE_MARGIN", 0.125)  # exact in binary
    rows = history((loss, dependence), (loss, dependence), reference_loss=3.0)
    assert escape_updates(rows) == (53 if escaped else None)


@pytest.mark.parametrize(
    ("rows", "words", "expected"),
    [
        # Divergence: more than twice the reference, and more than 1.5 times the lowest dev loss.
        (history((3.5, 0.0), (6.0, 0.0), reference_loss=3.0), "diverging", False),
        (history((3.5, 0.0), (just_above(6.0), 0.0), reference_loss=3.0), "diverging", True),
        # Input dependence after an escape.
        (history(ESCAPED, ESCAPED, (2.8, 0.05)), "fell back", True),
        (history(ESCAPED, ESCAPED, (2.8, just_above(0.05))), "fell back", False),
        (history((5.0, 0.0), (7.5, 0.0), reference_loss=3.0), "diverging", False),
        (history((5.0, 0.0), (just_above(7.5), 0.0), reference_loss=3.0), "diverging", True),
        # Adam's largest learning rate.
        (history(PLATEAU, learning_rate=0.1), "lower train.learning_rate", False),
        (history(PLATEAU, learning_rate=0.11), "lower train.learning_rate", True),
        # The sum of the learning rates that can move a weight far enough.
        (history(PLATEAU, per_epoch=1, learning_rate=0.03), "not learning", False),
        (history(PLATEAU, per_epoch=1, learning_rate=0.029), "not learning", True),
        # A long plateau.
        (history(PLATEAU, per_epoch=3000), "longer than usual", False),
        (history(PLATEAU, per_epoch=3001), "longer than usual", True),
        # Near the reference loss: 0.25 above, against 0.5.
        (history((3.25, 0.0), reference_loss=3.0), "on the blank plateau", True),
        (history((3.5, 0.0), reference_loss=3.0), "on the way to the blank plateau", True),
        (history((2.98, 0.0), reference_loss=3.0), "on the blank plateau", True),
        (history((2.96, 0.0), reference_loss=3.0), "leaving the blank plateau", True),
        # The clamp.
        (history(PLATEAU, saturation_fc1_ceiling=0.05), "5 % of fc1 at the ceiling", True),
        (history(PLATEAU, saturation_fc1_zero=0.99), "99 % of fc1 at zero", True),
        (history(PLATEAU, saturation_fc1_zero=0.98), "at zero", False),
        (history(PLATEAU, saturation_fc1_ceiling=0.1, largest_z=12.0), "not scaled", True),
        (history(PLATEAU, saturation_fc1_ceiling=0.1, largest_z=11.9), "not scaled", False),
        (history(ESCAPED, ESCAPED, saturation_fc1_ceiling=0.5), "at the ceiling", True),
        (history(ESCAPED, ESCAPED, saturation_fc1_ceiling=0.49), "at the ceiling", False),
        # All utterances that were left out are named.
        (history(PLATEAU, nonfinite_utterances=2, nonfinite_ids="a b"), "(a, b)", True),
    ],
)
def test_each_limit_separates_two_sentences(rows: list[Row], words: str, expected: bool):
    assert (words in describe_status(rows)) == expected


@pytest.mark.parametrize(("losses", "stuck"), [((10.0, 9.8), False), ((10.0, 9.95), True)])
def test_a_loss_that_falls_is_learning_however_low_the_learning_rate(
    losses: tuple[float, float], stuck: bool
):
    rows = history(*((loss, 0.0) for loss in losses), learning_rate=1e-6)
    assert describe_status(rows).startswith("not learning") == stuck


def test_a_run_that_ended_while_leaving_needs_more_epochs():
    assert describe_status(history(BELOW), is_last_epoch=True).endswith("; raise train.epochs")
    assert "epochs" not in describe_status(history(BELOW))


def test_a_run_with_few_errors_after_its_only_evaluation_has_left_the_plateau():
    """As a run that starts from the weights of another: nothing is advised."""
    status = describe_status(history((0.65, 1.5), cer=0.174), is_last_epoch=True)
    assert status == (
        "left the blank plateau: dev loss 0.65 (reference loss 3.02) after 53 updates; CER 17.4 %"
    )


# Dev loss, train loss, dev CER, input dependence of each epoch (53 updates) of baseline.yaml on AN4
# with train.epochs=8, and of the same with the transcripts of each split exchanged.
HEALTHY = [
    (3.428, 9.584, 1.000, 0.046),
    (2.950, 3.134, 1.000, 0.053),
    (2.848, 2.947, 1.000, 0.181),
    (2.440, 2.663, 0.889, 0.340),
    (2.113, 2.276, 0.829, 0.465),
    (1.878, 1.976, 0.719, 0.601),
    (1.792, 1.796, 0.698, 0.640),
]
EXCHANGED = [
    (3.536, 12.661, 1.0, 0.023),
    (3.285, 3.751, 1.0, 0.025),
    (3.396, 3.593, 1.0, 0.070),
    (3.383, 3.636, 1.0, 0.045),
    (3.236, 3.593, 1.0, 0.052),
    (3.285, 3.506, 1.0, 0.066),
    (3.244, 3.474, 1.0, 0.071),
]
SHIFTED = [  # by one utterance
    (3.976, 12.054, 1.0, 0.041),
    (3.918, 3.937, 1.0, 0.027),
    (3.410, 3.646, 1.0, 0.041),
    (3.625, 3.667, 1.0, 0.061),
    (3.715, 3.534, 1.0, 0.066),
    (3.698, 3.520, 1.0, 0.077),
    (3.406, 3.504, 1.0, 0.071),
    (3.457, 3.422, 1.0, 0.076),
]
MISMATCH = "the transcripts probably do not match the audio"


def recorded(
    values: list[tuple[float, float, float, float]], dev_reference: float, train_reference: float
) -> list[Row]:
    rows = []
    for n, (dev, train, cer, dependence) in enumerate(values, 1):
        train_values = {"learning_rate_sum": 0.1, "reference_loss": train_reference}
        rows.append(row("train", 53 * n, train, dependence, **train_values))
        rows.append(row("dev", 53 * n, dev, dependence, cer=cer, reference_loss=dev_reference))
    return rows


@pytest.mark.parametrize(
    ("values", "references"), [(EXCHANGED, (3.438, 3.535)), (SHIFTED, (3.635, 3.476))]
)
def test_exchanged_transcripts_are_named_and_no_learning_rate_is_recommended(values, references):
    status = describe_status(recorded(values, *references), set_to(), is_last_epoch=True)
    assert status.startswith("not learning to recognise: dev loss 3.")
    assert status.endswith("CER 100.0 %; check that the transcripts match the audio")


@pytest.mark.parametrize("epochs", range(1, len(HEALTHY) + 1))
def test_no_status_of_a_healthy_run_says_that_its_transcripts_do_not_match(epochs: int):
    rows = recorded(HEALTHY[:epochs], 3.042, 3.028)
    status = describe_status(rows, set_to())
    assert MISMATCH not in status
    assert "not learning" not in status


@pytest.mark.parametrize(
    ("train", "dev", "cer", "expected"),
    [
        (2.0, (3.3, 3.5), 0.91, True),  # learnt by heart, and dev rises
        (2.0, (3.3, 3.2), 0.91, False),  # dev falls
        (2.0, (3.3, 3.5), 0.40, False),  # overfitted, but it recognises
        (2.95, (3.3, 3.5), 0.91, False),  # train has not learnt either
    ],
)
def test_train_that_falls_while_dev_does_not_means_other_transcripts(train, dev, cer, expected):
    rows = recorded([(dev[0], 3.0, cer, 0.1), (dev[1], train, cer, 0.2)], 3.02, 3.02)
    assert (MISMATCH in describe_status(rows)) is expected


def test_a_run_above_the_reference_loss_with_wrong_characters_has_not_escaped():
    rows = history(ESCAPED, ESCAPED, (3.1, 0.3), cer=0.9)
    assert describe_status(rows).startswith("rose above the reference loss again after update 53")


def test_a_rate_that_moves_nothing_is_named_from_the_first_epoch():
    """Dev and train are other utterances, so their losses are not compared."""
    rows = history((16.98, 0.0), (16.97, 0.0), (16.96, 0.0), learning_rate=1e-6)
    rows[0]["loss_per_character"] = 17.4  # train, in the first epoch
    for epochs in (1, 2, 3):
        assert describe_status(rows[: 2 * epochs]).startswith("not learning: learning rate 1e-06")


def test_a_loss_that_falls_is_learning_with_few_updates():
    rows = history((16.80, 0.0), (5.09, 0.0), (3.16, 0.0), per_epoch=13, learning_rate=6e-4)
    assert describe_status(rows).startswith("on the blank plateau: dev loss 3.16")


def test_a_loss_above_that_of_a_uniform_output_diverges_with_one_advice():
    """2645 frames, stacked by 3, are 882 steps of log 38 nats for 100 characters: 32.07."""
    sgd = set_to(train={"optimiser": "sgd", "learning_rate": 10.0}, input={"stack": 3})
    rows = history((50.0, 0.0), frames=2645, chars=100)
    words = describe_status(rows, sgd, is_last_epoch=True)
    assert words.startswith("diverging: dev loss 50.00 (reference loss 3.02) after 53 updates, ")
    assert "above the 32.07 of an output where all letters are equally probable" in words
    assert words.endswith("; lower train.learning_rate or set train.clip")
    assert "raise" not in words
    assert "on the way" in describe_status(history((33.0, 0.0), frames=2645, chars=100), sgd)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"clamp": 0.01}}, "change model.clamp: 0.01 (raise it)"),
        ({"model": {"dropout": 0.95}}, "change model.dropout: 0.95 (lower it)"),
        ({"train": {"weight_decay": 100.0}}, "change train.weight_decay: 100 (lower it)"),
    ],
)
def test_settings_that_stand_out_are_named_before_the_learning_rate(sections, words):
    for is_last_epoch in (False, True):
        status = describe_status(history(PLATEAU), set_to(**sections), is_last_epoch=is_last_epoch)
        assert words in status
        assert "learning_rate" not in status


def test_a_small_clamp_is_to_be_raised_and_not_the_learning_rate_lowered():
    rows = history(ESCAPED, ESCAPED, saturation_fc1_ceiling=0.6)
    status = describe_status(rows, set_to(model={"clamp": 0.01}))
    assert status.endswith("60 % of fc1 at the ceiling: raise model.clamp, which is 0.01")


def test_an_input_that_is_not_scaled_or_silent_is_named_on_the_plateau():
    unscaled = describe_status(history(PLATEAU, largest_z=436.0))
    assert "the input is not scaled: its largest |z| is 436, usual is 7" in unscaled
    assert "nothing is wrong" not in unscaled
    silent = describe_status(
        history(PLATEAU, largest_z=0.0), set_to(input={"normalisation": "standardise"})
    )
    assert "the input hardly varies (largest |z| 0): is the audio silent?" in silent


@pytest.mark.parametrize(
    ("scale", "normalisation", "advice"),
    [
        (
            "none",
            "none",
            "usual is 7; set features.scale: log and input.normalisation: standardise",
        ),
        ("none", "standardise", "usual is 7; set features.scale: log"),
        ("log", "none", "usual is 7; set input.normalisation: standardise"),
        ("log", "standardise", "usual is 7; make doctor names utterances"),
    ],
)
def test_of_the_settings_that_scale_the_input_only_those_that_it_lacks_are_named(
    scale: str, normalisation: str, advice: str
):
    experiment = set_to(features={"scale": scale}, input={"normalisation": normalisation})
    assert describe_status(history(PLATEAU, largest_z=436.0), experiment).endswith(advice)


def test_a_learning_rate_that_could_move_the_weights_is_not_blamed():
    """Only the transcripts of train were exchanged: dev stays at its reference loss."""
    rows = history(*[(3.08, 0.02)] * 8, learning_rate=1.5e-3)  # a sum of 0.64 in 424 updates
    status = describe_status(rows, set_to(), is_last_epoch=True)
    assert status.endswith("; check that the transcripts match the audio, or raise train.epochs")


def test_where_the_clamp_asks_for_a_lower_learning_rate_no_higher_one_is_recommended():
    rows = history((4.65, 0.0), (3.49, 0.0), saturation_fc1_ceiling=0.4)
    sgd = set_to(train={"optimiser": "sgd", "learning_rate": 10.0})
    status = describe_status(rows, sgd, is_last_epoch=True)
    assert "raise" not in status
    assert "no gradient passes there; lower train.learning_rate" in status


@pytest.mark.parametrize(("infeasible", "is_named"), [(0, False), (2, False), (3, True)])
def test_many_utterances_that_cannot_be_aligned_are_counted(infeasible: int, is_named: bool):
    status = describe_status(history(ESCAPED, ESCAPED, infeasible=infeasible))
    expected = f"left out of training: {infeasible} of {20 + infeasible} utterances have more"
    assert (expected in status) is is_named


def test_a_small_clamp_is_not_taken_for_wrong_transcripts():
    rows = history(*[(2.82, 0.07)] * 5, saturation_fc1_ceiling=0.5)
    status = describe_status(rows, set_to(model={"clamp": 0.01}))
    assert "transcripts" not in status
    assert "raise model.clamp" in status


def test_an_input_that_is_not_scaled_is_named_also_where_little_of_a_layer_is_clamped():
    rows = history(PLATEAU, largest_z=848.0, saturation_fc1_ceiling=0.01)
    assert "the input is not scaled: its largest |z| is 848" in describe_status(rows)


def test_the_uniform_loss_is_unknown_where_utterances_cannot_be_aligned():
    rows = history((3.65, 0.0), reference_loss=3.0, frames=100, chars=100, infeasible=97)
    assert "diverging" not in describe_status(rows, set_to())


@pytest.mark.parametrize(
    "points", [(PLATEAU, PLATEAU), (PLATEAU, BELOW), (BELOW, ESCAPED, ESCAPED)]
)
@pytest.mark.parametrize("is_last", [False, True])
def test_much_suspicious_sound_is_named_before_epochs_and_rates(points, is_last):
    rows = history(*points, suspicious_utterances=7, infeasible=0)
    text = describe_status(rows, is_last_epoch=is_last)
    assert text.count("the sound of 7 of 20 training utterances is silent, constant or scaled") == 1
    assert "train.epochs" not in text
    assert "train.learning_rate" not in text
    few = describe_status(history(*points, suspicious_utterances=1, infeasible=0))
    assert "the sound of" not in few


@pytest.mark.parametrize("points", [(PLATEAU, PLATEAU), (PLATEAU, BELOW)])
@pytest.mark.parametrize("is_last", [False, True])
def test_transcripts_of_other_recordings_are_named_before_epochs_and_rates(points, is_last):
    """As where the transcripts of train alone are permuted: dev is scored with the right ones."""
    rows = history(*points, length_correlation=0.02)
    text = describe_status(rows, is_last_epoch=is_last)
    assert text.endswith(
        "; check that the transcripts of train belong to their recordings: their lengths hardly "
        "follow those of the audio (correlation 0.02, usual is 0.5 or more)"
    )
    assert "nothing is wrong" not in text
    assert "train.epochs" not in text
    escaped = describe_status(history(ESCAPED, (1.2, 1.0), cer=0.4, length_correlation=0.02))
    assert "belong" not in escaped  # a corpus of single words may have such lengths
    assert "belong" not in describe_status(history(*points, length_correlation=0.3))


def test_a_loss_that_rises_is_not_on_the_way_to_the_plateau_and_the_rate_is_to_be_lowered():
    """As SGD at 10 on AN4: from 4.65 to 6.06, which is not yet twice the reference loss."""
    sgd = set_to(train={"optimiser": "sgd", "learning_rate": 10.0})
    rows = history((4.65, 0.0), (6.02, 0.0), learning_rate=10.0)
    for is_last in (False, True):
        assert describe_status(rows, sgd, is_last_epoch=is_last) == (
            "the loss rises above the blank plateau: dev loss 6.02 (reference loss 3.02) after 106 "
            "updates, lowest 4.65; lower train.learning_rate or set train.clip"
        )
    clamped = history((4.65, 0.0), (6.02, 0.0), saturation_fc1_ceiling=0.43)
    text = describe_status(clamped, sgd, is_last_epoch=True)
    assert "lowest 4.65; clamp: 43 % of fc1 at the ceiling: no gradient" in text
    assert "train.clip" not in text
    falling = describe_status(history((6.02, 0.0), (4.65, 0.0), learning_rate=10.0), sgd)
    assert "on the way to the blank plateau" in falling


def test_a_setting_that_stands_out_is_named_where_most_characters_stay_wrong():
    clamped = set_to(model={"clamp": 0.01})
    rows = history(ESCAPED, (2.7, 0.3), cer=1.0)
    assert describe_status(rows, clamped).endswith(
        "CER 100.0 %; change model.clamp: 0.01 (raise it)"
    )
    too_fast = set_to(train={"learning_rate": 0.3})
    assert describe_status(rows, too_fast).endswith("change train.learning_rate: 0.3 (lower it)")
    assert describe_status(rows, set_to()).endswith("CER 100.0 %")
    assert describe_status(history(ESCAPED, (1.2, 1.0), cer=0.4), clamped).endswith("CER 40.0 %")


def test_a_rate_that_is_small_because_of_the_warm_up_is_not_blamed():
    """Batches of 64 on AN4: 14 updates are over, and the loss of the first epoch is 16.80."""
    rows = history((16.8, 0.0), per_epoch=14, learning_rate=2.25e-4)
    warm = {"learning_rate": 3e-3, "warmup_updates": 100}
    assert "on the way to the blank plateau" in describe_status(rows, set_to(train=warm))
    for changed in ({"warmup_updates": 0}, {"learning_rate": 1e-4}):
        text = describe_status(rows, set_to(train={**warm, **changed}))
        assert text.startswith("not learning: learning rate 0.000225 can move a weight")
