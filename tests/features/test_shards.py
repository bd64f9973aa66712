import os
import pickle
import subprocess
import sys
import time
import zlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.config.features import FeatureSettings
from pipeline.corpus.manifest import Refusal
from pipeline.features.hdf5 import verify_file
from pipeline.features.native.kernels import Engine
from pipeline.features.shards import (
    Shard,
    StoredUtterance,
    open_shard_writer,
    read_statistics,
    shard_name,
    write_statistics,
)
from pipeline.files import InputError
from tests.conftest import REPOSITORY
from tests.features.in_memory import statistics_of

DATA = Path(__file__).parent / "data"
SETTINGS = FeatureSettings(mel_bins=5)
REFUSALS = (Refusal("u9", "audio/u9.wav: is cut short; repair the file"),)


def utterances(lengths: tuple[int, ...]) -> list[StoredUtterance]:
    stops = np.cumsum(lengths).tolist()
    return [
        StoredUtterance(
            id=f"u{number}",
            transcript="ÇAY İÇ" if number else "",
            speaker="anna",
            split="train" if number % 2 else "dev",
            shard=3,
            start=stop - length,
            stop=stop,
        )
        for number, (length, stop) in enumerate(zip(lengths, stops, strict=True))
    ]


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    """Return random rows that float16 holds exactly."""
    rows = np.random.default_rng(seed).standard_normal((count, 5))
    return rows.astype(np.float16).astype(np.float32)


def write(
    path: Path,
    lengths: tuple[int, ...] = (7, 4, 9),
    block: int = 6,
    settings: FeatureSettings = SETTINGS,
    engine: Engine = "numpy",
) -> np.ndarray:
    rows = rows_of(sum(lengths))
    with open_shard_writer(
        path,
        feature_id="mel-0123",
        settings=settings,
        engine=engine,
        index=3,
        count=8,
        utterances=utterances(lengths),
        refusals=REFUSALS,
    ) as append:
        for start in range(0, len(rows), block):
            append(rows[start : start + block].copy())
    return rows


def replace_dataset(file: h5py.File, name: str, value: np.ndarray) -> None:
    del file[name]
    file.create_dataset(name, data=value)


def test_a_shard_gives_back_what_was_written(tmp_path: Path):
    path = tmp_path / shard_name(3, 8)
    rows = write(path)
    shard = Shard.open(path)
    assert path.name == "shard-00003-of-00008.h5"
    assert (shard.feature_id, shard.index, shard.count) == ("mel-0123", 3, 8)
    assert shard.settings == SETTINGS
    assert shard.utterances == tuple(utterances((7, 4, 9)))
    assert shard.refusals == REFUSALS
    np.testing.assert_array_equal(shard.frames, rows)
    assert verify_file(path) == path.stat().st_size


def test_hdf5_and_the_mapping_see_the_same_rows(tmp_path: Path):
    rows = write(tmp_path / "shard.h5")
    with h5py.File(tmp_path / "shard.h5") as file:
        np.testing.assert_array_equal(file["frames"][()], rows)
        assert file["frames"].id.get_offset() % 64 == 0
        stored = rows.astype(np.float16).tobytes()
        assert file["frames"].attrs["crc32"] == zlib.crc32(stored)
        assert file.attrs["complete"]


def test_statistics_count_the_training_split_alone(tmp_path: Path):
    rows = write(tmp_path / "shard.h5")
    training = rows[7:11].astype(np.float64)
    statistics = Shard.open(tmp_path / "shard.h5").statistics
    assert statistics.count == 4
    np.testing.assert_allclose(statistics.mean, training.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        statistics.covariance, np.cov(training, rowvar=False, bias=True), atol=1e-6
    )


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    write(tmp_path / "one.h5")
    time.sleep(1.1)  # HDF5 stores times in seconds
    write(tmp_path / "two.h5")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_rows_are_read_only_and_no_file_stays_open(tmp_path: Path):
    write(tmp_path / "shard.h5")
    shard = Shard.open(tmp_path / "shard.h5")
    with pytest.raises(ValueError, match="read-only"):
        shard.frames[0] = 0
    (tmp_path / "shard.h5").rename(tmp_path / "moved.h5")
    write(tmp_path / "moved.h5")


def test_a_pickled_shard_maps_again(tmp_path: Path):
    rows = write(tmp_path / "shard.h5", lengths=(4000, 4000))
    shard = Shard.open(tmp_path / "shard.h5")
    assert shard.frames[0, 0] == rows[0, 0]
    pickled = pickle.dumps(shard)
    assert len(pickled) < 4000
    np.testing.assert_array_equal(pickle.loads(pickled).frames, rows)  # noqa: S301


@pytest.mark.parametrize("lengths", [(), (0,), (0, 3, 0)])
def test_no_rows_and_empty_utterances_are_valid(tmp_path: Path, lengths: tuple[int, ...]):
    write(tmp_path / "shard.h5", lengths)
    shard = Shard.open(tmp_path / "shard.h5")
    verify_file(tmp_path / "shard.h5")
    assert [utterance.frames for utterance in shard.utterances] == list(lengths)
    assert shard.frames.shape == (sum(lengths), 5)


def writer_of_three_rows(folder: Path) -> AbstractContextManager[Any]:
    return open_shard_writer(
        folder / "shard.h5",
        feature_id="f",
        settings=SETTINGS,
        engine="numpy",
        index=0,
        count=1,
        utterances=utterances((3,)),
    )


def test_a_failure_while_writing_leaves_no_file(tmp_path: Path):
    with (
        pytest.raises(RuntimeError, match="power cut"),
        writer_of_three_rows(tmp_path) as append,
    ):
        append(rows_of(3))
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []


def test_too_few_rows_are_a_mistake_of_the_program(tmp_path: Path):
    with (
        pytest.raises(ValueError, match="2 rows were written, not 3"),
        writer_of_three_rows(tmp_path) as append,
    ):
        append(rows_of(2))
    assert list(tmp_path.iterdir()) == []


def test_a_shard_cut_anywhere_is_refused(tmp_path: Path):
    path = tmp_path / "shard.h5"
    write(path, lengths=(700, 500))
    whole = path.read_bytes()
    for length in [0, 7, 8, 100, *range(500, len(whole), 999), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(
            InputError, match=r"not a whole shard \(truncated or damaged\); run make"
        ):
            Shard.open(path)


def test_zeros_instead_of_the_end_of_a_file_are_found(tmp_path: Path):
    """HDF5 searches a damaged heap without end, so no shard may have one."""
    path = tmp_path / "shard.h5"
    write(path)
    whole = path.read_bytes()
    assert b"GCOL" not in whole
    for start in range(0, len(whole), 64):
        path.write_bytes(whole[:start].ljust(len(whole), b"\0"))
        if any(whole[start:]):
            with pytest.raises(InputError, match="run make features again"):
                verify_file(path)


@pytest.mark.parametrize("name", ["utterance_ids", "transcripts", "refusals/reasons"])
def test_a_text_that_is_no_longer_text_is_refused(tmp_path: Path, name: str):
    path = tmp_path / "shard.h5"
    write(path)
    with h5py.File(path) as file:
        offset = file[name].id.get_offset()
    damaged = bytearray(path.read_bytes())
    damaged[offset] = 0xFF
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="truncated or damaged"):
        Shard.open(path)


def test_verify_finds_one_flipped_bit_in_any_dataset(tmp_path: Path):
    path = tmp_path / "shard.h5"
    write(path)
    whole = path.read_bytes()
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        offsets = {
            name: file[name].id.get_offset()
            for name in names
            if isinstance(file[name], h5py.Dataset)
        }
    assert len(offsets) == 11
    for name, offset in offsets.items():
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"the bytes of {name} do not match"):
            verify_file(path)


def test_verify_reads_a_dataset_of_several_blocks_of_rows(tmp_path: Path):
    path = tmp_path / "shard.h5"
    rows = write(path, (9_001,))
    verify_file(path)
    offset = Shard.open(path).offset
    whole = path.read_bytes()
    for row in (0, 4095, 4096, 9_000):
        damaged = bytearray(whole)
        damaged[offset + 2 * rows.shape[1] * row] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="the bytes of frames do not match"):
            verify_file(path)


def test_a_folder_a_text_and_a_missing_file_are_refused_in_one_line(tmp_path: Path):
    (tmp_path / "text.h5").write_text("no shard")
    (tmp_path / "folder.h5").mkdir()
    for name in ("text.h5", "folder.h5", "missing.h5"):
        with pytest.raises(InputError, match=name) as caught:
            Shard.open(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.attrs.update(version=0), "version 0; this program reads version 1"),
        (lambda f: f.attrs.update(version=2), "version 2; this program reads version 1"),
        (lambda f: f.attrs.update(complete=False), "is incomplete; run make features"),
        (lambda f: f.attrs.__delitem__("complete"), "not a whole shard"),
        (lambda f: f.__delitem__("speakers"), "not a whole shard"),
        (lambda f: f["offsets"].write_direct(np.array([0, 9, 7, 20])), "offsets and utterances"),
        (lambda f: f["offsets"].write_direct(np.array([0, 8, 7, 20])), "offsets and utterances"),
        (lambda f: f["offsets"].write_direct(np.array([1, 7, 11, 20])), "offsets and utterances"),
        (lambda f: f["offsets"].write_direct(np.array([-1, 7, 11, 20])), "offsets and utterances"),
        (lambda f: f.attrs.update(engine="gpu"), "engine 'gpu'; this program knows native, numpy"),
        (lambda f: f["offsets"].write_direct(np.array([0, 7, 11, 21])), "frames are"),
        (lambda f: replace_dataset(f, "speakers", f["speakers"][:2]), "offsets and utterances"),
        (lambda f: f.attrs.update(settings='{"mel_binz": 5}'), "mel_binz"),
    ],
)
def test_a_shard_that_is_not_what_it_says_is_refused(tmp_path: Path, change, message: str):
    path = tmp_path / "shard.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message):
        Shard.open(path)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_a_shard_names_its_engine(tmp_path: Path, engine: Engine):
    write(tmp_path / "shard.h5", engine=engine)
    with h5py.File(tmp_path / "shard.h5") as file:
        assert file.attrs["engine"] == engine.encode()  # of fixed length: not in HDF5's heap
    assert Shard.open(tmp_path / "shard.h5").engine == engine


def test_a_shard_without_an_engine_is_readable_and_its_engine_is_unknown(tmp_path: Path):
    rows = write(tmp_path / "shard.h5")
    with h5py.File(tmp_path / "shard.h5", "r+") as file:
        del file.attrs["engine"]
    shard = Shard.open(tmp_path / "shard.h5")
    assert shard.engine is None
    np.testing.assert_array_equal(shard.frames, rows)


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_frames_begin_at_a_multiple_of_64_bytes_whatever_lies_before_them(
    tmp_path: Path, storage: str
):
    """Without the alignment of the file only about one of eight files has them there."""
    settings = FeatureSettings(mel_bins=5, storage=storage)
    for count in range(1, 12):
        path = tmp_path / f"{count}.h5"
        write(path, (3,) * count, settings=settings)
        with h5py.File(path) as file:
            assert file["frames"].id.get_offset() % 64 == 0
        assert Shard.open(path).offset % 64 == 0


def place_frames(
    path: Path, offset: int, lengths: tuple[int, ...] = (7, 4, 9), **options: object
) -> int:
    """Write a shard whose frames lie `offset` bytes after a multiple of 128, last in the file."""
    write(path, lengths)
    parts = path.with_name("parts.h5")
    path.rename(parts)
    with h5py.File(parts) as source:
        for padding in range(128):
            with h5py.File(path, "w", **options) as file:
                for name, value in source.attrs.items():
                    file.attrs[name] = value
                for name in source:
                    if name != "frames":
                        source.copy(name, file)
                file.create_dataset("padding", data=np.ones(padding, np.uint8))
                file.create_dataset("frames", data=source["frames"][()])
                found = file["frames"].id.get_offset()
            if found % 128 == offset:
                parts.unlink()
                return found
    raise AssertionError(f"no padding puts the frames at {offset}")


@pytest.mark.parametrize(("offset", "aligned"), [(0, True), (64, True), (8, False), (32, False)])
def test_only_frames_at_a_multiple_of_64_bytes_are_accepted(
    tmp_path: Path, offset: int, aligned: bool
):
    path = tmp_path / "shard.h5"
    place_frames(path, offset)
    if aligned:
        np.testing.assert_array_equal(Shard.open(path).frames, rows_of(20))
    else:
        with pytest.raises(InputError, match="frames are not contiguous and aligned"):
            Shard.open(path)


def test_frames_may_end_where_the_file_ends_and_no_byte_later(tmp_path: Path):
    """In an old HDF5 header the end of the file has no checksum, so that it can be changed here."""
    path = tmp_path / "shard.h5"
    end = place_frames(path, 0, (700, 500), libver="earliest") + 1200 * 5 * 2
    whole = path.read_bytes()
    assert int.from_bytes(whole[40:48], "little") == len(whole) == end
    for size in (end, end - 1):
        path.write_bytes(whole[:40] + size.to_bytes(8, "little") + whole[48:size])
        if size == end:
            assert len(Shard.open(path).frames) == 1200
        else:
            with pytest.raises(InputError, match="truncated or damaged"):
                Shard.open(path)


def test_chunked_frames_are_refused(tmp_path: Path):
    path = tmp_path / "shard.h5"
    rows = write(path)
    with h5py.File(path, "r+") as file:
        del file["frames"]
        file.create_dataset("frames", data=rows.astype(np.float16), chunks=True)
    with pytest.raises(InputError, match="not contiguous"):
        Shard.open(path)


def test_an_unwritable_folder_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"(?i)directory|exists"):
        write(tmp_path / "file" / "shard.h5")


@pytest.mark.parametrize("limit", [4096, 40_000, 200_000])
def test_a_full_disk_is_reported_and_leaves_no_file(tmp_path: Path, limit: int):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(tmp_path / "shard.h5", lengths=(20_000, 20_000), block=40_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "free some space" in caught.value.__notes__[0]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_held_by_another_does_not_stop_a_reader(tmp_path: Path):
    fcntl = pytest.importorskip("fcntl")
    write(tmp_path / "shard.h5")
    with (tmp_path / "shard.h5").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert Shard.open(tmp_path / "shard.h5").rows == 20


def test_the_sum_of_statistics_has_a_file_of_its_own(tmp_path: Path):
    statistics = statistics_of(rows_of(50))
    write_statistics(tmp_path / "statistics.h5", "mel-0123", statistics)
    again = read_statistics(tmp_path / "statistics.h5", "mel-0123")
    assert again.count == 50
    np.testing.assert_array_equal(again.comoment, statistics.comoment)
    with pytest.raises(InputError, match="belongs to mel-0123, not mel-9999"):
        read_statistics(tmp_path / "statistics.h5", "mel-9999")


CODED = FeatureSettings(mel_bins=5, storage="uint8")


@pytest.mark.parametrize("block", [1, 6, 300, 1000])
def test_an_8_bit_shard_gives_rows_back_within_half_a_step(tmp_path: Path, block: int):
    lengths = (300, 0, 1, 128, 129)
    rows = write(tmp_path / "shard.h5", lengths, block, CODED)
    verify_file(tmp_path / "shard.h5")
    shard = pickle.loads(pickle.dumps(Shard.open(tmp_path / "shard.h5")))  # noqa: S301
    read = shard.reader()
    with h5py.File(tmp_path / "shard.h5") as file:
        assert file["frames"].dtype == np.uint8
        steps = file["code/step"][()]
    assert steps.shape == (3 + 1 + 1 + 2, 5)
    half = np.repeat(steps / 2, [128, 128, 44, 1, 128, 128, 1], axis=0)
    for utterance in shard.utterances:
        here = slice(utterance.start, utterance.stop)
        decoded = read(utterance.start, utterance.stop)
        assert decoded.dtype == np.float32
        assert (np.abs(decoded - rows[here]) <= half[here] * 1.001 + 1e-6).all()
    np.testing.assert_array_equal(read(100, 400), read(0, 558)[100:400])


@pytest.mark.parametrize("settings", [SETTINGS, CODED])
def test_frames_do_not_depend_on_how_rows_were_handed_over(tmp_path: Path, settings):
    for block in (7, 500):
        write(tmp_path / f"{block}.h5", (300, 200), block, settings)
    one, two = (Shard.open(tmp_path / f"{block}.h5") for block in (7, 500))
    np.testing.assert_array_equal(one.frames, two.frames)
    np.testing.assert_allclose(one.statistics.comoment, two.statistics.comoment, atol=1e-4)


def test_statistics_are_of_the_rows_before_they_are_stored(tmp_path: Path):
    for storage in ("float32", "float16", "uint8"):
        settings = FeatureSettings(mel_bins=5, storage=storage)
        write(tmp_path / f"{storage}.h5", settings=settings)
    found = [Shard.open(path).statistics for path in sorted(tmp_path.glob("*.h5"))]
    for statistics in found:
        np.testing.assert_array_equal(statistics.mean, found[0].mean)
        np.testing.assert_array_equal(statistics.comoment, found[0].comoment)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.__delitem__("code/low"),
        lambda f: replace_dataset(f, "code/step", np.ones((3, 5), "<f8")),
        lambda f: replace_dataset(f, "code/step", np.ones((2, 5), "<f4")),
        lambda f: replace_dataset(f, "code/low", np.ones((3, 4), "<f4")),
    ],
)
def test_an_8_bit_shard_without_its_scales_is_refused(tmp_path: Path, change):
    write(tmp_path / "shard.h5", settings=CODED)
    with h5py.File(tmp_path / "shard.h5", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=r"shard\.h5: .*run make features again"):
        Shard.open(tmp_path / "shard.h5")


@pytest.mark.parametrize("path", sorted(DATA.glob("shard-v*.h5")), ids=lambda path: path.stem)
def test_a_frozen_sample_is_readable(path: Path):
    verify_file(path)
    shard = Shard.open(path)
    assert shard.feature_id == "mel-000000000000"
    assert (shard.index, shard.count) == (0, 1)
    assert shard.engine == ("numpy" if path.stem == "shard-v1-float32" else None)
    assert [(u.id, u.transcript, u.speaker, u.split, u.frames) for u in shard.utterances] == [
        ("anna-one", "ONE", "anna", "train", 3),
        ("bülent-iki", "İKİ", "bülent", "test", 2),
    ]
    assert shard.refusals == (Refusal("anna-two", "audio/anna-two.wav: is cut short"),)
    read = shard.reader()
    found = np.concatenate([read(u.start, u.stop) for u in shard.utterances])
    half_a_step = 0.004 if shard.settings.storage == "uint8" else 0
    np.testing.assert_allclose(found, np.arange(20).reshape(5, 4) / 4, atol=half_a_step)
    assert shard.statistics.count == 3
    np.testing.assert_allclose(shard.statistics.mean, [1, 1.25, 1.5, 1.75])
    np.testing.assert_allclose(shard.statistics.comoment, np.full((4, 4), 2.0))


def test_a_sample_of_each_version_and_code_is_kept():
    kept = sorted(DATA.glob("shard-v*.h5"))
    assert [path.name for path in kept] == [
        "shard-v1-float32.h5",
        "shard-v1-uint8.h5",
        "shard-v1.h5",
    ]
    assert max(os.path.getsize(path) for path in kept) < 20_000  # noqa: PTH202


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from tests.features.test_shards import write
path = Path(sys.argv[1], "shard.h5")
write(path)
size = path.stat().st_size
path.unlink()
ended = set()
for limit in range(size - 4096, size, 64):
    if not (child := os.fork()):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write(path)
        except (OSError, RuntimeError):
            os._exit(3)
        os._exit(0)
    ended.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(ended, path.exists())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="only Unix limits the size of files")
def test_a_write_that_fails_anywhere_leaves_no_shard(tmp_path: Path):
    """HDF5 reports no error when it closes a dataset, and then crashes or loses its bytes."""
    program = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    ended = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == "{3} False\n"
