"""The network of a finished run, and its log-probabilities.

In:   a run folder, utterances of a feature set.   Out: log-probabilities of each utterance.
Not here: training (training/loop/), decoding the log-probabilities (decoding/).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import Alphabet, resolve_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.state import require_finished
from pipeline.shapes import Float32
from pipeline.training.data.batches import SplitData
from pipeline.training.loop.checkpoint import load_best_weights
from pipeline.training.loop.evaluator import Evaluator
from pipeline.training.loss import ctc
from pipeline.training.network.model import Network

BATCH_UTTERANCES = 32  # the batch size changes no result


@dataclass(frozen=True)
class TrainedRun:
    """The weights that a run chose on dev, ready to be applied."""

    experiment: Experiment
    alphabet: Alphabet
    network: Network  # in evaluation mode
    device: torch.device

    @classmethod
    def load(cls, run: RunFolder, features: FeatureSet, device: torch.device) -> "TrainedRun":
        """Load a finished run; InputError where it is not finished, damaged or of another version.

        `features` is the feature set that it was trained on.
        """
        require_finished(run)
        experiment = run.experiment()
        alphabet = resolve_alphabet(experiment.alphabet, features.utterances)
        network = Network(experiment.model, features.bins, experiment.input.stack, alphabet.size)
        weights = load_best_weights(run, device)
        try:
            network.load_state_dict(weights)
        except RuntimeError:
            raise InputError(
                f"{run.experiment_file}: its model does not fit the weights in {run.state_file}: "
                f"one of them has changed; restore it, or delete {run.path} to train the run again"
            ) from None
        return cls(experiment, alphabet, network.to(device).eval(), device)

    @property
    def step_seconds(self) -> float:
        return step_seconds(self.experiment, self.network)

    def split(self, features: FeatureSet, name: str) -> SplitData:
        """Return one split, normalised as in training."""
        return SplitData.from_shards(features, name, self.experiment.input, self.alphabet)

    def log_probabilities(
        self, split: SplitData
    ) -> Iterator[tuple[StoredUtterance, Float32[np.ndarray, "_ _"]]]:
        """Yield each utterance of the split, in its order, with its log-probabilities in nats."""
        evaluator = Evaluator(self.network, self.alphabet, self.device)
        for first in range(0, len(split), BATCH_UTTERANCES):
            places = np.arange(first, min(first + BATCH_UTTERANCES, len(split)))
            batch = split.make_batch(places)
            with torch.no_grad():
                output = evaluator.run_network(batch)
                logs_BSC = ctc.log_probabilities(output.logits).float().cpu().numpy()
            for utterance, logs_SC, steps in zip(
                batch.utterances, logs_BSC, output.lengths.tolist(), strict=True
            ):
                yield utterance, logs_SC[:steps]


def step_seconds(experiment: Experiment, network: Network) -> float:
    """Return the seconds of sound between two output steps."""
    frames = 9000 / network.output_length(9000)  # divisible by every product of strides
    return experiment.input.stack * experiment.features.hop_ms / 1000 * frames
