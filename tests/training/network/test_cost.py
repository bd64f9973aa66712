"""Parameters and multiply-adds against what torch counts while a network runs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config.network import ModelSettings
from pipeline.training.network.cost import Cost, layer_costs, network_cost
from pipeline.training.network.model import Network

VARIANTS = [
    {},
    {"cell": "gru", "layers": 3},
    {"cell": "tanh", "bidirectional": False, "lookahead": 5},
    {"cell": "relu", "clamp": None, "layer_norm": True},
    {"convolutions": 1, "time_strides": (3, 1), "batch_norm": "input"},
    {"convolutions": 2, "frequency_strides": (3, 2)},
]


def network(**settings: object) -> Network:
    return Network(ModelSettings(fc1=7, fc2=8, hidden=5, **settings), 9, 2, 11).eval()


@pytest.mark.filterwarnings("ignore:TF32")  # of switching oneDNN off, whose LSTM is not counted
@pytest.mark.parametrize("frames", [1, 20])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_multiply_adds_are_half_the_operations_that_torch_counts(
    variant: dict[str, object], frames: int
):
    net = network(**variant)
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        net(torch.randn(1, frames, 18), torch.tensor([frames]))
    assert 2 * network_cost(net, frames).multiply_adds == counter.get_total_flops()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_parameters_are_counted_once_each(variant: dict[str, object]):
    net = network(**variant)
    assert network_cost(net, 1).parameters == sum(p.numel() for p in net.parameters())


def test_the_reports_network_layer_by_layer():
    net = Network(ModelSettings(), 80, 3, 38)
    assert layer_costs(net, 100) == {
        "fc1": Cost(240 * 128 + 128, 100 * 240 * 128),
        "fc2": Cost(128 * 128 + 128, 100 * 128 * 128),
        "recurrent 1": Cost(2 * 512 * (128 + 128 + 2), 100 * 2 * 512 * (128 + 128)),
        "fc3": Cost(256 * 38 + 38, 100 * 256 * 38),
        "norms": Cost(0, 0),
    }
