"""The device, the precision and the memory for frames; computations repeat their bits."""

import os
from collections.abc import Iterator

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
