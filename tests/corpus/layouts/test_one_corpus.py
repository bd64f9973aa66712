"""One real corpus in eleven layouts gives the same utterances, hours and frames."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pympi
import pysubs2
import pytest
import soundfile
from praatio import textgrid
from praatio.data_classes.interval_tier import IntervalTier

from pipeline.config.corpus import Corpus
from pipeline.config.features import FeatureSettings
from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.corpus.readers import build_manifest
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import load_target, precompute_slice, prepare_feature_set
from tests.corpus.layouts.conftest import write_lines

pytestmark = pytest.mark.an4

NUMBER = 120  # utterances, every ninth of AN4
FEATURES = FeatureSettings(storage="float32")


@pytest.fixture(scope="module")
def original(an4: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    corpus = Corpus(name="an4", reader="an4", root=str(an4), split="espnet")
    return build_manifest(corpus, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def chosen(original: Manifest) -> list[Utterance]:
    return list(original.utterances[::9])[:NUMBER]


def link_wavs(original: Manifest, utterances: list[Utterance], folder: Path) -> None:
    for each in utterances:
        path = folder / f"{each.id}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(original.root / each.audio)


def as_kaldi(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    for split in ("train", "dev", "test"):
        part = [each for each in utterances if each.split == split]
        folder = root / split
        write_lines(folder / "wav.scp", *(f"{u.id} {original.root / u.audio}" for u in part))
        write_lines(folder / "text", *(f"{u.id} {u.transcript}" for u in part))
        write_lines(folder / "utt2spk", *(f"{u.id} {u.speaker}" for u in part))


def as_nemo(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    for split in ("train", "dev", "test"):
        rows = [
            {"audio_filepath": str(original.root / u.audio), "text": u.transcript, "utt_id": u.id,
             "speaker": u.speaker, "duration": round(u.seconds, 3)}
            for u in utterances
            if u.split == split
        ]  # fmt: skip
        write_lines(root / f"{split}.json", *map(json.dumps, rows))


def as_lhotse(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    for split in ("train", "dev", "test"):
        part = [each for each in utterances if each.split == split]
        recordings = [
            {"id": u.id, "sampling_rate": u.rate, "num_samples": u.samples, "duration": u.seconds,
             "sources": [{"type": "file", "channels": [0], "source": str(original.root / u.audio)}]}
            for u in part
        ]  # fmt: skip
        supervisions = [
            {"id": u.id, "recording_id": u.id, "start": 0.0, "duration": u.seconds, "channel": 0,
             "text": u.transcript, "speaker": u.speaker}
            for u in part
        ]  # fmt: skip
        write_lines(root / f"recordings_{split}.jsonl", *map(json.dumps, recordings))
        write_lines(root / f"supervisions_{split}.jsonl", *map(json.dumps, supervisions))


def as_csv(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    link_wavs(original, utterances, root / "wavs")
    rows = (f"wavs/{u.id}.wav;{u.transcript};{u.speaker};{u.split}" for u in utterances)
    write_lines(root / "all.csv", "audio;text;speaker;split", *rows)


def as_audiofolder(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    for split in ("train", "dev", "test"):
        part = [each for each in utterances if each.split == split]
        link_wavs(original, part, root / split)
        rows = (f"{u.id}.wav,{u.transcript},{u.speaker}" for u in part)
        write_lines(root / split / "metadata.csv", "file_name,transcription,speaker_id", *rows)


def as_pairs(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    for each in utterances:
        link_wavs(original, [each], root / each.split)
        write_lines(root / each.split / f"{each.id}.txt", each.transcript.lower())


def as_librispeech(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    """In flac, which holds the same samples."""
    for each in utterances:
        folder = root / f"{each.split}-an4" / each.speaker / "1"
        folder.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(original.root / each.audio, dtype="int16")
        soundfile.write(folder / f"{each.id}.flac", samples, rate)
        with (folder / f"{each.speaker}-1.trans.txt").open("a") as file:
            file.write(f"{each.id} {each.transcript}\n")


def as_voxforge(original: Manifest, utterances: list[Utterance], root: Path) -> None:
    for each in utterances:
        session = root / each.split / f"{each.speaker}-20080318-kdl"
        link_wavs(original, [each], session / "wav")
        (session / "etc").mkdir(exist_ok=True)
        with (session / "etc" / "PROMPTS").open("a") as file:
            file.write(f"{each.speaker}-20080318-kdl/mfc/{each.id} {each.transcript}\n")


LAYOUTS: dict[str, Callable[[Manifest, list[Utterance], Path], None]] = {
    "audiofolder": as_audiofolder,
    "csv": as_csv,
    "kaldi": as_kaldi,
    "lhotse": as_lhotse,
    "librispeech": as_librispeech,
    "nemo": as_nemo,
    "pairs": as_pairs,
    "voxforge": as_voxforge,
}


def frames_by_name(manifest: Manifest, work: Path) -> dict[str, np.ndarray]:
    """Return the frames of each utterance by the last part of its id."""
    return {name.rsplit("/", 1)[-1]: rows for name, rows in frames_by_id(manifest, work).items()}


def frames_by_id(manifest: Manifest, work: Path) -> dict[str, np.ndarray]:
    name, folder = prepare_feature_set(manifest, FEATURES, work)
    for index in range(len(manifest.slices)):
        assert precompute_slice(manifest, index, [load_target(work, name)]) == []
    features = FeatureSet.open(folder)
    return {u.id: np.array(features.frames(u)) for u in features.utterances}


@pytest.fixture(scope="module")
def expected_frames(original, chosen, tmp_path_factory) -> dict[str, np.ndarray]:
    part = Manifest("an4", original.root, tuple(chosen))
    return frames_by_name(part, tmp_path_factory.mktemp("expected"))


@pytest.mark.parametrize("reader", LAYOUTS)
def test_each_layout_gives_the_same_utterances_hours_and_frames(
    original, chosen, expected_frames, tmp_path, reader
):
    LAYOUTS[reader](original, chosen, tmp_path / "root")
    corpus = Corpus(name="an4", reader=reader, root=str(tmp_path / "root"), strict=True)
    manifest = build_manifest(corpus, tmp_path / "work")
    found = {
        (u.id.rsplit("/", 1)[-1], u.split, u.transcript, u.samples, u.rate)
        for u in manifest.utterances
    }
    assert found == {(u.id, u.split, u.transcript, u.samples, u.rate) for u in chosen}
    assert manifest.seconds == pytest.approx(sum(u.seconds for u in chosen))
    if reader != "pairs":  # which names no speakers
        assert {u.speaker for u in manifest.utterances} == {u.speaker for u in chosen}
    frames = frames_by_name(manifest, tmp_path / "work")
    assert frames.keys() == expected_frames.keys()
    assert all(np.array_equal(frames[name], expected_frames[name]) for name in frames)


SPLITS = ("train", "dev", "test")
Cuts = list[tuple[Utterance, int, int]]  # an utterance, its begin and end in milliseconds


def as_textgrid(cuts: Cuts, path: Path, seconds: float) -> None:
    grid = textgrid.Textgrid()
    intervals = [(begin / 1000, end / 1000, u.transcript) for u, begin, end in cuts]
    grid.addTier(IntervalTier("words", intervals, 0, seconds))
    grid.save(str(path.with_suffix(".TextGrid")), "long_textgrid", includeBlankSpaces=True)


def as_elan(cuts: Cuts, path: Path, seconds: float) -> None:
    eaf = pympi.Eaf(author="test")
    for utterance, begin, end in cuts:
        eaf.add_annotation("default", begin, end, utterance.transcript)
    eaf.to_file(str(path.with_suffix(".eaf")))


def as_subtitles(cuts: Cuts, path: Path, seconds: float) -> None:
    file = pysubs2.SSAFile()
    file.events += [pysubs2.SSAEvent(begin, end, text=u.transcript) for u, begin, end in cuts]
    file.save(str(path.with_suffix(".srt")))


ANNOTATIONS = {"elan": as_elan, "subtitles": as_subtitles, "textgrid": as_textgrid}


@pytest.fixture(scope="module")
def cut_frames(original, chosen, tmp_path_factory):
    """Return a folder with a long recording of each split, their cuts, and the frames of each cut.

    The frames are those of files that hold a cut alone: whole milliseconds, as subtitles have.
    """
    root = tmp_path_factory.mktemp("long")
    cuts: dict[str, Cuts] = {}
    rows = ["audio,text,split"]
    for split in SPLITS:
        sound, at, cuts[split] = [np.zeros(1600, np.int16)], 100, []
        for each in [u for u in chosen if u.split == split][::3]:
            samples, _ = soundfile.read(original.root / each.audio, dtype="int16")
            milliseconds = len(samples) // 16
            soundfile.write(root / f"{each.id}.wav", samples[: 16 * milliseconds], 16_000)
            rows.append(f"{each.id}.wav,{each.transcript},{split}")
            cuts[split].append((each, at, at + milliseconds))
            sound += [samples[: 16 * milliseconds], np.zeros(16 * 40, np.int16)]
            at += milliseconds + 40
        (root / "long" / split).mkdir(parents=True)
        soundfile.write(root / "long" / split / "a.wav", np.concatenate(sound), 16_000)
    write_lines(root / "all.csv", *rows)
    corpus = Corpus(name="cut", reader="csv", root=str(root), unlisted="ignore")
    frames = frames_by_name(build_manifest(corpus, root / "work"), root / "work")
    return root / "long", cuts, frames


@pytest.mark.parametrize("reader", ANNOTATIONS)
def test_intervals_of_a_long_recording_give_the_frames_of_single_files(
    cut_frames, tmp_path, reader
):
    root, cuts, expected = cut_frames
    for split in SPLITS:
        path = root / split / "a.wav"
        ANNOTATIONS[reader](cuts[split], path, soundfile.info(path).duration)
    corpus = Corpus(name="long", reader=reader, root=str(root), strict=True)
    manifest = build_manifest(corpus, tmp_path / "work")
    found = {(u.split, u.start, u.start + u.samples, u.transcript) for u in manifest.utterances}
    assert found == {
        (split, 16 * begin, 16 * end, u.transcript)
        for split in SPLITS
        for u, begin, end in cuts[split]
    }
    frames = frames_by_id(manifest, tmp_path / "work")
    for split in SPLITS:
        for utterance, begin, _ in cuts[split]:
            assert np.array_equal(frames[f"{split}/a-{begin:07d}"], expected[utterance.id]), (
                utterance.id
            )
