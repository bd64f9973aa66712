"""SpeechBrain: its HDF5 feature cache, filled item by item; its trainer.

In:   a manifest.   Out: jobs. Log-mel-80 (its Fbank: decibels, top 80), float32.
Not here: the other toolkits.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.child import Job
from tests.benchmarks.shares import WORKERS, dealt, in_processes, sounds
from tests.benchmarks.turns import turn


def features(scratch: Path, *, manifest_file: str) -> Job:
    """CachedHDF5DynamicItem, one file per process."""
    import speechbrain.integrations.hdf5.cached_item
    import speechbrain.lobes.features  # noqa: F401
    import torch

    torch.set_num_threads(1)
    shares = dealt(sounds(manifest_file), WORKERS)

    def job(folder: Path) -> None:
        jobs = [(folder / str(n), share) for n, share in enumerate(shares)]
        in_processes(_fill, jobs)

    return job


def _fill(folder: Path, items: Sequence[tuple[str, Path]]) -> int:
    import torch
    from speechbrain.dataio.dataio import read_audio
    from speechbrain.integrations.hdf5.cached_item import CachedHDF5DynamicItem
    from speechbrain.lobes.features import Fbank
    from speechbrain.utils.data_pipeline import provides, takes

    fbank = Fbank(n_mels=80, n_fft=512, win_length=25, hop_length=10)
    folder.mkdir()

    @CachedHDF5DynamicItem.cache(os.fspath(folder))
    @takes("id", "wav")
    @provides("frames")
    def frames(_: str, wav: str):
        with torch.no_grad():
            return fbank(read_audio(wav)[None])[0].numpy()

    for name, path in items:
        frames(name, os.fspath(path))
    frames.hdf5file.close()
    return len(items)


def fit(scratch: Path, *, manifest_file: str, changes: Mapping[str, Any]) -> Job:
    """Brain.fit with our network, loss and batches.

    Its frames lie in memory too, ready; its recipes compute them from sound in every epoch.
    """
    import logging

    import speechbrain
    import torch
    from speechbrain.dataio.batch import PaddedBatch
    from speechbrain.dataio.dataloader import SaveableDataLoader

    from pipeline.training import batches
    from tests.benchmarks.training import WARMING, loss, prepared

    logging.disable(logging.WARNING)
    trainer = prepared(scratch, manifest_file, changes)
    split, settings = trainer.splits.train, trainer.experiment.train
    order = [places.tolist() for places in batches.order(split.lengths, settings, epoch=1)]

    class Brain(speechbrain.Brain):
        def compute_forward(self, batch, stage):
            return None  # loss() takes the network's outputs with their exact lengths

        def compute_objectives(self, _, batch, stage):
            frames, shares = batch.frames
            targets, target_shares = batch.targets
            lengths = (shares * frames.shape[1]).round().long()
            target_lengths = (target_shares * targets.shape[1]).round().long()
            return loss(self.modules.network, frames, lengths, targets, target_lengths)

        def on_fit_batch_start(self, batch, should_step):
            turn()

    items = [_item(split, place) for place in range(len(split))]
    loader = SaveableDataLoader(items, batch_sampler=order, collate_fn=PaddedBatch)
    warming = SaveableDataLoader(items, batch_sampler=order[:WARMING], collate_fn=PaddedBatch)
    brain = Brain(
        {"network": trainer.recogniser.network},
        lambda parameters: torch.optim.AdamW(parameters, 1e-3),
        run_opts={"device": "cpu", "noprogressbar": True, "max_grad_norm": 1.0},
    )
    brain.fit(range(1), warming)

    def job(folder: Path) -> dict[str, float]:
        brain.fit(range(1), loader)
        return {"amount": len(split)}

    return job


def _item(split: Any, place: int) -> dict[str, Any]:
    import numpy as np
    import torch

    frames = split.batch(np.array([place])).frames[0]
    return {"id": str(place), "frames": frames, "targets": torch.tensor(split.labels[place])}
