"""Transcripts and hypotheses of a finished run in time, judged by torchaudio; a command goes on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pipeline.corpus.text.alphabet import Alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.trained.alignments import AlignedUtterance, AlignmentFolder, read_ranked
from pipeline.training.network.model import Network
from pipeline.training.trained.align_run import align_recording, align_run
from pipeline.training.trained.trained_run import TrainedRun
from tests.training.letters import make_experiment
from tests.training.trained.test_transcription import LoudnessRecogniser


@pytest.fixture(scope="module")
def aligned(finished: RunFolder, letter_features: FeatureSet) -> list[AlignedUtterance]:
    return align_run(finished, letter_features, ["test"])["test"]


def test_torchaudio_places_the_letters_at_the_same_times(
    aligned: list[AlignedUtterance], finished: RunFolder, letter_features: FeatureSet
):
    functional = pytest.importorskip("torchaudio.functional", reason="torchaudio needs its torch")
    trained = TrainedRun.load(finished, letter_features, torch.device("cpu"))
    split = trained.split(letter_features, "test")
    pairs = zip(aligned, trained.log_probabilities(split), split.labels, strict=True)
    compared = 0
    for found, (utterance, logs_SC), labels in pairs:
        assert found.utterance_id == utterance.id
        assert "".join(each.text for each in found.letters) == utterance.transcript
        path, scores = functional.forced_align(
            torch.from_numpy(logs_SC)[None], torch.tensor([labels]), blank=0
        )
        assert found.score == pytest.approx(float(scores.sum()), abs=1e-3)
        spans = functional.merge_tokens(path[0], scores[0])
        begins = [min(span.start * trained.step_seconds, found.seconds) for span in spans]
        np.testing.assert_allclose([each.begin for each in found.letters], begins)
        compared += 1
    assert compared == len(aligned) >= 4


def test_words_lie_around_their_letters_and_scores_are_probabilities(
    aligned: list[AlignedUtterance],
):
    for found in aligned:
        assert [word.text for word in found.words] == found.text.split()
        pieces = [*found.words, *found.letters]
        assert all(0 <= each.begin < each.end <= found.seconds + 1e-9 for each in pieces)
        assert all(0 <= each.score <= 1 for each in pieces)
        assert found.words[0].begin == found.letters[0].begin


class BurstRecogniser(LoudnessRecogniser):
    """Reads a letter in each loud step."""

    def log_probabilities(self, frames_TF: np.ndarray) -> np.ndarray:
        loud = np.where(frames_TF[:, 0] > 0.1, 0.99, 0.01)
        return np.log(np.stack([1 - loud, loud], 1)).astype(np.float32)


def test_times_of_a_long_recording_do_not_drift(tmp_path: Path):
    """Its windows do not end with an output step: a step that is too long for each would add up."""
    experiment = make_experiment()
    network = Network(experiment.model, experiment.features.bins, 1, 2)  # is not used
    recogniser = BurstRecogniser(experiment, Alphabet("letters", ("A",)), network, None)
    rate = experiment.features.sample_rate
    bursts = np.arange(1.0, 299.0, 2.7)
    sound = np.full(300 * rate, 2e-3, np.float32)
    for burst in bursts:
        sound[int(burst * rate) : int((burst + 0.5) * rate)] = 0.5
    soundfile.write(tmp_path / "x.wav", sound, rate, subtype="FLOAT")
    found = align_recording(recogniser, tmp_path / "x.wav", "A" * len(bursts))
    step = recogniser.step_seconds
    assert [each.begin for each in found.letters] == pytest.approx(list(bursts), abs=step)
    ends = [each.end for each in found.letters]
    assert ends == pytest.approx(list(bursts + 0.5), abs=2 * step)


def test_a_killed_command_goes_on_where_it_was(
    aligned: list[AlignedUtterance], finished: RunFolder, letter_features: FeatureSet
):
    file = AlignmentFolder.of(finished, "transcripts").path / "test.jsonl"
    whole = file.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:20], encoding="utf-8")  # killed in a line
    calls: list[int] = []
    again = align_run(
        finished, letter_features, ["test"], report=lambda _, done, __: calls.append(done)
    )
    assert calls[0] == 2
    assert calls[-1] == len(aligned)
    assert [each.text for each in again["test"]] == [each.text for each in aligned]
    assert file.read_text(encoding="utf-8") == whole


def test_a_run_that_was_trained_again_is_aligned_again(
    aligned: list[AlignedUtterance], finished: RunFolder
):
    folder = AlignmentFolder.of(finished, "transcripts")
    assert len(folder.read("test")) == len(aligned)
    assert AlignmentFolder(folder.path, "another").read("test") == []


def test_hypotheses_are_aligned_where_the_run_has_them(
    finished: RunFolder, letter_features: FeatureSet
):
    found = align_run(finished, letter_features, ["dev", "test"], "hypotheses")
    kept = {each.utterance_id: each.hypothesis for each in finished.hypotheses()}
    for split in ("dev", "test"):
        assert {each.utterance_id: each.text for each in found[split]}.items() <= kept.items()
    with pytest.raises(InputError, match=r"SPLIT=train: .* no hypotheses"):
        align_run(finished, letter_features, ["train"], "hypotheses")


def test_a_damaged_table_is_named(finished: RunFolder):
    assert read_ranked(finished) == []
    file = AlignmentFolder.of(finished, "transcripts").table_file
    file.write_text("utterance_id\nx\n")
    with pytest.raises(InputError, match="damaged; run make align"):
        read_ranked(finished)
