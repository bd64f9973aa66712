"""First weights: those of another network, in the layers that fit.

In:   a network, the weights of another one.   Out: the network, and which layers got them.
Not here: which run they come from (pipeline/runs/origin.py).
"""

from collections import defaultdict

from torch import nn

from pipeline.training.optim.averaging import Weights

OUTPUT_LAYER = "fc3"


def copy_fitting_layers(
    network: nn.Module, source: Weights, *, same_letters: bool
) -> tuple[list[str], list[str]]:
    """Copy each layer whose tensors all have the same names and shapes in `source`.

    The output layer fits only if both networks write the same letters. Return the names of the
    copied layers and of the others.
    """
    own, layers = network.state_dict(), defaultdict[str, list[str]](list)
    for name in own:
        layers[name.rpartition(".")[0]].append(name)
    fitting = [
        layer
        for layer, names in layers.items()
        if all(name in source and source[name].shape == own[name].shape for name in names)
        and (same_letters or layer != OUTPUT_LAYER)
    ]
    for layer in fitting:
        for name in layers[layer]:
            own[name].copy_(source[name])
    return fitting, [layer for layer in layers if layer not in fitting]
