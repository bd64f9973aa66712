"""Start: the state that a process begins with: saved, of a shorter run, or new.

In:   an experiment, a network with random weights, the runs of the work folder.
Out:  a state, with the network to go with it; a sentence in the run folder where another run is
its origin.
Not here: which run that is (pipeline/runs/origin.py).
"""

import logging
from pathlib import Path

from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from pipeline.config.experiment import Experiment
from pipeline.runs import origin, records
from pipeline.runs.folder import RunFolder
from pipeline.training.loop.checkpoint import (
    TrainingState,
    continue_shorter_run,
    load_best_weights,
    load_state,
)
from pipeline.training.network.model import Network
from pipeline.training.optim.first_weights import copy_fitting_layers

log = logging.getLogger(__name__)


def load_or_start(
    experiment: Experiment,
    feature_id: str,
    run: RunFolder,
    *,
    runs: Path,
    trained: tuple[Network, Optimizer, GradScaler],
) -> TrainingState:
    """Return the saved state, else the last one of the same run with fewer epochs, else a new one.

    Without a state the weights are random, or those of the run that train.init names.
    """
    network = trained[0]
    if state := load_state(run, *trained, network.fc3.weight.device):
        return state
    state, sentence = None, ""
    if shorter := origin.find_shorter_run(experiment, feature_id, runs):
        state = continue_shorter_run(shorter, run, *trained)
        sentence = shorter.sentence(continued=state is not None)
        if state is not None:
            records.copy_environments(shorter.run.path, run.path)
    if state is None and experiment.train.init:
        sentence = _load_first_weights(experiment.train.init, run, runs, network)
    if sentence:
        log.info("this run %s", sentence)
        origin.write_sentence(run, sentence)
    return state or TrainingState.initial(network.fc3.out_features)


def _load_first_weights(init: str, run: RunFolder, runs: Path, network: Network) -> str:
    """Return a sentence with the layers that got the weights of the run and those that did not."""
    source = origin.find_source_run(init, runs)
    same_letters = origin.has_same_letters(source, run)
    weights = load_best_weights(source, network.fc3.weight.device)
    fitting, others = copy_fitting_layers(network, weights, same_letters=same_letters)
    sentence = f"starts from the weights of run {source.run_id} in {', '.join(fitting) or 'none'}"
    if others:
        sentence += f"; random: {', '.join(others)}, which do not fit"
    return sentence if same_letters else f"{sentence}; the letters of the output differ"
