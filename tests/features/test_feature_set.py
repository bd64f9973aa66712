import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.config.features import FeatureSettings
from pipeline.corpus import manifest as manifests
from pipeline.corpus.manifest import Manifest
from pipeline.features.feature_set import (
    DESCRIPTION_FILE,
    STATISTICS_FILE,
    FeatureSet,
    missing_shards,
)
from pipeline.features.native import kernels
from pipeline.features.precompute import precompute_slice, prepare_feature_set
from pipeline.features.shards import shard_name
from pipeline.files import InputError
from tests.corpus.audio.reading import load
from tests.features.in_memory import compute_frames

SETTINGS = FeatureSettings(mel_bins=12)


@pytest.fixture
def folder(
    make_manifest: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder of a complete feature set of four shards."""
    monkeypatch.setattr(manifests, "SLICE_SECONDS", 1.7)
    manifest = make_manifest(count=9)
    identity, folder = prepare_feature_set(manifest, SETTINGS, tmp_path / "work")
    for index in range(len(manifest.slices)):
        precompute_slice(manifest, index, [(SETTINGS, folder, identity)])
    return folder


def test_a_feature_set_gives_each_utterance_its_frames(folder: Path):
    features = FeatureSet.open(folder)
    assert len(features.shards) == 4
    assert features.feature_id == folder.name
    assert (features.settings, features.bins) == (SETTINGS, 12)
    assert [utterance.id for utterance in features.utterances] == [
        f"speaker-{number:02}" for number in range(9)
    ]
    for utterance in features.utterances:
        frames = features.frames(utterance)
        assert frames.shape == (utterance.frames, 12)
        assert frames.base is not None  # a view, not a copy


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_statistics_are_those_of_all_training_frames_before_storage(
    make_manifest: Callable[..., Manifest], tmp_path: Path, storage: str
):
    manifest = make_manifest(count=9)
    settings = SETTINGS.model_copy(update={"storage": storage})
    identity, folder = prepare_feature_set(manifest, settings, tmp_path / "work")
    precompute_slice(manifest, 0, [(settings, folder, identity)])
    training = np.concatenate(
        [
            compute_frames(load(manifest.root / u.audio, 16_000), [settings])[0]
            for u in manifest.utterances
            if u.split == "train"
        ]
    ).astype(np.float64)
    for _ in range(2):  # added up, then read
        statistics = FeatureSet.open(folder).statistics
        assert statistics.count == len(training)
        np.testing.assert_allclose(statistics.mean, training.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(
            statistics.covariance,
            np.cov(training, rowvar=False, bias=True),
            atol=1e-5 * training.var(),
        )
        assert (folder / STATISTICS_FILE).is_file()


def test_8_bit_frames_are_decoded_to_float32(
    make_manifest: Callable[..., Manifest], tmp_path: Path
):
    manifest = make_manifest()
    settings = SETTINGS.model_copy(update={"storage": "uint8"})
    identity, folder = prepare_feature_set(manifest, settings, tmp_path / "work")
    precompute_slice(manifest, 0, [(settings, folder, identity)])
    features = FeatureSet.open(folder)
    for stored, utterance in zip(features.utterances, manifest.utterances, strict=True):
        exact = compute_frames(load(manifest.root / utterance.audio, 16_000), [settings])[0]
        frames = features.frames(stored)
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames, exact, atol=np.ptp(exact, axis=0).max() / 509)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_shards_whose_bytes_have_changed_are_set_aside_and_so_missing(folder: Path):
    offset = FeatureSet.open(folder).shards[0].offset
    for index in (1, 3):
        flip(folder / shard_name(index, 4), offset + 50)
    with pytest.raises(InputError, match=r"00001-of-00004\.h5: the bytes of frames do not match"):
        FeatureSet.open(folder).verify()
    assert missing_shards(folder, 4) == [1, 3]


def test_statistics_whose_bytes_have_changed_are_added_up_again(folder: Path):
    count = FeatureSet.open(folder).statistics.count
    with h5py.File(folder / STATISTICS_FILE, "r+") as file:
        file["statistics/count"][()] = count + 1
    features = FeatureSet.open(folder)
    features.verify()
    assert features.statistics.count == count


def test_damaged_statistics_are_added_up_again(folder: Path):
    count = FeatureSet.open(folder).statistics.count
    whole = (folder / STATISTICS_FILE).read_bytes()
    (folder / STATISTICS_FILE).write_bytes(whole[:-1])
    assert FeatureSet.open(folder).statistics.count == count
    assert (folder / STATISTICS_FILE).read_bytes() == whole


def test_another_persons_feature_set_can_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.features.feature_set.write_statistics", refuse)
    assert FeatureSet.open(folder).statistics.count > 0
    assert not (folder / STATISTICS_FILE).exists()


def test_missing_and_damaged_shards_are_named(folder: Path):
    assert missing_shards(folder, 4) == []
    (folder / shard_name(1, 4)).unlink()
    damaged = folder / shard_name(3, 4)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert missing_shards(folder, 4) == [1, 3]
    message = (
        r"2 of 4 shards cannot be used \(shard-00001-of-00004\.h5, shard-00003-of-00004\.h5\); "
        r".*00001-of-00004\.h5: no such shard; run make features again"
    )
    with pytest.raises(InputError, match=message) as caught:
        FeatureSet.open(folder)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_missing_shards_is_counted(folder: Path):
    for path in folder.glob("shard-*"):
        path.unlink()
    with pytest.raises(InputError, match=r"4 of 4 shards .*00002-of-00004\.h5 and 1 more\)"):
        FeatureSet.open(folder)


def test_a_shard_in_the_wrong_place_is_refused(folder: Path):
    shutil.copy(folder / shard_name(0, 4), folder / shard_name(2, 4))
    assert missing_shards(folder, 4) == [2]
    with pytest.raises(
        InputError, match=r"00002-of-00004\.h5: is shard .*, 0, 4\), not .*, 2, 4\)"
    ):
        FeatureSet.open(folder)


def test_a_shard_of_another_set_or_another_number_of_shards_is_missing(folder: Path):
    shutil.copy(folder / shard_name(0, 4), folder / shard_name(0, 5))
    assert missing_shards(folder, 5) == [0, 1, 2, 3, 4]
    other = folder.rename(folder.with_name("mel-000000000000"))
    assert missing_shards(other, 4) == [0, 1, 2, 3]


def set_engine(path: Path, engine: str | None) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs.pop("engine", None)
        if engine:
            file.attrs["engine"] = np.bytes_(engine)


def test_the_shards_of_another_engine_than_the_others_are_missing(folder: Path):
    available = kernels.available_engine()
    other = {"native": "numpy", "numpy": "native"}[available]
    set_engine(folder / shard_name(2, 4), other)
    names = {"native": "the native kernel", "numpy": "NumPy"}
    message = (
        f"{folder}: 1 of 4 shards cannot be used (shard-00002-of-00004.h5); "
        f"{folder / shard_name(2, 4)}: {names[other]} computed it, and {names[available]} the "
        "feature set; their values differ in the last bits; run make features again to rebuild it"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        FeatureSet.open(folder)
    assert missing_shards(folder, 4) == [2]
    # Without a description that names the engine, the first shard that names one decides.
    description = folder / DESCRIPTION_FILE
    description.write_text(description.read_text().replace(f"engine: {available}\n", ""))
    set_engine(folder / shard_name(0, 4), None)
    assert missing_shards(folder, 4) == [2]
    set_engine(folder / shard_name(0, 4), other)
    assert missing_shards(folder, 4) == [1, 3]


def test_shards_of_an_unknown_engine_go_with_any_other(folder: Path):
    for index in (0, 1):
        set_engine(folder / shard_name(index, 4), None)
    assert FeatureSet.open(folder).engine == kernels.available_engine()
    for index in (2, 3):
        set_engine(folder / shard_name(index, 4), None)
    features = FeatureSet.open(folder)
    assert features.engine is None
    assert len(features.utterances) == 9


def test_a_description_that_cannot_be_read_says_how_to_write_it_again(folder: Path):
    for content in ("", "version: [", "version: 1\n"):
        (folder / DESCRIPTION_FILE).write_text(content)
        with pytest.raises(InputError, match=r"; run make features again to rebuild it$"):
            FeatureSet.open(folder)


def test_everything_is_missing_from_a_folder_that_is_not_there(tmp_path: Path):
    assert missing_shards(tmp_path / "nothing", 3) == [0, 1, 2]
    with pytest.raises(InputError, match=r"feature_set\.yaml: no such file"):
        FeatureSet.open(tmp_path / "nothing")


def test_a_later_version_is_refused(folder: Path):
    path = folder / "feature_set.yaml"
    path.write_text(path.read_text().replace("version: 1", "version: 2"))
    with pytest.raises(InputError, match=r"feature_set\.yaml: version: 2 .*should be 1"):
        FeatureSet.open(folder)


def test_a_feature_set_travels_to_another_process(folder: Path):
    features = FeatureSet.open(folder)
    first = features.frames(features.utterances[0]).copy()
    again = pickle.loads(pickle.dumps(features))  # noqa: S301
    np.testing.assert_array_equal(again.frames(again.utterances[0]), first)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts no file descriptors")
def test_more_shards_than_a_process_may_open_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import resource  # there is none on Windows

    features = FeatureSet.open(folder)
    copies = []
    for index in range(1000):
        os.link(features.shards[index % 4].path, tmp_path / f"copy-{index}.h5")
        copies.append(replace(features.shards[index % 4], path=tmp_path / f"copy-{index}.h5"))
    many = replace(features, shards=tuple(copies))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        for index in [*range(1000), *range(0, 1000, 7)]:
            first = many.shards[index].utterances[0]
            frames = many.frames(first._replace(shard=index))
            np.testing.assert_array_equal(frames, features.frames(first))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
