"""`make features` after real kills and full disks: the same command completes it, byte for byte.

The corpus is 22 minutes of noise in four slices, so that there is time to kill the command.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="children are found in Linux's /proc"
)

FILES = 24
SECONDS = 55
RATE = 8000
SETTINGS = {"features.sample_rate": RATE, "features.n_fft": 256, "features.mel_bins": 20}


def write_corpus(root: Path) -> Path:
    """Write wav files, and one flac file, because flac has checksums."""
    root.mkdir()
    noise = np.random.default_rng(0).normal(0, 3000, SECONDS * RATE).astype(np.int16)
    soundfile.write(root / "00.flac", noise, RATE)
    soundfile.write(root / "01.wav", noise, RATE)
    names = ["00.flac", *(f"{n:02}.wav" for n in range(1, FILES))]
    for name in names[2:]:
        os.link(root / "01.wav", root / name)
    splits = ["dev", "test", *["train"] * (FILES - 2)]
    rows = [f"{name},YES,{split}" for name, split in zip(names, splits, strict=True)]
    (root / "all.csv").write_text("\n".join(["audio,text,split", *rows]) + "\n")
    config = root.parent / f"{root.name}.yaml"
    config.write_text(f"name: noise\nreader: csv\nroot: {root}\n")
    return config


def command(corpus: Path, work: Path) -> list[str]:
    words = ["features", "--corpus", str(corpus), "--work", str(work)]
    changes = {**SETTINGS, "features.spectrum": "mel"}
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "jobs", *words, *sets]


def features(corpus: Path, work: Path) -> tuple[int, str]:
    ended = subprocess.run(
        command(corpus, work),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    return ended.returncode, ended.stdout


def start(corpus: Path, work: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(corpus, work), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def workers_in(work: Path, parent: int) -> list[int]:
    """Return the pids of the processes that run a task of this work folder, without the parent."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.startswith(str(work)) for word in words):
            found.append(int(file.parent.name))
    return sorted({*found} - {parent})


def wait_until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def stored(work: Path) -> dict[str, bytes]:
    """Return the files of all feature sets, without statistics.h5."""
    return {
        str(path.relative_to(work)): path.read_bytes()
        for path in sorted(work.glob("features/*/*"))
        if path.name != "statistics.h5"
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpora") / "noise")


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder whose features were computed without a fault."""
    work = tmp_path_factory.mktemp("undisturbed")
    code, output = features(corpus, work)
    assert code == 0, output
    return work


@pytest.fixture(scope="module")
def undisturbed(whole: Path) -> dict[str, bytes]:
    found = stored(whole)
    assert sum(name.endswith(".h5") for name in found) == 4
    return found


@pytest.mark.parametrize("victim", ["worker", "parent", "all"])
@pytest.mark.parametrize("moment", [0, 1])
def test_kill_9_at_any_moment_costs_only_the_current_slice(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, bytes], victim: str, moment: int
):
    parent = start(corpus, tmp_path)
    wait_until(lambda: len(workers_in(tmp_path, parent.pid)) == 2)
    time.sleep(random.Random(f"{victim}{moment}").uniform(0, 0.6))
    workers = workers_in(tmp_path, parent.pid)
    victims = {"worker": workers[:1], "parent": [parent.pid], "all": [parent.pid, *workers]}
    for pid in victims[victim]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended
    parent.wait(30)
    # A process that waits for the disk ends only after the disk has answered.
    wait_until(lambda: not {*victims[victim]} & {*workers_in(tmp_path, parent.pid)})
    code, output = features(corpus, tmp_path)
    assert code == 0, output
    wait_until(
        lambda: not workers_in(tmp_path, parent.pid)
    )  # workers of a killed parent end after their slice
    assert stored(tmp_path) == undisturbed


def test_the_partial_file_of_a_killed_writer_is_removed_from_a_complete_set(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, bytes]
):
    assert features(corpus, tmp_path)[0] == 0
    (folder,) = tmp_path.glob("features/*")
    abandon_a_file(folder)
    code, output = features(corpus, tmp_path)
    assert code == 0, output
    assert "nothing to do" in output
    assert stored(tmp_path) == undisturbed


def abandon_a_file(folder: Path) -> Path:
    """Leave the file of a process that was killed while it wrote the statistics."""
    killed = subprocess.Popen(["sleep", "100"])
    killed.kill()
    killed.wait()
    writer = f"{socket.gethostname()}-{killed.pid}-0123abcd"
    left = folder / f".statistics.h5.{writer}.partial"
    left.write_bytes(b"half")
    return left


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """A function that makes a folder read-only, even for root."""
    mounted: list[Path] = []

    def mount(folder: Path) -> None:
        if not shutil.which("mount") or os.geteuid() != 0:
            pytest.skip("a folder that root cannot write needs root to be mounted")
        for words in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
            done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"a folder cannot be mounted read-only: {done.stderr}")
            mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_partial_file_in_a_read_only_set_does_no_harm(
    corpus: Path, tmp_path: Path, read_only: Callable[[Path], None]
):
    assert features(corpus, tmp_path)[0] == 0
    (folder,) = tmp_path.glob("features/*")
    left = abandon_a_file(folder)
    read_only(folder)
    code, output = features(corpus, tmp_path)
    assert (code, "nothing to do" in output) == (0, True), output
    assert left.exists()


def test_two_copies_started_at_once_give_one_whole_set(
    corpus: Path, tmp_path: Path, undisturbed: dict[str, bytes]
):
    copies = [start(corpus, tmp_path) for _ in range(2)]
    codes = {copy.wait(60) for copy in copies}
    assert codes <= {0, 2}  # 2: refused, because the other process computes it
    assert 0 in codes
    assert stored(tmp_path) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("3m")` mounts a file system of 3 MB; another call changes its size."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def size(wanted: str) -> Path:
        nonlocal mounted
        options = f"{'remount,' if mounted else ''}size={wanted}"
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if not shutil.which("mount") or os.geteuid() != 0:
            pytest.skip("a file system of three megabytes needs root to be mounted")
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system of three megabytes cannot be mounted: {done.stderr}")
        mounted = True
        return place

    yield size
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_reported_once_and_no_run_starts(
    corpus: Path, small_disk: Callable[[str], Path], undisturbed: dict[str, bytes], tmp_path: Path
):
    work = small_disk("3m")
    changes = "".join(f"{key.split('.')[1]}: {value}, " for key, value in SETTINGS.items())
    (tmp_path / "base.yaml").write_text(f"corpus: {corpus}\nfeatures: {{{changes}}}\n")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("# Question: room?\nbase: base.yaml\naxes:\n  train.seed: [0, 1]\n")
    words = [sys.executable, "-m", "jobs", "sweep", str(sweep), "--work", str(work)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert ended.returncode in {1, 2}  # 2: not even the report fits
    lines = ended.stdout.splitlines()
    full = [line for line in lines if "No space left on device" in line]
    assert full, ended.stdout
    assert all(line.count("WORK=") == 1 for line in full)
    assert "2 runs not started: the features are incomplete" in lines
    assert not any("missing features" in line for line in lines)
    small_disk("50m")
    code, output = features(corpus, work)
    assert code == 0, output
    assert stored(work) == undisturbed


def test_a_half_lost_shard_is_computed_again(
    corpus: Path, tmp_path: Path, whole: Path, undisturbed: dict[str, bytes]
):
    """After a power cut a file may have its length, but zeros instead of its bytes."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shard = sorted(tmp_path.glob("features/*/shard-*"))[2]
    content = shard.read_bytes()
    quarter = len(content) // 4
    for left in (
        content[: 2 * quarter],
        content[:quarter] + bytes(quarter) + content[2 * quarter :],
    ):
        shard.write_bytes(left)
        code, output = features(corpus, tmp_path)
        assert code == 0
        assert "1 slice to compute" in output
        assert stored(tmp_path) == undisturbed
    assert "nothing to do" in features(corpus, tmp_path)[1]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "noise")


def test_a_corrupt_file_is_left_out_and_reported_until_it_is_repaired(
    own: Path, tmp_path: Path, undisturbed: dict[str, bytes]
):
    flac = tmp_path / "noise" / "00.flac"
    whole = flac.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 2000] = bytes(2000)
    flac.write_bytes(damaged)
    for again in (False, True):
        code, output = features(own, tmp_path / "work")
        assert code == 1
        (line,) = [line for line in output.splitlines() if line.startswith("refused: ")]
        assert line.startswith("refused: 00: 00.flac: ")
        assert ("nothing to do" in output) == again
        assert ("; 1 refused" in output) != again
    elsewhere = shutil.copytree(tmp_path / "noise", tmp_path / "moved" / "noise")
    config = elsewhere.parent / "noise.yaml"
    config.write_text(own.read_text().replace(str(tmp_path / "noise"), str(elsewhere)))
    assert features(config, tmp_path / "work-2")[0] == 1
    assert stored(tmp_path / "work-2") == stored(tmp_path / "work")
    flac.write_bytes(whole)
    assert features(own, tmp_path / "work")[0] == 0
    assert stored(tmp_path / "work") == undisturbed


def test_a_strict_corpus_refuses_a_corrupt_file(own: Path, tmp_path: Path):
    flac = tmp_path / "noise" / "00.flac"
    damaged = bytearray(flac.read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 2000] = bytes(2000)
    flac.write_bytes(damaged)
    own.write_text(own.read_text() + "strict: true\n")
    for _ in range(2):
        code, output = features(own, tmp_path / "work")
        assert code == 2
        assert "noise is strict, and 1 of its utterances cannot be used; the first: 00: " in output
