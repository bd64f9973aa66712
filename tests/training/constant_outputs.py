"""Small corpora, and torch's forward-backward of outputs that are the same in every frame."""

import itertools

import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional


def forward_backward(
    probabilities: np.ndarray, frames: list[int], labels: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return losses and class occupancies of a constant output, by torch's kernel in float64."""
    logits = torch.tensor(np.log(probabilities)).expand(max(frames), len(labels), -1)
    logits = logits.clone().requires_grad_()
    losses = functional.ctc_loss(
        logits.log_softmax(-1),
        torch.tensor([c for y in labels for c in y]),
        torch.tensor(frames),
        torch.tensor([len(y) for y in labels]),
        reduction="none",
    )
    losses.sum().backward()
    assert logits.grad is not None
    occupancy = sum(frames) * probabilities - logits.grad.sum((0, 1)).numpy()
    return losses.detach().numpy(), occupancy


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Frames and labels of a few short utterances that can be aligned."""
    labels = draw(
        st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=8), min_size=1, max_size=5)
    )
    frames = [
        2 * len(y) - len(list(itertools.groupby(y))) + draw(st.integers(0, 40)) for y in labels
    ]
    return frames, labels
