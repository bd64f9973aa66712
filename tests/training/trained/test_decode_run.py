"""A finished run decoded again: the network of training, files that appear, refusals."""

import csv
import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch

from pipeline.config.decoding import DecodingSettings
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.decoding.words.lattices import best_sequences
from pipeline.decoding.words.ngram import estimate, format_arpa
from pipeline.decoding.words.text_decoder import TextDecoder
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError, write_json
from pipeline.runs import decodings
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.training.trained import decode_run as decode_run_module
from pipeline.training.trained.decode_run import decode_run
from pipeline.training.trained.decoded_run import DecodedRun, find_folder
from pipeline.training.trained.trained_run import TrainedRun
from tests.decoding.words.small_lattices import read_archive
from tests.training.letters import make_experiment

CPU = torch.device("cpu")


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def decoded(finished: RunFolder, letter_features: FeatureSet) -> DecodedRun:
    return decode_run(finished, letter_features, DecodingSettings(), device="cpu")


def test_the_log_probabilities_give_the_hypotheses_of_training(
    finished: RunFolder, letter_features: FeatureSet
):
    trained = TrainedRun.load(finished, letter_features, CPU)
    kept = {each.utterance_id: each.hypothesis for each in finished.hypotheses()}
    for name in ("dev", "test"):
        for utterance, logs_SC in trained.log_probabilities(trained.split(letter_features, name)):
            np.testing.assert_allclose(np.exp(logs_SC).sum(1), 1, atol=1e-5)
            path = logs_SC.argmax(1).tolist()
            labels = [b for a, b in zip([0, *path], path, strict=False) if b and a != b]
            assert trained.alphabet.decode(labels).strip() == kept[utterance.id].strip()


def test_every_text_is_made_of_words_of_training(decoded: DecodedRun, letter_features: FeatureSet):
    """50: no unknown words; so that the text can differ from the network's letters."""
    words = {u.transcript for u in letter_features.utterances if u.split == "train"}
    if decoded.weights.unknown == 50:
        for each in decoded.hypotheses:
            assert set(each.hypothesis.split()) <= words
    assert {each.split for each in decoded.hypotheses} == {"dev", "test"}


def test_the_folder_holds_hypotheses_trials_and_the_n_best_lists(
    decoded: DecodedRun, finished: RunFolder
):
    folder = decoded.folder.path
    assert folder.parent == finished.path / "decodings"
    rows = read_csv(folder / "hypotheses.csv")
    assert [row["hypothesis"] for row in rows] == [h.hypothesis for h in decoded.hypotheses]
    trials = read_csv(folder / "tuning.csv")
    assert len(trials) == decoded.trials
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    dev = decoded.score("dev")
    assert min(int(trial["errors"]) for trial in trials) == dev.words.errors
    assert result["dev_wer"] == dev.wer
    lines = [json.loads(line) for line in (folder / "n_best.jsonl").read_text().splitlines()]
    test = [each for each in decoded.hypotheses if each.split == "test"]
    assert [line["utterance"] for line in lines] == [each.utterance_id for each in test]
    assert all(0 <= word["confidence"] <= 1 for line in lines for word in line["words"])


def test_the_result_has_the_share_of_unknown_words_and_what_is_left_out(
    finished: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    texts = {split: [] for split in ("train", "dev", "test")}
    for utterance in letter_features.utterances:
        texts.get(utterance.split, []).append(utterance.transcript)
    first, second, *_ = sorted({word for text in texts["train"] for word in text.split()})
    spoken = [word for text in texts["test"] for word in text.split()]
    test_word = next(word for word in spoken if word not in texts["dev"])
    (tmp_path / "words.txt").write_text(f"{first}\n{second}\n{test_word}\nÖÖ\n", encoding="utf-8")
    (tmp_path / "lm.arpa").write_text(format_arpa(estimate([[first]], 2)))
    settings = DecodingSettings(
        words=str(tmp_path / "words.txt"),
        text=str(tmp_path / "lm.arpa"),
        n_best=3,
        ngram_weight=1,
        word_reward=0,
        unknown_penalty=5,
    )
    found = decode_run(finished, letter_features, settings, device="cpu")
    result = json.loads(found.folder.result_file.read_text("utf-8"))
    unknown = sum(word != first for word in spoken)  # the n-gram model has this one alone
    assert result["unknown_words"] == pytest.approx(unknown / len(spoken))
    assert (result["left_out"], result["not_in_model"]) == (["ÖÖ"], sorted({second, test_word}))
    assert (result["trials"], result["weights"]) == (1, {"model": 1, "word": 0, "unknown": 5})
    rows = read_csv(found.folder.path / "hypotheses.csv")
    for split in ("dev", "test"):
        mine = [row for row in rows if row["split"] == split]
        pairs = [[row[name] for row in mine] for name in ("reference", "hypothesis")]
        assert result[f"{split}_wer"] == pytest.approx(jiwer.wer(*pairs))
        assert result[f"{split}_cer"] == pytest.approx(jiwer.cer(*pairs))
    lines = (found.folder.path / "n_best.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len(texts["test"])
    for texts_of_one in (json.loads(line)["texts"] for line in lines):
        scores = [each["score"] for each in texts_of_one]
        assert 1 <= len(scores) <= 3
        assert scores == sorted(scores, reverse=True)


def test_lattices_are_stored_beside_the_same_decoding(
    finished: RunFolder, letter_features: FeatureSet, decoded: DecodedRun
):
    """They are made for a finished decoding, too, and go when it is made anew without them."""
    n_best = (decoded.folder.path / "n_best.jsonl").read_text("utf-8")
    assert decoded.lattices is None
    asked = DecodingSettings(lattices=True)
    found, again = (decode_run(finished, letter_features, asked, device="cpu") for _ in range(2))
    assert found.folder == decoded.folder
    assert found.lattices == again.lattices is not None
    assert again.seconds_per_utterance == found.seconds_per_utterance  # it was read
    assert (found.folder.path / "n_best.jsonl").read_text("utf-8") == n_best
    content = found.folder.lattice_file.read_bytes()
    stored = read_archive(gzip.decompress(content).decode())
    lines = (found.folder.path / "words.txt").read_text("utf-8").splitlines()
    names = dict(reversed(line.split()) for line in lines)
    tests = [each for each in found.hypotheses if each.split == "test"]
    records = [json.loads(line) for line in n_best.splitlines()]
    for hypothesis, record in zip(tests, records, strict=True):
        best = best_sequences(stored[hypothesis.utterance_id], 10)
        texts = [" ".join(names[str(number)] for number in each.words) for each in best]
        assert texts == [each["text"] for each in record["texts"]]
    size, oracle = found.lattices.bytes_per_utterance, found.lattices.oracle
    assert size == len(content) / len(tests)
    assert oracle.reference == sum(each.words for each in tests)
    assert oracle.errors <= sum(each.word_errors for each in tests)
    result = json.loads(found.folder.result_file.read_text("utf-8"))
    assert result["lattices"]["oracle"]["errors"] == oracle.errors
    found.folder.result_file.unlink()
    without = decode_run(finished, letter_features, DecodingSettings(), device="cpu")
    assert without.lattices is None
    assert not found.folder.lattice_file.exists()
    assert not (found.folder.path / "words.txt").exists()


@pytest.mark.parametrize("words", ["train", "any"])
def test_test_has_no_part_in_words_n_gram_or_weights(
    finished: RunFolder, letter_features: FeatureSet, words: str
):
    """The lexicon and the n-gram are of the training split; the weights are chosen on dev."""
    texts: dict[str, list[str]] = {}
    for utterance in letter_features.utterances:
        texts.setdefault(utterance.split, []).append(utterance.transcript)
    assert set(texts["test"]) - set(texts["train"])
    settings = DecodingSettings(words=words, ngram=1, ngram_weight=1, word_reward=0, beam=9)
    found = decode_run(finished, letter_features, settings, device="cpu")
    language = found.folder.language()
    normal = [TextNormaliser(finished.experiment().corpus)(text) for text in texts["train"]]
    if words == "train":
        assert set(language["words"]) == set(texts["train"])
        counted = len(texts["dev"])
        expected = estimate([text.split() for text in normal], 1)
    else:
        counted = sum(map(len, texts["dev"]))
        expected = estimate([list(text) for text in normal], 1)
    assert language["arpa"] == format_arpa(expected)
    trials = read_csv(found.folder.path / "tuning.csv")
    assert {int(trial["reference"]) for trial in trials} == {counted}


def test_the_decoding_of_a_run_that_was_trained_again_is_made_anew(
    finished: RunFolder, letter_features: FeatureSet, decoded: DecodedRun
):
    file = decoded.folder.result_file
    whole = file.read_text(encoding="utf-8")
    other = {**json.loads(whole), "run": "of the network before", "trials": 77}
    file.write_text(json.dumps(other), encoding="utf-8")
    again = decode_run(finished, letter_features, DecodingSettings(), device="cpu")
    assert (again.trials, again.folder) == (decoded.trials, decoded.folder)
    assert DecodingFolder.newest(finished) == decoded.folder


@pytest.mark.parametrize("place", ["trial", "test", "files"])
def test_an_interrupted_decoding_keeps_its_trials_and_ends_as_an_uninterrupted_one(
    finished: RunFolder,
    letter_features: FeatureSet,
    decoded: DecodedRun,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
):
    settings = DecodingSettings()
    decoded = decode_run(finished, letter_features, settings, device="cpu")
    folder = decoded.folder.path
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    shutil.rmtree(folder)
    count_errors, trials = decode_run_module._count_errors, []

    def count(decoder, dev, scoring):
        if place == "trial" and len(trials) == 20:
            raise KeyboardInterrupt
        trials.append(None)
        return count_errors(decoder, dev, scoring)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(decode_run_module, "_count_errors", count)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if place == "test":
            patch.setattr(TextDecoder, "decode_fully", stop)
        if place == "files":  # after settings and hypotheses
            patch.setattr(decodings, "_csv_text", stop)
        decode_run(finished, letter_features, settings, device="cpu")
    assert DecodingFolder.newest(finished) != decoded.folder
    place, said = "done", []
    found = decode_run(finished, letter_features, settings, device="cpu", progress=said.append)
    assert len(trials) == decoded.trials
    assert found == replace(decoded, seconds_per_utterance=found.seconds_per_utterance)
    again = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert again.keys() == whole.keys()
    assert {name for name in whole if whole[name] != again[name]} <= {"result.json"}  # its seconds
    assert any(re.fullmatch(r"0 of \d+ test utterances", line) for line in said)


WEIGHTS = {"model": 1, "word": 0, "unknown": 5}


@pytest.mark.parametrize("record", [{"other": 1}, 5, {**WEIGHTS, "errors": "x", "reference": 1}])
def test_a_damaged_trial_of_an_interrupted_decoding_is_made_again(
    finished: RunFolder, letter_features: FeatureSet, record: object
):
    settings = DecodingSettings(ngram_weight=1, word_reward=0, unknown_penalty=5, beam=7)
    folder, heartbeat = find_folder(finished, settings), finished.heartbeat()
    assert heartbeat
    write_json(folder.trials_file, {"run": heartbeat.digest, "trials": [record]})
    found = decode_run(finished, letter_features, settings, device="cpu")
    assert found.trials == 1
    shutil.rmtree(folder.path)


def test_another_list_of_words_is_another_folder(
    finished: RunFolder, letter_features: FeatureSet, tmp_path: Path
):
    file, folders = tmp_path / "words.txt", set()
    settings = DecodingSettings(
        words=str(file), ngram=0, ngram_weight=0, word_reward=0, unknown_penalty=5
    )
    for content in ("A\n", "A\nB\n"):
        file.write_text(content)
        folders.add(decode_run(finished, letter_features, settings, device="cpu").folder.path)
    assert len(folders) == 2
    file.write_text("A\n")  # it is there, and read
    again = decode_run(finished, letter_features, settings, device="cpu")
    assert again.folder.path in folders
    assert DecodingFolder.newest(finished) == again.folder


def test_decoding_changes_nothing_of_the_run(finished: RunFolder, decoded: DecodedRun):
    assert finished.finished
    assert decoded.folder.result_file.exists()


def test_another_text_is_another_folder(
    finished: RunFolder, letter_features: FeatureSet, decoded: DecodedRun, tmp_path: Path
):
    text = tmp_path / "text.txt"
    folders = set()
    first, *_, last = [u.transcript for u in letter_features.utterances if u.split == "train"]
    for content in (f"{first}\n", f"{first}\n{last}\n"):
        text.write_text(content)
        settings = DecodingSettings(
            text=str(text), ngram_weight=1, word_reward=0, unknown_penalty=5
        )
        folders.add(decode_run(finished, letter_features, settings, device="cpu").folder.path)
    assert len(folders | {decoded.folder.path}) == 3


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path, letter_features: FeatureSet):
    run = RunFolder(tmp_path / "run")
    run.write_experiment(make_experiment())
    with pytest.raises(InputError, match="until it is finished"):
        decode_run(run, letter_features, DecodingSettings(), device="cpu")
