"""Fit: one call trains a run, from its start or from where an earlier call stopped.

In:   an experiment, its features, its run folder, the resources of the process.
Out:  the run folder, with the environment of this attempt.
Not here: epochs and the test (trainer.py).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from pipeline.config.experiment import Experiment
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import Heartbeat, RunFolder
from pipeline.runs.rows import Row
from pipeline.training.loop import devices
from pipeline.training.loop.devices import Device
from pipeline.training.loop.trainer import Trainer


def fit(
    experiment: Experiment,
    features: FeatureSet,
    run: RunFolder,
    *,
    device: Device = "auto",
    threads: int | None = None,
    workers: int = 0,
    resident_gb: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_heartbeat: Callable[[Heartbeat], None] = lambda heartbeat: None,
    before_epoch: Callable[[Sequence[Row]], None] = lambda rows: None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train, evaluate after each epoch, and test once; continue where an earlier call stopped.

    Frames stay in memory if they need at most `resident_gb` GB (None: devices.py decides); else
    `workers` processes read them from the shards (0: a thread). No row depends on either.
    `should_stop` is called before each batch: if it returns True, `fit` saves and raises Stopped.
    `before_epoch` is called with the rows before an epoch; it may raise. `provenance`: of the code.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch_device = devices.select_device(device)
    devices.set_deterministic(experiment.train.deterministic, torch_device)
    environment = {**devices.describe_environment(torch_device), **(provenance or {})}
    run.write_environment({**environment, "features_engine": features.engine})
    heartbeat = (run.heartbeat() or Heartbeat()).with_this_process("running", "reading frames")
    on_heartbeat(replace(heartbeat, epochs=experiment.train.epochs))
    trainer = Trainer.prepare(
        experiment, features, run, torch_device, workers=workers, resident_gb=resident_gb
    )
    trainer.should_stop, trainer.on_heartbeat = should_stop, on_heartbeat
    with closing(trainer.loggers), trainer.train_loader.supervise_workers():
        while not trainer.is_trained:
            if not trainer.state.position:
                before_epoch(trainer.state.rows)
            trainer.train_epoch()
            trainer.finish_epoch()
        trainer.evaluate_test_split()
