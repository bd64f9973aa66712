"""CPUs and memory that a run may use, what a process tree uses, whether a process is alive."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs.node.run_training import RunResources
from jobs.profile import load_profile
from pipeline import host
from pipeline.host import (
    available_cpus,
    default_threads,
    free_memory_bytes,
    is_alive,
    private_bytes_of_tree,
    thread_count,
)


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(host, "CGROUP_ROOT", tmp_path)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("none", "", 8),
        ("cpu.max", "150000 100000", 2),
        ("cpu.max", "max 100000", 8),
        ("cpu.max", "5000 100000", 1),
    ],
)
def test_cpus_are_those_that_a_container_may_use(
    tmp_path: Path, file: str, content: str, expected: int
):
    (tmp_path / file).write_text(content)
    assert available_cpus() == expected


@pytest.mark.usefixtures("eight_cpus")
def test_cpus_are_limited_by_cgroups_of_version_1_too(tmp_path: Path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, expected in (("300000", 3), ("-1", 8)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert available_cpus() == expected


@pytest.mark.usefixtures("eight_cpus")
def test_cpus_are_those_that_slurm_gave_to_the_task(monkeypatch: pytest.MonkeyPatch):
    for given, expected in (("4", 4), ("64", 8), ("", 8)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
        assert available_cpus() == expected


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("variable", "expected"), [("3", 3), ("16", 16), ("2,1", 2), ("", 8), ("0", 8), ("many", 8)]
)
def test_threads_are_those_of_omp_num_threads_else_one_per_cpu(
    monkeypatch: pytest.MonkeyPatch, variable: str, expected: int
):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert default_threads() == expected
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert default_threads() == 8


@pytest.mark.usefixtures("eight_cpus")
@pytest.mark.parametrize(
    ("wish", "gpu", "expected"),
    [("auto", False, 0), ("auto", True, 2), ("2 per thread", True, 6), (5, False, 5), (0, True, 0)],
)
def test_a_run_has_the_workers_that_its_profile_wishes(
    tmp_path: Path, wish: int | str, gpu: bool, expected: int
):
    path = tmp_path / "site.yaml"
    path.write_text(f"workers: {wish}")
    assert RunResources("auto", 3, load_profile(path).workers).num_workers(gpu=gpu) == expected


def test_a_gpu_with_a_single_cpu_gets_no_worker(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert RunResources("cuda", threads=1).num_workers(gpu=True) == 0


def write_memory_cgroup(
    folder: Path, names: tuple[str, str, str], limit: str, used: int, cached: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


def test_free_memory_is_that_of_the_tightest_cgroup_and_includes_its_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(host, "CGROUP_ROOT", tmp_path)
    own = tmp_path / "cgroup"
    monkeypatch.setattr(host, "OWN_CGROUPS_FILE", own)
    own.write_text("0::/slurm/job_7/task\n")
    names = host.CGROUP_MEMORY_FILES[""]
    write_memory_cgroup(tmp_path / "slurm" / "job_7" / "task", names, "max", 10, 0)
    write_memory_cgroup(tmp_path / "slurm" / "job_7", names, "1000", 700, 600)
    write_memory_cgroup(tmp_path / "slurm", names, "5000", 4500, 500)
    assert free_memory_bytes() == 900
    own.write_text("4:memory:/job\n2:cpu:/job\n")
    write_memory_cgroup(
        tmp_path / "memory" / "job", host.CGROUP_MEMORY_FILES["memory"], "3000", 2000, 1
    )
    assert free_memory_bytes() == 1001


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux has /proc/meminfo")
def test_free_memory_is_less_than_total_memory():
    text = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in text if line.startswith("MemTotal"))
    assert 0 < free_memory_bytes() < total * 1024


@pytest.mark.parametrize(
    ("line", "folder", "file"),
    [
        ("0::/slurm/job_7", "slurm/job_7", "memory.events"),
        ("4:memory:/slurm/job_7", "memory/slurm/job_7", "memory.oom_control"),
    ],
)
def test_a_kill_for_memory_is_counted_by_the_cgroup_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, folder: str, file: str
):
    monkeypatch.setattr(host, "OWN_CGROUPS_FILE", tmp_path / "own")
    monkeypatch.setattr(host, "CGROUP_ROOT", tmp_path / "cgroup")
    assert host.oom_kills() == 0
    (tmp_path / "own").write_text(f"9:cpu:/other\n{line}\n")
    counted = tmp_path / "cgroup" / folder / file
    counted.parent.mkdir(parents=True)
    for kills in (0, 2):
        counted.write_text(f"oom 3\noom_kill {kills}\n")
        assert host.oom_kills() == kills


CHILD_PAGES = """
import mmap, sys
shared = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 0)
shared_bytes = sum(shared[i] for i in range(0, len(shared), 4096))
private = b"1" * int(sys.argv[2])
print(shared_bytes, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports shared pages")
def test_shared_pages_of_a_child_are_not_its_private_memory(tmp_path: Path):
    size, private = 300_000_000, 100_000_000
    file = tmp_path / "shared"
    file.write_bytes(b"0" * size)
    before = private_bytes_of_tree()
    with subprocess.Popen(
        [sys.executable, "-c", "import os" + CHILD_PAGES, file, str(private)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert int(child.stdout.readline()) > 0
        added = private_bytes_of_tree() - before
        assert child.stdin is not None
        child.stdin.close()
    assert private < added < private + size / 2


def test_this_process_is_alive_and_an_ended_one_is_not():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert is_alive(os.getpid())
    assert not is_alive(child.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux reports zombies")
def test_a_killed_process_that_nobody_has_waited_for_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(child.pid)
    child.kill()
    limit = time.monotonic() + 10
    while is_alive(child.pid) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not is_alive(child.pid)
    assert child.returncode is None
    child.communicate()


@pytest.mark.parametrize("pid", [0, -1])
def test_a_group_of_processes_is_no_process(pid: int):
    assert not is_alive(pid)


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(os.getpid())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the number of threads")
def test_a_started_thread_is_counted():
    before, ended = thread_count(), threading.Event()
    assert before is not None
    thread = threading.Thread(target=ended.wait)
    thread.start()
    assert thread_count() == before + 1
    ended.set()
    thread.join()
