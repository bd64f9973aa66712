"""Sums are divided once, when the row is made, and the saved state keeps them exactly."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from pipeline.runs.rows import ROW_COLUMNS, Row
from pipeline.training.loop.metrics import EpochMetrics
from pipeline.training.network.output_stats import OutputStats


def example() -> EpochMetrics:
    layers = [0, 0, 0, 0, 0, 0, 60, 20, 0, 40, 10, 2, 0, 0, 0]
    made = EpochMetrics(OutputStats(np.array([10, 4, 5.5, *layers, 6, 4.0])))
    made.add_losses([6.0, math.inf, 3.0], [3, 9, 1])
    made.add_losses([1.0], [2])
    made.add_texts(["AB", "C"], ["AB", " "])
    made.add_texts(["A B"], ["AB B"])
    made.frames, made.seconds, made.waited = 600, 2.0, 0.5
    made.grad_norm, made.normed, made.updates, made.rates = 3.0, 2, 5, 7e-3
    made.update_size, made.sized, made.largest_z = 3e-3, 2, 6.5
    made.nonfinite = [f"a-{n}" for n in range(7)]
    return made


def row(made: EpochMetrics) -> Row:
    return made.to_row(
        run_id="x",
        epoch=3,
        split="dev",
        updates=159,
        reference_loss=3.02,
        infeasible=1,
        suspicious=2,
        length_correlation=0.57,
        learning_rate=1e-3,
        peak_memory_bytes=7,
        weights="ema",
    )


def test_a_row_divides_the_sums():
    found = row(example())
    assert found["loss_per_utterance"] == 10 / 3
    assert found["loss_per_character"] == (6 / 3 + 3 / 1 + 1 / 2) / 3  # torch's 'mean'
    assert (found["char_errors"], found["chars"], found["cer"]) == (2, 6, 2 / 6)
    assert (found["word_errors"], found["words"]) == (2, 4)
    assert found["ser"] == 2 / 3
    assert (found["utterances"], found["empty_hypotheses"]) == (3, 1)
    assert (found["frames_per_second"], found["loader_wait"]) == (300, 0.25)
    assert (found["grad_norm"], found["clamp_saturation"]) == (1.5, 0.02)
    assert (found["saturation_fc1_zero"], found["saturation_fc2_ceiling"]) == (20 / 60, 2 / 40)
    assert (found["emitted_chars"], found["length_ratio"]) == (7, 7 / 6)
    assert (found["update_size"], found["largest_z"]) == (1.5e-3, 6.5)
    assert (found["learning_rate_sum"], found["skipped_updates"]) == (7e-3, 3)
    assert (found["nonfinite_utterances"], found["nonfinite_ids"]) == (7, "a-0 a-1 a-2 a-3 a-4")
    assert (found["blank_argmax"], found["blank_posterior"]) == (0.4, 0.6)
    assert (found["suspicious_utterances"], found["length_correlation"]) == (2, 0.57)
    assert tuple(found) == ROW_COLUMNS


def test_without_a_measurement_a_rate_is_nan():
    found = row(EpochMetrics(OutputStats.empty(3)))
    assert found["utterances"] == found["frames"] == 0
    assert math.isnan(found["loss_per_character"])
    assert math.isnan(found["cer"])


def test_metrics_read_back_from_a_state_bit_for_bit():
    made = example()
    again = EpochMetrics.from_dict(json.loads(json.dumps(made.to_dict())))
    assert asdict(again) | {"output_stats": None} == asdict(made) | {"output_stats": None}
    assert np.array_equal(again.output_stats.sums, made.output_stats.sums)
    assert again.score == made.score


def test_a_nan_loss_is_not_hidden():
    made = EpochMetrics(OutputStats.empty(3))
    made.add_losses([math.nan, 1.0], [1, 1])
    assert math.isnan(row(made)["loss_per_utterance"])


@pytest.mark.parametrize("text", ["", " ", "  "])
def test_spaces_alone_are_an_empty_hypothesis(text: str):
    made = EpochMetrics(OutputStats.empty(3))
    made.add_texts(["A"], [text])
    assert made.empty == 1
