"""Averages of weights against torch's own and against NumPy's; batch norm measured anew."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from pipeline.config.network import ModelSettings
from pipeline.training.network.model import Network
from pipeline.training.network.normalisation import InputTermNorm
from pipeline.training.optim.averaging import (
    copy_weights,
    ema_factor,
    mean_weights,
    measure_batch_norm,
    update_ema,
)

DECAY = 0.9
Padded = tuple[Tensor, Tensor]


def make_network(batch_norm: str = "input") -> Network:
    torch.manual_seed(0)
    sizes = {"fc1": 6, "fc2": 6, "hidden": 5, "layers": 2, "dropout": 0.3}
    return Network(ModelSettings.model_validate({**sizes, "batch_norm": batch_norm}), 4, 1, 3)


def make_batches() -> list[Padded]:
    lengths = [torch.tensor([7, 3, 5]), torch.tensor([6, 6]), torch.tensor([2, 4, 1, 7])]
    return [(torch.randn(len(each), 7, 4) * 2 + 1, each) for each in lengths]


def change(network: nn.Module) -> None:
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor).abs())
            else:
                tensor.add_(1)


def test_a_moving_average_is_torchs_statistics_of_batch_norm_included():
    network = make_network()
    judge = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    average = copy_weights(network)
    judge.update_parameters(network)  # its first update is a copy
    for _ in range(5):
        change(network)
        update_ema(average, network, DECAY)
        judge.update_parameters(network)
    expected = judge.module.state_dict()
    counters = [name for name in average if name.endswith("num_batches_tracked")]
    for name in average.keys() - counters:
        torch.testing.assert_close(average[name], expected[name])
    assert counters
    assert all(average[name] == network.state_dict()[name] == 5 for name in counters)


def test_the_first_updates_leave_little_of_the_first_weights():
    factors = [ema_factor(0.999, update) for update in (1, 8, 80, 10_000)]
    assert factors == pytest.approx([2 / 11, 0.5, 0.9, 0.999])


def test_a_mean_of_epochs_is_numpys_and_leaves_the_epochs_unchanged():
    network, epochs = make_network(), []
    for _ in range(3):
        change(network)
        epochs.append(copy_weights(network))
    found, before = mean_weights(epochs), [each["fc1.weight"].clone() for each in epochs]
    expected = np.mean([each["fc1.weight"].numpy().astype(np.float64) for each in epochs], 0)
    np.testing.assert_allclose(found["fc1.weight"].numpy(), expected, rtol=1e-7)
    assert found["fc1.weight"].dtype == torch.float32
    assert found["norms.0.norm.num_batches_tracked"] == 3
    assert all(torch.equal(each["fc1.weight"], b) for each, b in zip(epochs, before, strict=True))


@pytest.mark.parametrize("kind", ["input", "input-unmasked"])
def test_measured_statistics_are_those_of_torchs_update_bn(kind: str):
    batches, ours, torchs = make_batches(), make_network(kind), make_network(kind)

    class OneInput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torchs

        def forward(self, number: Tensor) -> Tensor:
            return self.network(*batches[int(number)]).logits

    judge = OneInput()
    torchs.dropout.p = 0.0  # update_bn leaves dropout on, which changes the statistics
    for network in (ours, torchs):
        network.norms[0].norm.running_mean.fill_(99.0)  # of other weights
    measure_batch_norm(ours, batches, lambda batch: ours(*batch))
    update_bn([torch.tensor(n) for n in range(len(batches))], judge)
    for name, found in ours.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(found, torchs.state_dict()[name])
    assert not ours.training
    assert {each.norm.momentum for each in ours.norms} == {0.1}


def test_measured_statistics_of_a_recurrent_layer_are_means_over_batches():
    batches, network = make_batches(), make_network("sequence")
    direction = network.recurrent[0].directions[0]
    terms: list[Tensor] = []

    def record(norm: InputTermNorm, inputs: tuple[Tensor, ...]) -> None:
        x_BTF, mask_BT, weight_GF, _ = inputs
        terms.append(x_BTF[mask_BT] @ weight_GF.T)

    direction.norm.register_forward_pre_hook(record)
    measure_batch_norm(network, batches, lambda batch: network(*batch))
    assert [len(each) for each in terms] == [15, 12, 14]
    mean = torch.stack([each.mean(0) for each in terms]).mean(0)
    variance = torch.stack([each.var(0) for each in terms]).mean(0)
    torch.testing.assert_close(direction.norm.running_mean, mean)
    torch.testing.assert_close(direction.norm.running_var, variance)


def test_without_batch_norm_no_batch_is_taken():
    network = make_network("none")
    before = copy_weights(network)
    measure_batch_norm(network, iter(make_batches()), lambda batch: pytest.fail("a batch was run"))
    torch.testing.assert_close(copy_weights(network), before)
