"""Tests before training: the checks of `make doctor` and the learning-rate range test."""
