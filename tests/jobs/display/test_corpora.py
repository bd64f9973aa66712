"""Lines about a corpus: one for its size, and one for each thing that looks wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.display.corpora import print_corpora, print_refusals
from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.features import FeatureSettings
from pipeline.config.sweep import Sweep, SweptExperiment
from pipeline.corpus.manifest import Manifest, Refusal, Utterance

CORPUS = Corpus(name="tiny", reader="csv", root="nowhere")
EXPERIMENT = Experiment(corpus=CORPUS, features=FeatureSettings(sample_rate=8000))


def utterance(number: int, **changes) -> Utterance:
    return Utterance(
        **{
            "id": f"u{number}",
            "audio": f"u{number}.wav",
            "samples": 16_000 + number,
            "rate": 8000,
            "transcript": f"TWENTY LETTERS OR {'SO'[number % 2]}O",
            "speaker": f"s{number % 10}",
            "split": {8: "dev", 9: "test"}.get(number % 10, "train"),
            **changes,
        }
    )


@pytest.fixture
def corpus_lines(capsys):
    def lines(*utterances: Utterance, drawn: str = "") -> list[str]:
        sweep = Sweep("tiny", "", Path("tiny.yaml"), (SweptExperiment("", {}, EXPERIMENT),))
        manifest = Manifest("tiny", Path("nowhere"), utterances, split_note=drawn)
        print_corpora(sweep, {CORPUS: manifest})
        return capsys.readouterr().out.splitlines()

    return lines


def test_a_corpus_without_problems_is_one_line(corpus_lines):
    (line,) = corpus_lines(*map(utterance, range(20)))
    assert line == (
        "tiny: 20 utterances, 40 s; train 16 of 8 speakers, 32 s; dev 2 of 1 speaker, 4.0 s; "
        "test 2 of 1 speaker, 4.0 s"
    )


def test_splits_that_training_needs_are_reported_as_missing(corpus_lines):
    only_test = corpus_lines(utterance(9))
    assert only_test[1:] == ["tiny: no train and no dev utterances; training needs them"]
    assert corpus_lines(utterance(1))[1:] == ["tiny: no dev utterances; training needs them"]


def test_each_thing_that_looks_wrong_is_a_line(corpus_lines):
    utterances = [utterance(n) for n in range(30)]
    utterances[3] = replace(utterances[3], transcript="CAFÉ, PLEASE", split="test")
    again = replace(utterances[1], id="again", split="test", speaker="s9")
    short = replace(utterance(31), samples=400)
    refused, outlier = "training refuses characters", "too short or too long for the transcript"
    assert corpus_lines(*utterances, again, short, drawn="test drawn from train")[1:] == [
        "tiny: test drawn from train",
        "tiny: 1 speaker in more than one split: s3; error rates on dev and test may be too low",
        f"tiny: {refused} outside english-38: ',' in 1 utterance, 'É' in 1 utterance",
        "tiny: 1 recording listed twice, 1 across splits: u1 = again",
        f"tiny: 1 utterance {outlier} (seconds, characters per second): u31 (0.05 s, 400.0)",
    ]


def test_only_the_first_of_many_are_listed(corpus_lines):
    lines = corpus_lines(*(utterance(n, transcript="ÀÉÎÖÛŸÇ") for n in range(7, 10)))
    assert lines[1].endswith(" and 2 more")


def test_refusals_are_listed_and_counted(capsys):
    assert print_refusals([]) == 0
    assert print_refusals([Refusal("u1", "u1.wav: is cut short")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "refused: u1: u1.wav: is cut short",
        "1 utterance refused",
    ]


def test_only_the_first_hundred_refusals_are_listed(capsys):
    assert print_refusals([Refusal(f"u{n}", "is empty") for n in range(2000)], "in m.jsonl") == 1
    *listed, counted = capsys.readouterr().out.splitlines()
    assert len(listed) == 100
    assert (
        counted == "2000 utterances refused; the first 100 are listed here, all of them in m.jsonl"
    )


def test_transcripts_that_are_all_one_text_are_named_before_training(corpus_lines):
    _, note = corpus_lines(*(utterance(n, transcript="YES") for n in range(20)))
    assert note == (
        "tiny: all training transcripts are the same text, 'YES': nothing can be learnt from them, "
        "and an error rate means nothing"
    )


def test_transcripts_of_other_utterances_are_named_before_training(corpus_lines):
    """From short to long audio the transcripts become shorter."""
    exchanged = [
        utterance(n, samples=8000 + 100 * n, transcript="A" * (300 - n)) for n in range(200)
    ]
    assert any(
        "hardly follows that of the transcripts (correlation -1.00, usual is 0.5 or more)" in line
        for line in corpus_lines(*exchanged)
    )


def test_transcripts_whose_words_are_joined_are_named(corpus_lines):
    joined = [utterance(n, transcript=f"TWENTYLETTERSOR{'SO'[n % 2]}O") for n in range(20)]
    assert any(
        "no training transcript has a space, though" in line for line in corpus_lines(*joined)
    )
    spaced = replace(joined[1], transcript="TWENTY LETTERS")
    assert not any("has a space" in line for line in corpus_lines(joined[0], spaced, *joined[2:]))
    words = [utterance(n, transcript=f"TWENTY{'SO'[n % 2]}") for n in range(20)]
    assert not any("has a space" in line for line in corpus_lines(*words))
