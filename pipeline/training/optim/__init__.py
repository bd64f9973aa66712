"""Weights: the optimizer, the schedule of the learning rate, averages of weights, first weights."""
