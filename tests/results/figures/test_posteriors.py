"""Tests of the picture of an utterance: what is drawn, the words for it, its size."""

import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest

from pipeline.config.features import FeatureSettings
from pipeline.results.errors.posteriors import UtteranceOutput
from pipeline.results.figures import posteriors
from pipeline.results.figures.svg_embed import embed_svg
from pipeline.runs.hypotheses import Hypothesis
from pipeline.runs.posteriors import Posterior

SETTINGS = FeatureSettings(mel_bins=80)
SYMBOLS = ["", " ", "A", "B", "<b>&"]


def example(path: list[int], frames_per_step: int = 3, *, with_frames: bool = True):
    """The output of a network that is sure of this path of classes."""
    probabilities = np.full((len(path), len(SYMBOLS)), 0.025)
    probabilities[np.arange(len(path)), path] = 0.9
    frames = frames_per_step * len(path)
    return UtteranceOutput(
        arm="mel & power",
        kind="worst",
        hypothesis=Hypothesis.of("u-1", "test", "A BA", "A B"),
        posterior=Posterior.of("u-1", frames, np.log(probabilities), SYMBOLS),
        settings=SETTINGS if with_frames else None,
        frames=np.random.default_rng(0).normal(size=(frames, 80)) if with_frames else None,
    )


def test_the_emitted_symbols_are_those_of_the_greedy_path():
    output = example([0, 2, 2, 0, 2, 1, 3, 0])
    assert posteriors.emitted_symbols(output) == [
        ("A", 1, 3),
        ("A", 4, 5),
        (" ", 5, 6),
        ("B", 6, 7),
    ]


def test_the_picture_names_what_is_emitted_and_holds_the_spectrogram():
    svg = posteriors.draw_output(example([0, 2, 2, 0, 2, 1, 3, 0] * 10))
    labels = re.findall(r">([^<>]+)</text>", svg)
    assert labels.count("A") == 20
    assert labels.count("B") == 10
    assert labels.count("␣") == 10
    assert {"s", "kHz", "probability", "0.5"} <= set(labels)
    (image,) = re.findall(r'base64,([^"]+)"', svg)
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image)), format="png")
    assert pixels.shape[:2] == (posteriors.MAX_ROWS, posteriors.MAX_COLUMNS)
    assert len(svg) < 60_000


def test_letters_have_room_before_spaces():
    path = [0, 2] + [1, 3] * 40 + [0] * 200  # 80 symbols that follow each other without a gap
    labels = re.findall(r">([AB␣])</text>", posteriors.draw_output(example(path)))
    assert "A" in labels
    assert labels.count("B") > 10
    assert "␣" not in labels


def test_without_frames_the_posteriors_are_drawn_alone():
    svg = posteriors.draw_output(example([0, 2, 0], with_frames=False))
    assert "<image" not in svg
    assert ">A</text>" in svg


def test_a_hostile_symbol_stays_text_and_the_picture_can_be_embedded():
    output = example([0, 4, 0])
    element = embed_svg(posteriors.draw_output(output), "u", posteriors.describe_output(output))
    assert "<b>" not in element
    assert "&lt;b&gt;&amp;" in element
    assert 'role="img" aria-label="Spectrogram' in element


def test_the_description_has_the_numbers():
    text = posteriors.describe_output(example([0, 2, 2, 0, 2, 1, 3, 0]))
    assert "utterance u-1, 0.2 s, arm mel & power" in text  # 24 frames of 10 ms
    assert "The blank is the most probable output in 38 % of the steps" in text
    assert "Reference: A BA. Emitted: AA B." in text


def test_only_the_beginning_of_a_long_utterance_is_drawn():
    output = example([0, 2] * 2000)
    assert posteriors.utterance_seconds(output) == pytest.approx(120)
    assert "the first 12 s of utterance u-1" in posteriors.describe_output(output)
    svg = posteriors.draw_output(output)
    assert len(svg) < 200_000
    assert re.findall(r">([\d.]+)</text>", svg).count("12") == 1


def test_no_step_at_all_is_drawn_too():
    output = example([])
    assert posteriors.draw_output(output).startswith("<?xml")
    assert "Emitted: nothing" in posteriors.describe_output(output)


@pytest.mark.parametrize(("count", "most"), [(7, 3), (10, 10), (400, 200), (5, 1)])
def test_shrinking_averages_neighbours(count: int, most: int):
    frames = np.random.default_rng(1).normal(size=(count, 2))
    small = posteriors.shrink(frames, 0, most)
    assert len(small) == min(count, most)
    pieces = min(count, most)
    edges = [count * n // pieces for n in range(1, pieces)]
    expected = [piece.mean(axis=0) for piece in np.split(frames, edges)]
    assert small == pytest.approx(np.array(expected))
    assert posteriors.shrink(frames.T, 1, most) == pytest.approx(small.T)
