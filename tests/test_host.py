"""Means: CPUs that a run may use, whoever limits them; the workers that its profile wishes."""

import os
from pathlib import Path

import pytest

from jobs.node.training_task import RunResources
from jobs.profile import load_profile
from pipeline import host
from pipeline.host import available_cpus, free_memory_bytes


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
def test_cpus_are_those_of_control_groups_of_version_1_too(tmp_path: Path):
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


def test_free_memory_is_that_of_the_tightest_control_group_and_includes_its_page_cache(
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
