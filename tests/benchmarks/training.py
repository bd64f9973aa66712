"""Training: an epoch with every metric on, against a bare loop over the same batches."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from pipeline.config import Corpus, Experiment, load_experiment
from pipeline.corpus.readers import build
from pipeline.features.feature_set import FeatureSet
from pipeline.features.precompute import precompute_slice, prepare
from pipeline.training import batches
from pipeline.training.run import RunFolder
from pipeline.training.trainer import Trainer

REPOSITORY = Path(__file__).resolve().parents[2]


def cases(an4: Path) -> dict[str, dict[str, Callable[[], None]]]:
    torch.set_num_threads(1)
    corpus = Corpus(name="an4", reader="an4", root=str(an4), split="espnet")
    experiment = load_experiment(
        REPOSITORY / "configs/experiments/baseline.yaml",
        {"corpus": corpus.model_dump(), "train.epochs": 1000},
    )
    folder = Path(tempfile.mkdtemp(prefix="blankslate-bench-"))
    features = _features(corpus, experiment, folder)
    trainer = Trainer.prepare(experiment, features, RunFolder(folder / "run"), torch.device("cpu"))
    return {
        "an epoch of the baseline, 848 utterances, one thread": {
            "bare loop over the same batches": lambda: bare(trainer),
            "blankslate, training": lambda: training(trainer),
            "blankslate, training and evaluation": lambda: whole(trainer),
        }
    }


def _features(corpus: Corpus, experiment: Experiment, work: Path) -> FeatureSet:
    manifest = build(corpus, work)
    identity, folder = prepare(manifest, experiment.features, work)
    for index in range(len(manifest.slices)):
        precompute_slice(manifest, index, [(experiment.features, folder, identity)])
    return FeatureSet.open(folder)


def training(trainer: Trainer) -> None:
    trainer.state.position = 0
    trainer.train_epoch()


def whole(trainer: Trainer) -> None:
    training(trainer)
    trainer.finish_epoch()


def bare(trainer: Trainer) -> None:
    """Network, loss, step; no order of its own, no masks, no metric, no text."""
    network, split = trainer.recogniser.network.train(), trainer.splits.train
    for places in batches.order(split.lengths, trainer.experiment.train, epoch=1):
        batch = split.batch(places)
        output = network(batch.frames, batch.lengths)
        loss = nn.functional.ctc_loss(
            output.logits.log_softmax(-1).transpose(0, 1),
            batch.targets,
            output.lengths,
            batch.target_lengths,
            reduction="sum",
        )
        trainer.optimiser.zero_grad()
        (loss / batch.target_lengths.sum()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        trainer.optimiser.step()
