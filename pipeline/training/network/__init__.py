"""The network: layers, the model, its cost, statistics of its outputs."""
