"""SpeechBrain: its HDF5 feature cache, filled item by item; its trainer.

In:   a manifest.   Out: jobs. Log-mel-80 (its Fbank: decibels, top 80), float32.
Not here: other toolkits.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.shares import WORKER_COUNT, audio_paths, run_in_processes, split_among_workers
from tests.benchmarks.turns import yield_turn


def speechbrain_features(scratch: Path, *, manifest_file: str) -> BenchmarkJob:
    """Fill a CachedHDF5DynamicItem, one file per process."""
    import speechbrain.integrations.hdf5.cached_item
    import speechbrain.lobes.features  # noqa: F401
    import torch

    torch.set_num_threads(1)
    shares = split_among_workers(audio_paths(manifest_file), WORKER_COUNT)

    def job(folder: Path) -> None:
        jobs = [(folder / str(n), share) for n, share in enumerate(shares)]
        run_in_processes(_fill_cache, jobs)

    return job


def _fill_cache(folder: Path, items: Sequence[tuple[str, Path]]) -> int:
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


def speechbrain_fit(
    scratch: Path, *, manifest_file: str, changes: Mapping[str, Any], ready: bool = False
) -> BenchmarkJob:
    """Train with Brain.fit, with our network, loss and batches.

    As in its recipes, it reads the audio and computes its Fbank in every epoch. With `ready` its
    frames are in memory, as ours are.
    """
    import logging

    import speechbrain
    import torch
    from speechbrain.dataio.batch import PaddedBatch
    from speechbrain.dataio.dataloader import SaveableDataLoader
    from speechbrain.lobes.features import Fbank

    from pipeline.training.data import epoch_plan
    from tests.benchmarks.training import (
        WARM_UP_BATCHES,
        bare_loss,
        prepare_trainer,
        without_saturation_counts,
    )

    logging.disable(logging.WARNING)
    trainer = prepare_trainer(scratch, manifest_file, changes)
    split, settings = trainer.splits.train, trainer.experiment.train
    order = [
        places.tolist() for places in epoch_plan.order_batches(split.lengths, settings, epoch=1)
    ]

    class Brain(speechbrain.Brain):
        def compute_forward(self, batch, stage):
            shown, shares = batch.shown
            if not ready:
                with torch.no_grad():
                    shown = self.modules.fbank(shown)
                lengths = (shares * shown.shape[1]).round().long()
                return _stack_frames(shown, split.stack), -(-lengths // split.stack)
            return shown, (shares * shown.shape[1]).round().long()

        def compute_objectives(self, shown, batch, stage):
            targets, target_shares = batch.targets
            target_lengths = (target_shares * targets.shape[1]).round().long()
            return bare_loss(self.modules.network, *shown, targets, target_lengths)

        def on_fit_batch_start(self, batch, should_step):
            yield_turn()

    items = (
        _frames_dataset(split) if ready else _audio_dataset(split, dict(audio_paths(manifest_file)))
    )
    loader = SaveableDataLoader(items, batch_sampler=order, collate_fn=PaddedBatch)
    warming = SaveableDataLoader(
        items, batch_sampler=order[:WARM_UP_BATCHES], collate_fn=PaddedBatch
    )
    brain = Brain(
        {
            "network": without_saturation_counts(trainer),
            "fbank": Fbank(n_mels=80, n_fft=512, win_length=25, hop_length=10),
        },
        lambda parameters: torch.optim.AdamW(parameters, 1e-3, fused=True),  # as in the other cases
        run_opts={"device": "cpu", "noprogressbar": True, "max_grad_norm": 1.0},
    )
    brain.fit(range(1), warming)

    def job(folder: Path) -> dict[str, float]:
        brain.fit(range(1), loader)
        return {"amount": len(split)}

    return job


def _stack_frames(frames: Any, stack: int) -> Any:
    import torch

    left = -frames.shape[1] % stack
    return torch.nn.functional.pad(frames, (0, 0, 0, left)).view(len(frames), -1, 80 * stack)


def _audio_dataset(split: Any, paths: Mapping[str, Path]) -> Any:
    import torch
    from speechbrain.dataio.dataio import read_audio
    from speechbrain.dataio.dataset import DynamicItemDataset
    from speechbrain.utils.data_pipeline import provides, takes

    @takes("wav")
    @provides("shown")
    def read(wav: str):
        return read_audio(wav)

    labels = {
        u.id: torch.tensor(one) for u, one in zip(split.utterances, split.labels, strict=True)
    }
    items = {name: {"wav": os.fspath(paths[name]), "targets": one} for name, one in labels.items()}
    return DynamicItemDataset(items, [read], ["id", "shown", "targets"])


def _frames_dataset(split: Any) -> list[dict[str, Any]]:
    import numpy as np
    import torch

    return [
        {
            "id": str(n),
            "shown": split.make_batch(np.array([n])).frames[0],
            "targets": torch.tensor(one),
        }
        for n, one in enumerate(split.labels)
    ]
