"""Where frames fit: on the device, in memory, or only in their shards."""

from pathlib import Path

import pytest
import torch

from pipeline import host
from pipeline.host import free_memory_bytes
from pipeline.training.loop import devices
from pipeline.training.loop.devices import select_frame_device

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def eight_gb_and_a_gpu_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory_bytes", lambda: 8 * 10**9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 10**9, 10**10))


@pytest.mark.parametrize(
    ("gb", "most", "on_cpu", "on_gpu"),
    [
        (0.4, None, CPU, GPU),
        (0.6, None, CPU, CPU),
        (1.9, None, CPU, CPU),
        (2.1, None, None, None),
        (2.1, 3.0, CPU, GPU),
        (0.4, 0.1, None, None),
        (0.4, 0.0, None, None),
    ],
)
def test_frames_lie_where_a_quarter_of_what_is_free_holds_them(
    gb: float, most: float | None, on_cpu: torch.device | None, on_gpu: torch.device | None
):
    assert select_frame_device(CPU, int(gb * 1e9), most) == on_cpu
    assert select_frame_device(GPU, int(gb * 1e9), most) == on_gpu


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


def test_the_tightest_control_group_above_decides_and_its_page_cache_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(host, "CGROUP_ROOT", tmp_path)
    own = tmp_path / "cgroup"
    monkeypatch.setattr(host, "OWN_CGROUPS_FILE", own)
    own.write_text("0::/slurm/job_7/task\n")
    names = host.CGROUP_MEMORY_FILES[""]
    group(tmp_path / "slurm" / "job_7" / "task", names, "max", 10, 0)
    group(tmp_path / "slurm" / "job_7", names, "1000", 700, 600)
    group(tmp_path / "slurm", names, "5000", 4500, 500)
    assert free_memory_bytes() == 900
    own.write_text("4:memory:/job\n2:cpu:/job\n")
    group(tmp_path / "memory" / "job", host.CGROUP_MEMORY_FILES["memory"], "3000", 2000, 1)
    assert free_memory_bytes() == 1001


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says how much is free")
def test_what_is_free_is_less_than_what_there_is(monkeypatch: pytest.MonkeyPatch):
    text = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in text if line.startswith("MemTotal"))
    assert 0 < free_memory_bytes() < total * 1024
