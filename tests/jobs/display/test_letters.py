"""`make features` says what was merged, which letters there are, and which training lacks."""

from pathlib import Path

import pytest

from jobs.display.corpora import print_corpora
from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import Sweep, SweptExperiment
from pipeline.corpus.manifest import Manifest
from pipeline.corpus.readers import build_manifest
from tests.corpus.conftest import tone


@pytest.fixture
def folder(tmp_path: Path, write_wav) -> Path:
    """Ten utterances in Turkish: eight for training, one each for dev and test."""
    texts = [("train", f"Işık {word}") for word in ("dağ", "it’s", "aç", "çay", "aç", "iç", "ağaç")]
    texts += [("train", "kafé"), ("dev", "jilet"), ("test", "ışık")]
    for number, (split, text) in enumerate(texts):
        write_wav(tmp_path / split / f"{number}.wav", tone(1 + number / 100))
        (tmp_path / split / f"{number}.txt").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def write_wav():
    import soundfile

    def write(path: Path, samples) -> None:
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, 16_000)

    return write


def read(folder: Path, **settings) -> tuple[Manifest, list[str]]:
    corpus = Corpus(name="mine", reader="pairs", root=str(folder), language="tr", **settings)
    manifest = build_manifest(corpus, folder / "work")
    experiment = SweptExperiment("", {}, Experiment(corpus=corpus))
    print_corpora(Sweep("s", "", Path("s.yaml"), (experiment,)), {corpus: manifest})
    return manifest, list(manifest.text_notes)


def test_merged_forms_and_the_letters_are_printed_once(folder, capsys):
    _, notes = read(folder)
    assert notes == ["’ became ' in 1"]
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("mine: transcripts: ’ became ' in 1") == 1
    assert "mine: alphabet: 15 letters: space ' a d f i k s t y ç é ğ ı ş" in lines
    (unknown,) = [line for line in lines if "each counts as an error" in line]
    assert unknown == (
        "mine: no training transcript has 'e' in 1 utterance, 'j' in 1 utterance, 'l' in 1 "
        "utterance: each counts as an error"
    )


def test_a_rare_letter_costs_its_training_utterance_alone(folder):
    manifest, _ = read(folder, rare_letters=2)
    reasons = {refusal.utterance: refusal.reason for refusal in manifest.refusals}
    assert reasons.keys() == {"train/0", "train/1", "train/3", "train/7"}  # d; ' t s; y; f é
    assert "fewer than 2 training utterances have 'f', 'é'" in reasons["train/7"]
    assert {u.transcript for u in manifest.utterances if u.split != "train"} == {"jilet", "ışık"}


def test_a_letter_is_mapped_by_a_rule_of_the_corpus_file(folder):
    manifest, notes = read(folder, replace={"é": "e"})
    assert "kafe" in {u.transcript for u in manifest.utterances}
    assert "é became e in 1" in notes
