"""Cost: the parameters and multiply-adds of a network, known before it is trained.

In:   a network, a number of input frames.   Out: parameters and multiply-adds of each layer.
Not here: seconds, which are measured (tests/benchmarks/).
"""

from dataclasses import dataclass

from torch import nn

from pipeline.training.network.model import Network


@dataclass(frozen=True)
class Cost:
    parameters: int = 0
    multiply_adds: int = 0  # of a forward pass; a backward pass takes twice as many

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


def layer_costs(network: Network, frames: int) -> dict[str, Cost]:
    """Return the cost of each layer for one utterance of `frames` input frames.

    The multiply-adds of norms are not counted: they are too few to matter.
    """
    bins, found = network.bins, {}
    for n, convolution in enumerate(network.convolutions):
        in_time, in_frequency = network.strides[n]
        frames, bins = -(-frames // in_time), -(-bins // in_frequency)
        found[f"convolution {n + 1}"] = _layer_cost(convolution, frames * bins)
    layers: dict[str, nn.Module] = {"fc1": network.fc1, "fc2": network.fc2}
    layers |= {f"recurrent {n}": layer for n, layer in enumerate(network.recurrent, 1)}
    if network.lookahead is not None:
        layers["look-ahead"] = network.lookahead
    layers["fc3"] = network.fc3
    found |= {name: _layer_cost(layer, frames) for name, layer in layers.items()}
    return found | {"norms": _layer_cost(network.norms, 0)}


def network_cost(network: Network, frames: int) -> Cost:
    """Return the cost of the whole network for one utterance of `frames` input frames."""
    return sum(layer_costs(network, frames).values(), Cost())


def _layer_cost(layer: nn.Module, positions: int) -> Cost:
    """A layer uses each weight once per output position, and biases only add."""
    parameters = list(layer.parameters())
    weights = sum(p.numel() for p in parameters if p.ndim > 1)
    return Cost(sum(p.numel() for p in parameters), weights * positions)
