"""Masks and reversal, written out."""

import torch

from pipeline.training.network.masks import make_valid_mask, reorder_time, reversed_time_indices


def test_the_mask_is_true_on_the_frames_of_each_utterance():
    assert make_valid_mask(torch.tensor([2, 3, 0]), 3).tolist() == [
        [True, True, False],
        [True, True, True],
        [False, False, False],
    ]


def test_each_utterance_is_reversed_within_its_own_length():
    x = torch.arange(14.0).view(2, 7, 1)
    turned = reorder_time(x, reversed_time_indices(torch.tensor([7, 3]), 7))[..., 0].tolist()
    assert turned == [[6, 5, 4, 3, 2, 1, 0], [9, 8, 7, 10, 11, 12, 13]]
