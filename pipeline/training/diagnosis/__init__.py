"""Tests before a training: the checks of `make doctor`, the learning-rate range test."""
