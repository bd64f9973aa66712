import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config.features import FeatureSettings
from pipeline.corpus import manifest as manifests
from pipeline.corpus.audio import audio_file, decode, resample
from pipeline.corpus.manifest import Manifest, Utterance
from pipeline.features import framing, precompute, shard_output
from pipeline.features.feature_set import FeatureSet, missing_shards, read_description
from pipeline.features.hdf5 import verify_file
from pipeline.features.native import kernels
from pipeline.features.precompute import (
    EngineError,
    FeatureSetTarget,
    StorageRangeError,
    load_target,
    precompute_slice,
    prepare_feature_set,
)
from pipeline.features.shards import Shard
from pipeline.features.statistics import RunningCovariance
from pipeline.files import InputError
from tests.corpus.audio.reading import load, probe
from tests.features.in_memory import compute_frames

MEL = FeatureSettings(mel_bins=20)
AMPLITUDE = FeatureSettings(spectrum="amplitude", storage="float32")
AMPLITUDE_16 = FeatureSettings(spectrum="amplitude", storage="float16")
POWER = FeatureSettings(spectrum="power", hop_ms=8.0)


MakeManifest = Callable[..., Manifest]


def target(manifest: Manifest, settings: FeatureSettings, work: Path) -> FeatureSetTarget:
    identity, folder = prepare_feature_set(manifest, settings, work)
    return settings, folder, identity


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


def test_every_stored_frame_is_that_of_its_utterance(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    sets = [target(manifest, settings, tmp_path / "work") for settings in (MEL, AMPLITUDE, POWER)]
    assert precompute_slice(manifest, 0, sets) == []
    for settings, folder, _ in sets:
        features = FeatureSet.open(folder)
        for stored_utterance, utterance in zip(
            features.utterances, manifest.utterances, strict=True
        ):
            waveform = load(manifest.root / utterance.audio, 16_000)
            (expected,) = compute_frames(waveform, [settings])
            frames = features.frames(stored_utterance)
            assert frames.dtype == settings.storage
            np.testing.assert_allclose(frames, expected, rtol=1e-3, atol=1e-3)
            for name in ("id", "transcript", "speaker", "split"):
                assert getattr(stored_utterance, name) == getattr(utterance, name)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the paths of the audio files that are opened."""
    paths: list[str] = []
    open_sound = decode.open_audio

    def noted(path: str) -> audio_file.AudioFile:
        paths.append(path)
        return open_sound(path)

    monkeypatch.setattr(decode, "open_audio", noted)
    return paths


def test_all_feature_sets_come_from_one_decoding(
    make_manifest: MakeManifest, tmp_path: Path, opened: list[str]
):
    manifest = make_manifest()
    every = (MEL, AMPLITUDE, POWER, MEL.model_copy(update={"sample_rate": 8_000}))
    sets = [target(manifest, settings, tmp_path / "work") for settings in every]
    precompute_slice(manifest, 0, sets)
    assert opened == [str(manifest.root / utterance.audio) for utterance in manifest.utterances]
    precompute_slice(manifest, 0, sets)
    assert len(opened) == len(manifest.utterances)


@pytest.mark.parametrize(
    ("name", "rate"), [("a.mp3", 16_000), ("a.ogg", 16_000), ("a.opus", 48_000), ("a.flac", 16_000)]
)
def test_a_recording_of_many_utterances_is_decoded_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    decoded_block_sizes: list[int],
    *,
    name: str,
    rate: int,
):
    """Some utterances overlap, and one crosses the edge of a block."""
    monkeypatch.setattr(audio_file, "BLOCK_SAMPLES", 8_000)
    noise = np.random.default_rng(3).standard_normal(60_000).cumsum() / 1_000
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(tmp_path / name, np.clip(noise, -0.9, 0.9), rate, **kind)
    starts = [0, 1_500, 6_000, 8_100, 30_000, 55_000]
    utterances = tuple(cut(name, rate, start) for start in starts)
    manifest = Manifest("cut", tmp_path, utterances)
    amplitude = target(manifest, AMPLITUDE, tmp_path / "work")
    assert precompute_slice(manifest, 0, [amplitude]) == []
    assert len(opened) == 1
    assert 0 < sum(decoded_block_sizes) <= 60_000
    features = FeatureSet.open(amplitude[1])
    for stored_utterance, start in zip(features.utterances, starts, strict=True):
        alone = load(tmp_path / name, 16_000, start, 3_000)
        (expected,) = compute_frames(alone, [AMPLITUDE])
        np.testing.assert_array_equal(features.frames(stored_utterance), expected)


def cut(name: str, rate: int, start: int) -> Utterance:
    return Utterance(
        id=f"u{start}", audio=name, samples=3_000, rate=rate, transcript="A", speaker="s",
        split="train", start=start,
    )  # fmt: skip


def test_a_stretch_before_the_last_one_is_decoded_from_the_start_again(tmp_path: Path):
    soundfile.write(tmp_path / "a.mp3", np.sin(np.arange(90_000) / 20) / 2, 16_000)
    whole = load(tmp_path / "a.mp3", 16_000)
    with (
        pytest.MonkeyPatch.context() as patch,
        resample.AudioReader() as reader,
    ):
        patch.setattr(audio_file, "BLOCK_SAMPLES", 2_000)
        piecewise = load(tmp_path / "a.mp3", 16_000)
        for start in (50_000, 500, 80_000, 0):
            blocks = reader.blocks(str(tmp_path / "a.mp3"), start, 5_000, None)
            stretch = np.concatenate([block for _, block in blocks])
            np.testing.assert_array_equal(stretch, piecewise[start : start + 5_000])
    np.testing.assert_allclose(piecewise, whole, atol=1e-5)


ALIKE = [  # rows of some are a multiple of the rows of others
    FeatureSettings(spectrum=kind, scale=scale, floor=floor, storage=storage, speeds=speeds)
    for kind in ("amplitude", "power")
    for scale, floor, storage, speeds in (
        ("log", 1e-10, "float16", ()),
        ("log", 1e-10, "uint8", ()),
        ("log", 1.0, "float16", ()),
        ("log", 1e-10, "float16", (0.9,)),
        ("decibel", 1e-10, "float32", ()),
        ("log1p", 1e-10, "float32", ()),
        ("none", 1e-10, "float32", ()),
    )
]


def test_log_scales_that_are_multiples_share_one_accumulator(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[RunningCovariance] = []
    add = RunningCovariance.add
    monkeypatch.setattr(
        RunningCovariance, "add", lambda self, rows: (made.append(self), add(self, rows))
    )
    manifest = make_manifest()
    every = [s for s in ALIKE if s.is_log_scale and s.floor < 1 and not s.speeds]
    precompute_slice(manifest, 0, [target(manifest, each, tmp_path / "one") for each in every])
    assert len(every) == 6
    assert len(set(map(id, made))) == 2  # natural and decibel


@pytest.mark.parametrize("every", [(MEL, *ALIKE), (*reversed(ALIKE), MEL)], ids=["", "reversed"])
def test_one_pass_gives_the_bytes_of_separate_passes(
    make_manifest: MakeManifest, tmp_path: Path, every: Sequence[FeatureSettings]
):
    manifest = make_manifest()
    together = [target(manifest, settings, tmp_path / "one") for settings in every]
    precompute_slice(manifest, 0, together)
    for settings, folder, _ in together:
        alone = target(manifest, settings, tmp_path / "two")
        precompute_slice(manifest, 0, [alone])
        assert shard_bytes(folder) == shard_bytes(alone[1])


def test_a_shard_that_is_there_is_not_written_again(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    mel = target(manifest, MEL, tmp_path / "work")
    precompute_slice(manifest, 0, [mel])
    (shard,) = mel[1].glob("*.h5")
    before = shard.stat()
    amplitude = target(manifest, AMPLITUDE, tmp_path / "work")
    precompute_slice(manifest, 0, [mel, amplitude])
    assert (shard.stat().st_mtime_ns, shard.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert missing_shards(amplitude[1], 1) == []


def test_a_damaged_shard_is_written_anew(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    mel = target(manifest, MEL, tmp_path / "work")
    precompute_slice(manifest, 0, [mel])
    (shard,) = mel[1].glob("*.h5")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    precompute_slice(manifest, 0, [mel])
    assert shard.read_bytes() == whole


@pytest.fixture
def four_slices(make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr(manifests, "SLICE_SECONDS", 1.7)
    manifest = make_manifest(count=9)
    assert len(manifest.slices) == 4
    return manifest


@pytest.fixture
def without_kernel() -> Callable:
    """A context manager: inside it the native kernel is not available."""
    if not kernels.load_library():
        pytest.skip(kernels.build_library())

    @contextmanager
    def block() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "load_library", lambda: None)
            yield

    return block


def test_the_engines_differ_in_bytes_under_one_feature_id(
    make_manifest: MakeManifest, tmp_path: Path, without_kernel: Callable
):
    """Otherwise a feature set would not need to know its engine."""
    manifest = make_manifest()
    native = target(manifest, AMPLITUDE, tmp_path / "native")
    precompute_slice(manifest, 0, [native])
    with without_kernel():
        numpy = target(manifest, AMPLITUDE, tmp_path / "numpy")
        precompute_slice(manifest, 0, [numpy])
    one, two = (FeatureSet.open(each[1]) for each in (native, numpy))
    assert (one.engine, two.engine) == ("native", "numpy")
    assert one.feature_id == two.feature_id
    assert (one.shards[0].frames != two.shards[0].frames).any()
    np.testing.assert_allclose(one.shards[0].frames, two.shards[0].frames, atol=0.01)


def test_a_set_begun_with_numpy_is_completed_with_numpy_beside_a_native_one(
    four_slices: Manifest, tmp_path: Path, without_kernel: Callable
):
    with without_kernel():
        whole = target(four_slices, AMPLITUDE, tmp_path / "whole")
        for index in range(4):
            precompute_slice(four_slices, index, [whole])
        begun = target(four_slices, AMPLITUDE, tmp_path / "begun")
        precompute_slice(four_slices, 1, [begun])
    assert target(four_slices, AMPLITUDE, tmp_path / "begun") == begun
    # The same transform, in one pass: the two must not share it.
    other = target(four_slices, AMPLITUDE_16, tmp_path / "begun")
    for index in range(4):
        precompute_slice(four_slices, index, [begun, other])
    assert FeatureSet.open(begun[1]).engine == "numpy"
    assert shard_bytes(begun[1]) == shard_bytes(whole[1])
    alone = target(four_slices, AMPLITUDE_16, tmp_path / "alone")
    for index in range(4):
        precompute_slice(four_slices, index, [alone])
    assert FeatureSet.open(other[1]).engine == "native"
    assert shard_bytes(other[1]) == shard_bytes(alone[1])


@pytest.mark.parametrize("described", [True, False])
def test_a_set_begun_with_the_native_kernel_waits_for_it_and_no_other_set_does(
    four_slices: Manifest, tmp_path: Path, without_kernel: Callable, *, described: bool
):
    begun = target(four_slices, AMPLITUDE, tmp_path / "work")
    precompute_slice(four_slices, 2, [begun])
    if not described:
        (begun[1] / "feature_set.yaml").unlink()
    with without_kernel():
        assert target(four_slices, AMPLITUDE, tmp_path / "work") == begun
        other = target(four_slices, POWER, tmp_path / "work")
        with pytest.raises(EngineError) as error:
            precompute_slice(four_slices, 0, [begun, other])
        precompute_slice(four_slices, 2, [begun])  # nothing is missing here
    assert str(error.value) == (
        f"{begun[1]}: was begun with the native kernel, and {kernels.library_path()} is missing "
        "or does not run on this CPU; run make setup with a C compiler, or delete the feature set"
    )
    assert error.value.feature_ids == (begun[2],)
    assert missing_shards(begun[1], 4) == [0, 1, 3]
    assert missing_shards(other[1], 4) == [1, 2, 3]
    precompute_slice(four_slices, 0, [begun])
    assert missing_shards(begun[1], 4) == [1, 3]


def test_a_set_without_shards_gets_the_engine_that_is_available(
    make_manifest: MakeManifest, tmp_path: Path, without_kernel: Callable
):
    manifest = make_manifest()
    amplitude = target(manifest, AMPLITUDE, tmp_path)
    assert read_description(amplitude[1]).engine == "native"
    with without_kernel():
        assert target(manifest, AMPLITUDE, tmp_path) == amplitude
        assert read_description(amplitude[1]).engine == "numpy"
        precompute_slice(manifest, 0, [amplitude])
    assert FeatureSet.open(amplitude[1]).engine == "numpy"


def test_the_description_of_an_earlier_version_stays_and_the_shards_tell_the_engine(
    four_slices: Manifest, tmp_path: Path, without_kernel: Callable
):
    with without_kernel():
        begun = target(four_slices, AMPLITUDE, tmp_path)
        precompute_slice(four_slices, 3, [begun])
    description = begun[1] / "feature_set.yaml"
    earlier = description.read_text().replace("engine: numpy\n", "")
    description.write_text(earlier)
    target(four_slices, AMPLITUDE, tmp_path)
    assert description.read_text() == earlier
    precompute_slice(four_slices, 0, [begun])
    assert Shard.open(begun[1] / "shard-00000-of-00004.h5").engine == "numpy"


def test_slices_together_hold_the_manifest_in_order(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(manifests, "SLICE_SECONDS", 1.0)
    manifest = make_manifest(count=10)
    mel = target(manifest, MEL, tmp_path / "work")
    count = len(manifest.slices)
    assert count > 3
    for index in reversed(range(count)):
        assert index in missing_shards(mel[1], count)
        precompute_slice(manifest, index, [mel])
    ids = [utterance.id for utterance in FeatureSet.open(mel[1]).utterances]
    assert ids == [utterance.id for utterance in manifest.utterances]


def test_an_utterance_that_cannot_be_decoded_is_left_out_and_recorded(
    make_manifest: MakeManifest, tmp_path: Path
):
    manifest = make_manifest()
    for number in (1, 4):
        path = manifest.root / f"audio/{number}.wav"
        path.write_bytes(path.read_bytes()[:3000])
    sets = [target(manifest, settings, tmp_path / "work") for settings in (MEL, AMPLITUDE)]
    reports: list[tuple[int, float]] = []
    refusals = precompute_slice(manifest, 0, sets, lambda *done: reports.append(done))
    assert [refusal.utterance for refusal in refusals] == ["speaker-01", "speaker-04"]
    assert "1.wav: is cut short" in refusals[0].reason
    assert reports[-1] == (6, pytest.approx(manifest.seconds))
    for _, folder, _ in sets:
        features = FeatureSet.open(folder)
        assert [u.id[-1] for u in features.utterances] == ["0", "2", "3", "5"]
        assert features.shards[0].refusals == tuple(refusals)
    assert precompute_slice(manifest, 0, sets) == refusals  # remembered by the shards


def test_a_slice_without_one_good_utterance_gives_an_empty_shard(
    make_manifest: MakeManifest, tmp_path: Path
):
    manifest = make_manifest(count=2)
    for utterance in manifest.utterances:
        (manifest.root / utterance.audio).write_bytes(b"RIFF")
    mel = target(manifest, MEL, tmp_path / "work")
    assert len(precompute_slice(manifest, 0, [mel])) == 2
    assert FeatureSet.open(mel[1]).utterances == ()


def test_segments_of_one_recording_are_cut_out_of_it(
    make_manifest: MakeManifest, write_wav: Callable[..., None], tmp_path: Path
):
    whole = np.random.default_rng(0).uniform(-0.5, 0.5, 50_000)
    manifest = make_manifest(count=3)
    write_wav(manifest.root / "long.wav", whole)
    starts, samples = (20_000, 0, 49_000), (9_000, 20_000, 1_000)
    segments = tuple(
        replace(utterance, audio="long.wav", start=start, samples=count)
        for utterance, start, count in zip(manifest.utterances, starts, samples, strict=True)
    )
    manifest = replace(manifest, utterances=segments)
    amplitude = target(manifest, AMPLITUDE, tmp_path / "work")
    assert precompute_slice(manifest, 0, [amplitude]) == []
    features, waveform = (
        FeatureSet.open(amplitude[1]),
        load(manifest.root / "long.wav", 16_000),
    )
    for stored_utterance, start, count in zip(features.utterances, starts, samples, strict=True):
        (expected,) = compute_frames(waveform[start : start + count], [AMPLITUDE])
        np.testing.assert_array_equal(features.frames(stored_utterance), expected)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_a_recording_in_blocks_gives_the_bytes_of_the_whole(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
):
    manifest = make_manifest(rate=rate)
    sets = [MEL, AMPLITUDE, MEL.model_copy(update={"storage": "uint8"})]
    for folder, samples in (("whole", audio_file.BLOCK_SAMPLES), ("blocks", 1777)):
        monkeypatch.setattr(audio_file, "BLOCK_SAMPLES", samples)
        targets = [target(manifest, settings, tmp_path / folder) for settings in sets]
        precompute_slice(manifest, 0, targets)
    whole, blocks = (sorted((tmp_path / name).rglob("*.h5")) for name in ("whole", "blocks"))
    assert len(whole) == 3
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in blocks]


def test_a_file_that_was_cut_since_the_manifest_is_refused_by_itself(
    make_manifest: MakeManifest, write_wav: Callable[..., None], tmp_path: Path
):
    manifest = make_manifest()
    write_wav(manifest.root / "audio/2.wav", np.full(2_000, 0.1))
    mel = target(manifest, MEL, tmp_path / "work")
    (refusal,) = precompute_slice(manifest, 0, [mel])
    assert refusal.utterance == "speaker-02"
    assert "2.wav: has 2000 samples" in refusal.reason
    assert len(FeatureSet.open(mel[1]).utterances) == 5


def test_another_rate_is_resampled(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest(rate=11_025)
    sets = [
        target(manifest, MEL, tmp_path / "work"),
        target(manifest, FeatureSettings(sample_rate=8000, mel_bins=20), tmp_path / "work"),
    ]
    assert precompute_slice(manifest, 0, sets) == []
    for settings, folder, _ in sets:
        for stored_utterance, utterance in zip(
            FeatureSet.open(folder).utterances, manifest.utterances, strict=True
        ):
            seconds = stored_utterance.frames * settings.hop_length / settings.sample_rate
            assert seconds == pytest.approx(utterance.seconds, abs=0.011)


LOUD = FeatureSettings(spectrum="power", scale="none", n_fft=4096, window_ms=200)
FAINT = FeatureSettings(spectrum="power", scale="none", window="blackman")


@pytest.mark.parametrize(
    ("settings", "message"),
    [(LOUD, "float16 holds at most 65504"), (FAINT, "values would become 0")],
)
def test_settings_that_storage_cannot_hold_leave_no_shard_and_harm_no_other_set(
    make_manifest: MakeManifest, write_wav: Callable[..., None], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, *, settings: FeatureSettings, message: str,
):  # fmt: skip
    monkeypatch.setattr(framing, "BUFFER_ROWS", 50)  # LOUD is refused long before the last row
    manifest = make_manifest()
    if settings is FAINT:
        for utterance in manifest.utterances:
            write_wav(manifest.root / utterance.audio, np.full(utterance.samples, 1e-4))
    refused = target(manifest, settings, tmp_path / "work")
    with pytest.raises(StorageRangeError, match=message) as error:
        precompute_slice(manifest, 0, [refused])
    assert error.value.feature_ids == (refused[2],)
    others = [target(manifest, each, tmp_path / "work") for each in (MEL, AMPLITUDE)]
    with pytest.raises(StorageRangeError, match=message):
        precompute_slice(manifest, 0, [others[0], refused, others[1]])
    assert [path.name for path in refused[1].iterdir()] == ["feature_set.yaml"]
    for each, folder, _ in others:
        alone = target(manifest, each, tmp_path / "alone")
        precompute_slice(manifest, 0, [alone])
        assert shard_bytes(folder) == shard_bytes(alone[1]) != {}


def test_a_sample_far_beyond_any_sound_is_of_a_corrupt_file(
    make_manifest: MakeManifest, tmp_path: Path
):
    """As after a flipped bit of an exponent; the power would not fit in float32."""
    manifest = make_manifest()
    corrupt = np.zeros(manifest.utterances[2].samples, np.float32)
    corrupt[700] = 3e30
    soundfile.write(manifest.root / "audio/2.wav", corrupt, 16_000, subtype="FLOAT")
    mel = target(manifest, MEL, tmp_path / "work")
    (refusal,) = precompute_slice(manifest, 0, [mel])
    assert refusal.utterance == "speaker-02"
    assert "a sample of 3e+30 times" in refusal.reason
    assert len(FeatureSet.open(mel[1]).utterances) == 5


def test_a_file_whose_rate_is_not_that_of_the_manifest_is_refused(
    make_manifest: MakeManifest, write_wav: Callable[..., None], tmp_path: Path
):
    manifest = make_manifest()
    write_wav(manifest.root / "audio/2.wav", np.full(manifest.utterances[2].samples, 0.1), 8_000)
    (refusal,) = precompute_slice(manifest, 0, [target(manifest, MEL, tmp_path / "work")])
    assert "2.wav: is at 8000 Hz now, and the manifest says 16000 Hz" in refusal.reason


def test_more_bins_than_a_covariance_can_have_are_refused(
    make_manifest: MakeManifest, tmp_path: Path
):
    with pytest.raises(InputError, match="lower n_fft to 8192"):
        prepare_feature_set(
            make_manifest(), FeatureSettings(spectrum="power", n_fft=16_384), tmp_path
        )


def test_prepare_twice_is_once(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    settings, folder, identity = target(manifest, MEL, tmp_path / "work")
    written = (folder / "feature_set.yaml").stat().st_mtime_ns
    assert prepare_feature_set(manifest, MEL, tmp_path / "work") == (identity, folder)
    assert (folder / "feature_set.yaml").stat().st_mtime_ns == written
    assert load_target(tmp_path / "work", identity) == (settings, folder, identity)


def test_a_damaged_description_is_written_anew(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    _, folder, _ = target(manifest, MEL, tmp_path / "work")
    whole = (folder / "feature_set.yaml").read_bytes()
    for damaged in (b"x: [", whole.replace(b"shards: 1", b"shards: 2")):
        assert damaged != whole
        (folder / "feature_set.yaml").write_bytes(damaged)
        prepare_feature_set(manifest, MEL, tmp_path / "work")
        assert (folder / "feature_set.yaml").read_bytes() == whole


def test_flipped_bits_among_the_frames_are_named(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    made = target(manifest, MEL, tmp_path / "work")
    precompute_slice(manifest, 0, [made])
    features = FeatureSet.open(made[1])
    features.verify()
    shard = features.shards[0]
    assert shard.offset is not None
    with shard.path.open("rb+") as file:
        file.seek(shard.offset + 100)
        byte = file.read(1)[0]
        file.seek(shard.offset + 100)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(InputError, match="the bytes of frames do not match their checksum"):
        FeatureSet.open(made[1]).verify()


def _precompute_slowly(manifest: Manifest, sets: list[FeatureSetTarget], started: Path) -> None:
    def progress(utterances: int, seconds: float) -> None:
        started.touch()
        time.sleep(0.2)

    precompute_slice(manifest, 0, sets, progress)


@pytest.fixture
def spawn() -> Callable[..., multiprocessing.process.BaseProcess]:
    def start(*arguments: object) -> multiprocessing.process.BaseProcess:
        context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
        process = context.Process(target=_precompute_slowly, args=arguments)
        process.start()
        return process

    return start


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
@pytest.mark.parametrize("speeds", [(), (0.9, 1.1)])
def test_a_kill_leaves_nothing_half_and_the_next_run_gives_the_same_bytes(
    make_manifest: MakeManifest, tmp_path: Path, spawn: Callable, speeds: tuple[float, ...]
):
    manifest, settings = make_manifest(), MEL.model_copy(update={"speeds": speeds})
    undisturbed = target(manifest, settings, tmp_path / "undisturbed")
    precompute_slice(manifest, 0, [undisturbed])
    killed = target(manifest, settings, tmp_path / "killed")
    process = spawn(manifest, [killed], tmp_path / "started")
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert missing_shards(killed[1], 1) == [0]
    precompute_slice(manifest, 0, [killed])
    (shard,) = killed[1].glob("shard-*.h5")
    verify_file(shard)
    assert shard_bytes(killed[1]) == shard_bytes(undisturbed[1])


@pytest.mark.parametrize("between", ["write_suspicious", "write_digests"])
def test_a_kill_between_the_files_of_a_slice_loses_none_of_them(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: str
):
    """The shard is the last file: with it the slice would count as done."""
    manifest = make_manifest()
    undisturbed = target(manifest, MEL, tmp_path / "undisturbed")
    precompute_slice(manifest, 0, [undisturbed])

    def kill(*words: object) -> None:
        raise KeyboardInterrupt

    killed = target(manifest, MEL, tmp_path / "killed")
    with monkeypatch.context() as killing:
        killing.setattr(shard_output, between, kill)
        with pytest.raises(KeyboardInterrupt):
            precompute_slice(manifest, 0, [killed])
    precompute_slice(manifest, 0, [killed])
    files = [
        sorted(path.name for path in folder.iterdir()) for _, folder, _ in (killed, undisturbed)
    ]
    assert files[0] == files[1]


def test_two_copies_started_at_once_do_no_harm(
    make_manifest: MakeManifest, tmp_path: Path, spawn: Callable
):
    manifest = make_manifest()
    mel = target(manifest, MEL, tmp_path / "work")
    copies = [spawn(manifest, [mel], tmp_path / f"started-{number}") for number in range(2)]
    for copy in copies:
        copy.join()
    assert [copy.exitcode for copy in copies] == [0, 0]
    assert sorted(path.name for path in mel[1].iterdir()) == [
        "digests-00000-of-00001.bin",
        "feature_set.yaml",
        "shard-00000-of-00001.h5",
    ]
    assert len(Shard.open(mel[1] / "shard-00000-of-00001.h5").utterances) == 6


def test_progress_counts_up_to_the_whole_slice(make_manifest: MakeManifest, tmp_path: Path):
    manifest = make_manifest()
    reports: list[tuple[int, float]] = []
    mel = target(manifest, MEL, tmp_path / "work")
    precompute_slice(manifest, 0, [mel], lambda *done: reports.append(done))
    assert [utterances for utterances, _ in reports] == [1, 2, 3, 4, 5, 6, 6]
    assert reports[-1][1] == pytest.approx(manifest.seconds)


@pytest.mark.an4
def test_an4_gives_a_frame_per_hop(an4: Path, tmp_path: Path):
    paths = sorted(an4.glob("wav/*/*/*.wav"))[:20]
    utterances = []
    for path in paths:
        rate, samples, _ = probe(path)
        utterances.append(
            manifests.Utterance(
                id=path.stem,
                audio=path.relative_to(an4).as_posix(),
                samples=samples,
                rate=rate,
                transcript="A",
                speaker=path.parent.name,
                split="train",
            )
        )
    manifest = Manifest("an4", an4, tuple(utterances))
    sets = [
        target(manifest, FeatureSettings(spectrum=spectrum), tmp_path)
        for spectrum in ("amplitude", "power", "mel")
    ]
    assert precompute.precompute_slice(manifest, 0, sets) == []
    for _, folder, _ in sets:
        features = FeatureSet.open(folder)
        assert [u.frames for u in features.utterances] == [1 + u.samples // 160 for u in utterances]
        assert features.statistics.count == sum(u.frames for u in features.utterances)
