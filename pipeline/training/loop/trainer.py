"""Trainer: trains an experiment on a feature set and fills the run folder.

In:   the experiment, its features, its run folder.
Out:  rows, state, hypotheses; Stopped on request, DivergedError if a loss or gradient is infinite.
Not here: one update (train_step.py), one evaluation (evaluator.py), a state (checkpoint.py).

Starting and resuming are the same call. All random draws are seeded with (seed, epoch, update), so
that a run that was stopped or killed continues to bit-identical rows (except times) and weights.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch.amp.grad_scaler import GradScaler

from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import resolve_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.runs.folder import EpochReport, Heartbeat, RunFolder, Stopped
from pipeline.runs.plateau import describe_status, selection_key
from pipeline.runs.rows import Row
from pipeline.training.data import batches
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import resident_bytes
from pipeline.training.data.loader import BatchLoader
from pipeline.training.loop import checkpoint, devices
from pipeline.training.loop.checkpoint import BestEpoch, TrainingProgress, TrainingState
from pipeline.training.loop.devices import Device, gpu_names, gpu_problems
from pipeline.training.loop.evaluator import Evaluator, drop_nonfinite
from pipeline.training.loop.loggers import RunLoggers
from pipeline.training.loop.metrics import EpochMetrics, Evaluation
from pipeline.training.loop.optimizer import make_optimizer
from pipeline.training.loop.splits import Splits
from pipeline.training.loop.train_step import DivergedError, TrainStep, fold_seed, require_updates
from pipeline.training.loss import reference_loss
from pipeline.training.network.model import Network

__all__ = ["DivergedError", "fit", "gpu_names", "gpu_problems"]

SAVE_INTERVAL_S = 50.0
HEARTBEAT_INTERVAL_S = 1.0
SHOWN_DEV_UTTERANCES = 3  # per epoch report
MIN_EVALUATION_BATCH = 32  # utterances; the batch size of an evaluation changes no result

log = logging.getLogger(__name__)
TrainerStatus = Literal["running", "stopped"]


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
        while trainer.state.epoch <= experiment.train.epochs:
            if not trainer.state.position:
                before_epoch(trainer.state.rows)
            trainer.train_epoch()
            trainer.finish_epoch()
        trainer.evaluate_test_split()


@dataclass
class Trainer:
    experiment: Experiment
    run: RunFolder
    splits: Splits
    train_loader: BatchLoader
    updates: int  # of the whole training
    train_step: TrainStep
    state: TrainingState
    loggers: RunLoggers
    started_at: tuple[float, int]  # monotonic time and finished updates when this process started
    saved_progress: TrainingProgress  # of the state on the disk, or of a new run
    should_stop: Callable[[], bool] = lambda: False
    on_heartbeat: Callable[[Heartbeat], None] = lambda heartbeat: None
    last_save_time: float = field(default_factory=time.monotonic)
    last_heartbeat_time: float = -math.inf

    @classmethod
    def prepare(
        cls,
        experiment: Experiment,
        features: FeatureSet,
        run: RunFolder,
        device: torch.device,
        *,
        workers: int = 0,
        resident_gb: float | None = None,
    ) -> "Trainer":
        """Return a trainer with the initial weights, or with those of the run's saved state."""
        alphabet = resolve_alphabet(experiment.alphabet, features.utterances)
        torch.manual_seed(fold_seed(experiment.train.seed, 0))
        network = Network(experiment.model, features.bins, experiment.input.stack, alphabet.size)
        network.to(device)
        frame_device = devices.select_frame_device(device, resident_bytes(features), resident_gb)
        splits = Splits.from_features(features, experiment, network.output_length, frame_device)
        if experiment.model.bias == "optimum" and (reference := splits.train_reference):
            network.fc3.bias.data.copy_(reference_loss.optimum_bias(reference))
        optimizer = make_optimizer(experiment.train, network.parameters())
        evaluator = Evaluator.of(experiment, network, alphabet, device)
        scaler = GradScaler(device.type, enabled=evaluator.precision == torch.float16)
        state = checkpoint.load_state(run, network, optimizer, scaler, device)
        state = state or TrainingState.initial(alphabet.size)
        run.restore_rows(state.rows)
        run.write_alphabet(alphabet.to_text())
        return cls(
            experiment=experiment,
            run=run,
            splits=splits,
            train_loader=BatchLoader(splits.train, device, workers),
            updates=batches.count_updates(splits.train, experiment.train, splits.is_feasible),
            train_step=TrainStep(experiment, evaluator, optimizer, scaler),
            state=state,
            loggers=RunLoggers(run, experiment, len(state.rows)),
            started_at=(time.monotonic(), state.update),
            saved_progress=state.progress,
        )

    @property
    def evaluator(self) -> Evaluator:
        return self.train_step.evaluator

    def train_epoch(self) -> None:
        """Make the remaining updates of the current epoch."""
        state, metrics = self.state, self.state.train_metrics
        plan = batches.plan_epoch(
            self.splits.train, self.experiment.train, state.epoch, self.splits.is_feasible
        )
        with closing(self.train_loader.batches(plan[state.position :])) as loaded:
            requested_at = time.perf_counter()
            for batch in loaded:
                waited = time.perf_counter() - requested_at
                self._save_or_stop()
                started = time.perf_counter()
                if (finite := drop_nonfinite(metrics, batch)) is not None:
                    self.train_step.step(finite, state, self.updates)
                state.position += 1
                metrics.waited += waited
                metrics.seconds += waited + time.perf_counter() - started
                self._send_heartbeat()
                requested_at = time.perf_counter()
        require_updates(metrics)

    def finish_epoch(self) -> None:
        """Evaluate, keep the best weights, log and save the rows, and go to the next epoch."""
        state, epoch = self.state, self.state.epoch
        train = self._row("train", state.train_metrics, epoch, state.update)
        evaluation = self._evaluate(self.splits.dev)
        dev = self._row("dev", evaluation.metrics, epoch, state.update)
        state.rows = [*state.rows, train, dev]
        if state.best is None or selection_key(dev) < state.best.selection_key:
            weights = checkpoint.copy_weights(self.evaluator.network)
            state.best = BestEpoch(epoch, state.update, selection_key(dev), weights)
        self.loggers.log_rows(state.rows)  # before saving: saved rows are not logged again
        self.state = state.next_epoch(self.evaluator.alphabet.size)
        self._save()
        self._write_epoch_report(epoch, evaluation.texts)
        self._send_heartbeat(always=True)

    def evaluate_test_split(self) -> None:
        """Rank train and test once, with the weights of the best epoch on dev; finish the run."""
        state, best = self.state, self.state.best
        if best is None:
            raise RuntimeError("no epoch has been evaluated")
        self.evaluator.network.load_state_dict(dict(best.weights))
        make_hypotheses, dev = self.evaluator.make_hypotheses, self._evaluate(self.splits.dev)
        hypotheses = make_hypotheses(self.splits.dev, dev)
        train = self.splits.recordings
        self.evaluator.write_train_hypotheses(self.run.path, train, self._evaluate(train))
        state.rows = [row for row in state.rows if row["split"] != "test"]
        if len(self.splits.test):
            evaluation = self._evaluate(self.splits.test, self.experiment.decode.beam)
            hypotheses += (tested := make_hypotheses(self.splits.test, evaluation))
            self.evaluator.write_posteriors(self.run.posteriors_file, self.splits.test, tested)
            test = self._row("test", evaluation.metrics, best.epoch, best.updates)
            state.rows.append(test)
            log.info("selected epoch %d; test error rate %.1f %%", best.epoch, 100 * test["cer"])
        self.loggers.log_rows(state.rows)
        state.evaluations = {}
        self._save()
        self._send_heartbeat(always=True)
        self.run.finish(hypotheses)

    def _write_epoch_report(self, epoch: int, texts: list[str]) -> None:
        """Write the status and the hypotheses of a few dev utterances, the same in each epoch."""
        is_last = epoch == self.experiment.train.epochs
        status = describe_status(self.state.rows, self.experiment, is_last_epoch=is_last)
        shown = self.splits.dev.show(texts, SHOWN_DEV_UTTERANCES)
        self.run.write_epoch_report(EpochReport(epoch, status, tuple(shown)))
        log.info("epoch %d: %s", epoch, status)

    def _evaluate(self, split: SplitData, beam: int | None = None) -> Evaluation:
        size = max(self.experiment.train.batch, MIN_EVALUATION_BATCH)
        initial = Evaluation.initial(len(split), self.evaluator.alphabet.size)
        evaluation = self.state.evaluations.setdefault(split.name, initial)
        self.evaluator.evaluate(split, evaluation, size, beam, self._before_evaluation_batch)
        return evaluation

    def _before_evaluation_batch(self) -> None:
        self._save_or_stop()
        self._send_heartbeat()

    def _row(self, split: str, metrics: EpochMetrics, epoch: int, updates: int) -> Row:
        return metrics.to_row(
            run_id=self.run.run_id,
            epoch=epoch,
            split=split,
            updates=updates,
            reference_loss=self.splits.reference_loss(split),
            infeasible=self.splits.infeasible[split],
            learning_rate=self.train_step.learning_rate,
            peak_memory_bytes=devices.peak_memory_bytes(self.evaluator.device),
        )

    def _save_or_stop(self) -> None:
        """Save if the last save is long ago; save and raise Stopped if asked to stop."""
        stop = self.should_stop()
        late = time.monotonic() - self.last_save_time > SAVE_INTERVAL_S
        # A new file means progress: jobs that restart again and again without one are given up.
        if (late or stop) and self.saved_progress != self.state.progress:
            self._save()
        if stop:
            self._send_heartbeat(always=True, status="stopped")
            raise Stopped

    def _save(self) -> None:
        step = self.train_step
        content = checkpoint.serialise_state(
            self.state, self.evaluator.network, step.optimizer, step.scaler
        )
        self.run.commit(self.state.rows, content)
        self.last_save_time = time.monotonic()
        self.saved_progress = self.state.progress

    def _send_heartbeat(self, *, always: bool = False, status: TrainerStatus = "running") -> None:
        now = time.monotonic()
        if always or now - self.last_heartbeat_time >= HEARTBEAT_INTERVAL_S:
            self.last_heartbeat_time = now
            self.on_heartbeat(self._heartbeat(status))

    def _heartbeat(self, status: TrainerStatus) -> Heartbeat:
        state, nan = self.state, math.nan
        row = state.latest_row("train")
        if state.train_metrics.updates:
            row = self._row("train", state.train_metrics, state.epoch, state.update)
        dev = state.latest_row("dev")
        return Heartbeat(
            status=status,
            epoch=row["epoch"] if row else state.epoch,  # the epoch of the loss
            epochs=self.experiment.train.epochs,
            update=state.update,
            loss_per_character=row["loss_per_character"] if row else nan,
            reference_loss=self.splits.reference_loss("train"),
            dev_cer=dev["cer"] if dev else nan,
            rate_name=self.experiment.corpus.rate_name,
            blank_argmax=row["blank_argmax"] if row else nan,
            frames_per_second=row["frames_per_second"] if row else nan,
            seconds_left=self._seconds_left(),
        )

    def _seconds_left(self) -> float:
        start_time, updates_before = self.started_at
        done = self.state.update - updates_before
        seconds_per_update = (time.monotonic() - start_time) / done if done else math.nan
        return seconds_per_update * (self.updates - self.state.update)
