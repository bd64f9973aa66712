"""Outputs: log-probabilities and hidden states of a run for a corpus, as one HDF5 file.

In:   a finished run with the feature set that it was trained on, the feature set of a corpus.
Out:  the file, which appears when it is whole.
Not here: features (pipeline/features/), text (decoding/).

The rows are the output steps of all utterances, one utterance after the other:

    log_probabilities (rows, classes) float32: natural logarithms of the probabilities
    hidden            (rows, units) float32: what the output layer reads, forward units first
    offsets           (utterances + 1) int64: utterance u has rows offsets[u] to offsets[u + 1] - 1
    utterance_ids, transcripts, speakers, splits (utterances) UTF-8
    classes           (classes) UTF-8: the letter of each class; class 0, "", is the blank

Attributes of the file: run_id, feature_id, step_seconds (of sound, from one row to the next),
version, complete. Each dataset has the attribute crc32, of its bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from zlib_ng.zlib_ng import crc32

from pipeline.features import hdf5
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import MappedFrames
from pipeline.training.data.normalisation import fit_affine_map, make_normaliser, normalise_alone
from pipeline.training.loop import devices
from pipeline.training.loop.devices import Device
from pipeline.training.loop.evaluator import Evaluator
from pipeline.training.loss import ctc
from pipeline.training.trained.trained_run import BATCH_UTTERANCES, TrainedRun, step_seconds

Progress = Callable[[int, int], None]  # finished utterances, all utterances


def write_outputs(
    path: Path,
    run: RunFolder,
    trained_on: FeatureSet,
    features: FeatureSet,
    splits: Sequence[str],
    *,
    device: Device = "auto",
    threads: int = 1,
    report: Progress = lambda done, count: None,
) -> None:
    """Write the outputs of a run for some splits of a corpus. InputError if they are empty."""
    torch.set_num_threads(threads)
    trained = TrainedRun.load(run, trained_on, devices.select_device(device))
    utterances = tuple(u for u in features.utterances if u.split in splits)
    if not utterances:
        have = ", ".join(sorted({u.split for u in features.utterances}))
        raise InputError(
            f"{features.folder}: has no utterance in {' or '.join(splits)}, only {have}"
        )
    split = _make_split(trained, trained_on, features, utterances)
    steps: np.ndarray = trained.network.output_length(split.lengths)
    network = trained.network
    widths = {"log_probabilities": network.fc3.out_features, "hidden": network.fc3.in_features}
    with hdf5.create_file(path) as file:
        datasets = {
            name: hdf5.create_dataset(file, name, (int(steps.sum()), width), np.dtype("<f4"))
            for name, width in widths.items()
        }
        first, checksums = 0, dict.fromkeys(widths, 0)
        for done, rows in enumerate(_outputs(trained, split), 1):
            for name, each in rows.items():
                datasets[name][first : first + len(each)] = each
                checksums[name] = crc32(each.tobytes(), checksums[name])
            first += len(rows["hidden"])
            report(done, len(utterances))
        for name, dataset in datasets.items():
            hdf5.write_checksum(dataset, checksums[name])
        hdf5.write_dataset(file, "offsets", np.cumsum([0, *steps]).astype("<i8"))
        texts = {
            "utterance_ids": [u.id for u in utterances],
            "transcripts": [u.transcript for u in utterances],
            "speakers": [u.speaker for u in utterances],
            "splits": [u.split for u in utterances],
            "classes": ["", *trained.alphabet.units],
        }
        for name, values in texts.items():
            hdf5.write_dataset(file, name, hdf5.fixed_length_strings(values))
        file.attrs["step_seconds"] = step_seconds(trained.experiment, network)
        hdf5.mark_complete(file, run_id=run.run_id, feature_id=features.feature_id)


def _make_split(
    trained: TrainedRun,
    trained_on: FeatureSet,
    features: FeatureSet,
    utterances: tuple[StoredUtterance, ...],
) -> SplitData:
    """Return the utterances, normalised as the network's training was.

    Statistics of the training split are those of the run's own corpus; those of an utterance or a
    speaker are of the corpus that is read.
    """
    settings = trained.experiment.input
    normalise = (
        make_normaliser(settings, features, utterances)
        if settings.normalisation == "speaker"
        else normalise_alone(settings, fit_affine_map(settings, trained_on))
    )
    store = MappedFrames(features, utterances, normalise, settings.stack)
    return SplitData("outputs", utterances, ((),) * len(utterances), store, settings.stack)


def _outputs(trained: TrainedRun, split: SplitData) -> Iterator[dict[str, np.ndarray]]:
    """Yield the rows of each dataset for one utterance after the other."""
    evaluator = Evaluator(trained.network, trained.alphabet, trained.device)
    hidden: list[Tensor] = []

    def keep_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden.append(inputs[0])

    handle = trained.network.fc3.register_forward_pre_hook(keep_input)
    try:
        for first in range(0, len(split), BATCH_UTTERANCES):
            batch = split.make_batch(np.arange(first, min(first + BATCH_UTTERANCES, len(split))))
            with torch.no_grad():
                output = evaluator.run_network(batch)
                logs_BSC = ctc.log_probabilities(output.logits).float().cpu().numpy()
            hidden_BSH = hidden.pop().float().cpu().numpy()
            for place, steps in enumerate(output.lengths.tolist()):
                yield {
                    "log_probabilities": logs_BSC[place, :steps],
                    "hidden": hidden_BSH[place, :steps],
                }
    finally:
        handle.remove()
