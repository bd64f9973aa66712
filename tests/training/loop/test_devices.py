"""The device, the precision and the memory for frames; computations repeat their bits."""

import os
from collections.abc import Callable, Iterator

import pytest
import torch

from pipeline.config.network import ModelSettings
from pipeline.files import InputError
from pipeline.training.loop import devices
from pipeline.training.network.model import Network
from tests.training.ctc_loss import ctc_loss

CPU, GPU = torch.device("cpu"), torch.device("cuda")
DEVICES = [CPU, GPU] if torch.cuda.is_available() else [CPU]


@pytest.fixture(autouse=True)
def _restore_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.benchmark = benchmark
    torch.use_deterministic_algorithms(False)


def test_a_gpu_becomes_deterministic_and_a_later_run_can_undo_it():
    devices.set_deterministic(True, GPU)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.benchmark
    devices.set_deterministic(False, GPU)
    assert not torch.are_deterministic_algorithms_enabled()


def test_on_a_cpu_nothing_changes():
    devices.set_deterministic(True, CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ""


def test_the_environment_records_whether_a_run_is_deterministic():
    assert devices.describe_environment(CPU)["deterministic"]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize(
    "variant",
    [
        {"batch_norm": "sequence", "layers": 2},
        {"convolutions": 2, "batch_norm": "input", "cell": "relu", "clamp": 0.2},
        {"bidirectional": False, "lookahead": 4, "layer_norm": True, "cell": "gru"},
    ],
    ids=str,
)
def test_each_operation_of_an_update_has_a_deterministic_kernel_and_repeats_its_bits(
    variant: dict[str, object], device: torch.device
):
    gradients = []
    devices.set_deterministic(True, device)
    torch.use_deterministic_algorithms(True)  # on the CPU too: torch raises without such a kernel
    for _ in range(2):
        torch.manual_seed(0)
        network = Network(ModelSettings(fc1=16, fc2=16, hidden=16, **variant), 8, 1, 12).to(device)
        x, lengths = torch.randn(4, 40, 8).to(device), torch.tensor([40, 31, 22, 9], device=device)
        targets = torch.tensor([1, 2, 2, 3], device=device)
        ones = torch.ones(4, dtype=torch.int64, device=device)
        output = network(x, lengths)
        ctc_loss(output.logits, output.lengths, targets, ones).sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_seed_torch_gives_the_draws_of_manual_seed():
    devices.seed_torch(2**63 + 5, CPU)
    one = torch.rand(3)
    torch.manual_seed(2**63 + 5)
    assert torch.equal(one, torch.rand(3))


def test_a_cpu_refuses_float16_in_one_line():
    with pytest.raises(InputError, match=r"^train\.precision float16: .* set it to float32 or bf"):
        devices.select_dtype("float16", CPU)
    assert devices.select_dtype("float16", GPU) == torch.float16
    assert devices.select_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("gb", "max_gb", "on_cpu", "on_gpu"),
    [
        (0.4, None, CPU, GPU),
        (0.5, None, CPU, GPU),
        (2.0, None, CPU, CPU),
        (0.6, None, CPU, CPU),
        (1.9, None, CPU, CPU),
        (2.1, None, None, None),
        (2.1, 3.0, CPU, GPU),
        (3.0, 3.0, CPU, GPU),
        (0.4, 0.1, None, None),
        (0.4, 0.0, None, None),
    ],
)
def test_frames_go_where_they_fit(
    gb: float,
    max_gb: float | None,
    on_cpu: torch.device | None,
    on_gpu: torch.device | None,
    monkeypatch: pytest.MonkeyPatch,
):
    """8 GB of host memory and 2 GB of GPU memory are free; a quarter of each may be used."""
    monkeypatch.setattr(devices, "free_memory_bytes", lambda: 8 * 10**9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 10**9, 10**10))
    assert devices.select_frame_device(CPU, int(gb * 1e9), max_gb) == on_cpu
    assert devices.select_frame_device(GPU, int(gb * 1e9), max_gb) == on_gpu


ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
V100, T4, L40, NEXT = (7, 0), (7, 5), (8, 9), (13, 0)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`fake_gpu((7, 0))`: torch finds one GPU of this compute capability; the CPU computes."""

    def make(capability: tuple[int, int] = T4, error: Exception | None = None) -> None:
        def init() -> None:
            if error:
                raise error

        for name, value in {
            "init": init,
            "is_available": lambda: error is None,
            "device_count": lambda: 1,
            "get_device_name": lambda *_: "Tesla V100",
            "get_device_capability": lambda *_: capability,
            "get_arch_list": lambda: ARCHITECTURES,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        on_cpu = torch.ones(8)
        monkeypatch.setattr(torch, "ones", lambda _, device: on_cpu)

    return make


@pytest.mark.parametrize("capability", [T4, L40, NEXT])
def test_a_gpu_that_the_build_has_code_for_is_used(fake_gpu, capability):
    fake_gpu(capability)
    assert devices.gpu_problems() == []
    assert devices.select_device("auto") == GPU
    assert devices.select_device("cuda") == GPU


def test_a_gpu_without_code_in_the_build_is_refused_and_the_way_out_named(fake_gpu, caplog):
    fake_gpu(V100)
    (problem,) = devices.gpu_problems()
    assert problem.startswith("Tesla V100 has compute capability 7.0, and this torch has code for")
    assert "make setup TORCH=cu126 installs another build" in problem
    with pytest.raises(devices.UnusableGpuError, match=r"compute capability 7\.0"):
        devices.select_device("cuda")
    assert devices.select_device("auto") == CPU
    assert "trains on the CPU: Tesla V100" in caplog.text


def test_a_driver_that_is_too_old_is_told_with_the_build_that_it_runs(fake_gpu):
    fake_gpu(error=RuntimeError(  # as torch 2.11 writes it
        "The NVIDIA driver on your system is too old (found version 12040). Please update your "
        "GPU driver by downloading and installing a new version."
    ))  # fmt: skip
    (problem,) = devices.gpu_problems()
    assert "too old (found version 12040)" in problem
    assert "This build needs CUDA 13.0: make setup TORCH=cu126 installs another build" in problem


def test_a_kernel_that_fails_and_a_build_for_the_cpu_are_refused(fake_gpu, monkeypatch):
    fake_gpu()

    def fail(*_: int, device: torch.device) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nmore lines")

    monkeypatch.setattr(torch, "ones", fail)
    (problem,) = devices.gpu_problems()
    assert (
        problem == "Tesla V100: a first computation fails: CUDA error: no kernel image is available"
    )
    monkeypatch.setattr(torch.version, "cuda", None)
    (problem,) = devices.gpu_problems()
    assert "is built for the CPU: make setup TORCH=auto installs another build" in problem
    with pytest.raises(devices.UnusableGpuError):
        devices.select_device("cuda")


def test_an_apple_gpu_is_not_used_and_the_log_says_why(monkeypatch, caplog):
    """CTC has no operator there in most versions of torch, so a run would end with an error."""
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.select_device("auto") == CPU
    assert "trains on the CPU: Apple's GPU (MPS) is not used, because most" in caplog.text
    with pytest.raises(devices.UnusableGpuError, match="on a Mac device is cpu or auto"):
        devices.select_device("cuda")
