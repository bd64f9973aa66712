"""What is printed of a corpus: one line of its size, and one for each thing that looks wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.display.corpora import print_corpora, print_refusals
from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import Sweep, SweptExperiment
from pipeline.corpus.manifest import Manifest, Refusal, Utterance

CORPUS = Corpus(name="tiny", reader="csv", root="nowhere")


def utterance(number: int, **changes) -> Utterance:
    return Utterance(
        **{
            "id": f"u{number}",
            "audio": f"u{number}.wav",
            "samples": 16_000 + number,
            "rate": 8000,
            "transcript": "TWENTY LETTERS OR SO",
            "speaker": f"s{number % 10}",
            "split": {8: "dev", 9: "test"}.get(number % 10, "train"),
            **changes,
        }
    )


@pytest.fixture
def corpus_lines(capsys):
    def lines(*utterances: Utterance, drawn: str = "") -> list[str]:
        sweep = Sweep(
            "tiny", "", Path("tiny.yaml"), (SweptExperiment("", {}, Experiment(corpus=CORPUS)),)
        )
        manifest = Manifest("tiny", Path("nowhere"), utterances, split_note=drawn)
        print_corpora(sweep, {CORPUS: manifest})
        return capsys.readouterr().out.splitlines()

    return lines


def test_a_sound_corpus_is_one_line(corpus_lines):
    (line,) = corpus_lines(*map(utterance, range(20)))
    assert line == (
        "tiny: 20 utterances, 40 s; train 16 of 8 speakers, 32 s; dev 2 of 1 speaker, 4.0 s; "
        "test 2 of 1 speaker, 4.0 s"
    )


def test_what_training_will_want_is_said_to_be_missing(corpus_lines):
    test = corpus_lines(utterance(9))
    assert test[1:] == ["tiny: no train and no dev utterances, which training needs"]
    assert corpus_lines(utterance(1))[1:] == ["tiny: no dev utterances, which training needs"]


def test_what_looks_wrong_is_a_line_each(corpus_lines):
    utterances = [utterance(n) for n in range(30)]
    utterances[3] = replace(utterances[3], transcript="CAFÉ, PLEASE", split="test")
    again = replace(utterances[1], id="again", split="test", speaker="s9")
    short = replace(utterance(31), samples=400)
    refused = "which training refuses, and in how many utterances"
    assert corpus_lines(*utterances, again, short, drawn="test drawn from train")[1:] == [
        "tiny: test drawn from train",
        "tiny: 1 speaker in more than one split: s3; error rates then say little of other voices",
        f"tiny: characters outside english-38, {refused}: ',' in 1, 'É' in 1",
        "tiny: 1 sound listed again, 1 across splits: u1 = again",
        "tiny: 1 utterance of unlikely length (characters per second): u31 (0.05 s, 400.0)",
    ]


def test_of_many_only_a_few_are_named(corpus_lines):
    lines = corpus_lines(*(utterance(n, transcript="ÀÉÎÖÛŸÇ") for n in range(7, 10)))
    assert lines[1].endswith(" and 2 more")


def test_what_is_refused_is_named_and_counted(capsys):
    assert print_refusals([]) == 0
    assert print_refusals([Refusal("u1", "u1.wav: is cut short")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "refused: u1: u1.wav: is cut short",
        "1 utterance refused",
    ]


def test_of_very_many_refusals_the_first_are_named(capsys):
    assert print_refusals([Refusal(f"u{n}", "is empty") for n in range(2000)], "in m.jsonl") == 1
    *named, counted = capsys.readouterr().out.splitlines()
    assert len(named) == 100
    assert counted == "2000 utterances refused; of which 100 are named here, all in m.jsonl"
