"""Trainer: trains an experiment on a feature set and fills the run folder.

In:   the experiment, its features, its run folder.
Out:  rows, state, hypotheses; `Stopped` when it is asked to stop, DivergedError.
Not here: a whole run (fit.py), one update (train_step.py), one evaluation (evaluator.py), what a
row or a state is (metrics.py, checkpoint.py).

Starting and resuming are the same. All random draws are seeded with (seed, epoch, update), so
that a run that was stopped or killed continues to bit-identical rows (except times) and weights.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch.amp.grad_scaler import GradScaler

from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import resolve_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.runs import early_stop
from pipeline.runs.folder import EpochReport, Heartbeat, RunFolder, Stopped
from pipeline.runs.plateau import describe_status, selection_key
from pipeline.runs.records import EarlyStop
from pipeline.runs.rows import Row, is_from_training
from pipeline.runs.state import write_early_stop
from pipeline.training.data import batches, epoch_plan
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import resident_bytes
from pipeline.training.data.loader import BatchLoader
from pipeline.training.loop import checkpoint, devices
from pipeline.training.loop.checkpoint import TrainingProgress, TrainingState
from pipeline.training.loop.evaluator import Evaluator, drop_nonfinite
from pipeline.training.loop.loggers import RunLoggers
from pipeline.training.loop.metrics import EpochMetrics, Evaluation
from pipeline.training.loop.splits import Splits
from pipeline.training.loop.start import load_or_start
from pipeline.training.loop.train_step import TrainStep, fold_seed, require_updates
from pipeline.training.loss import reference_loss
from pipeline.training.network.model import Network
from pipeline.training.optim.averaging import copy_weights
from pipeline.training.optim.epoch_weights import EpochWeights, keep_epochs, mean_of_epochs
from pipeline.training.optim.optimizer import make_optimizer

SAVE_INTERVAL_S = 50.0
HEARTBEAT_INTERVAL_S = 1.0
SHOWN_DEV_UTTERANCES = 3  # per epoch report
MIN_EVALUATION_BATCH = 32  # utterances; the batch size of an evaluation changes no result

log = logging.getLogger(__name__)
TrainerStatus = Literal["running", "stopped"]


@dataclass
class Trainer:
    experiment: Experiment
    run: RunFolder
    splits: Splits
    train_loader: BatchLoader
    updates: int  # of the whole training
    train_step: TrainStep
    tested: Evaluator  # of a network that gets the weights that are evaluated
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
        runs: Path | None = None,
    ) -> "Trainer":
        """Return a trainer with the initial weights, or with those of the run's saved state.

        `runs` has the run that the experiment may start from; None: beside the run.
        """
        alphabet = resolve_alphabet(experiment.alphabet, features.utterances)
        torch.manual_seed(fold_seed(experiment.train.seed, 0))
        network, tested = (
            Network(experiment.model, features.bins, experiment.input.stack, alphabet.size)
            for _ in range(2)
        )
        network.to(device)
        frame_device = devices.select_frame_device(device, resident_bytes(features), resident_gb)
        splits = Splits.from_features(features, experiment, network.output_length, frame_device)
        if experiment.model.bias == "optimum" and (reference := splits.train_reference):
            network.fc3.bias.data.copy_(reference_loss.optimum_bias(reference))
        optimizer = make_optimizer(experiment.train, network.parameters())
        evaluator = Evaluator.of(experiment, network, alphabet, device)
        scaler = GradScaler(device.type, enabled=evaluator.precision == torch.float16)
        run.write_alphabet(alphabet.to_text())
        trained, runs = (network, optimizer, scaler), runs or run.path.parent
        state = load_or_start(experiment, features.feature_id, run, runs=runs, trained=trained)
        run.restore_rows(state.rows)
        return cls(
            experiment=experiment,
            run=run,
            splits=splits,
            train_loader=BatchLoader(splits.train, device, workers),
            updates=epoch_plan.count_updates(splits.train, experiment.train, splits.is_feasible),
            train_step=TrainStep(experiment, evaluator, optimizer, scaler),
            tested=replace(evaluator, network=tested.to(device)),
            state=state,
            loggers=RunLoggers(run, experiment, len(state.rows) if run.state_version else 0),
            started_at=(time.monotonic(), state.update),
            saved_progress=state.progress,
        )

    @property
    def evaluator(self) -> Evaluator:
        return self.train_step.evaluator

    @property
    def early_stop(self) -> EarlyStop | None:
        return early_stop.stop_by_patience(self.experiment.train, self.state.rows)

    @property
    def is_trained(self) -> bool:
        """Whether no epoch is left to train."""
        return self.state.epoch > self.experiment.train.epochs or self.early_stop is not None

    def train_epoch(self) -> None:
        """Make the remaining updates of the current epoch."""
        state, metrics = self.state, self.state.train_metrics
        plan = self.splits.plan_epoch(self.experiment, state.epoch)
        with closing(self.train_loader.batches(plan[state.position :])) as loaded:
            requested_at = time.perf_counter()
            for group in batches.group_updates(loaded):
                waited = time.perf_counter() - requested_at
                self._save_or_stop()
                started = time.perf_counter()
                if finite := [each for b in group if (each := drop_nonfinite(metrics, b))]:
                    self.train_step.step(finite, state, self.updates)
                state.position += len(group)
                metrics.waited += waited
                metrics.seconds += waited + time.perf_counter() - started
                self._send_heartbeat()
                requested_at = time.perf_counter()
        require_updates(metrics)

    def finish_epoch(self) -> None:
        """Evaluate, keep the best weights, log and save the rows, and go to the next epoch."""
        state, epoch = self.state, self.state.epoch
        train = self._row("train", state.train_metrics, epoch, state.update, "each update")
        self.tested.network.load_state_dict(state.ema or self.evaluator.network.state_dict())
        evaluation = self._evaluate(self.splits.dev)
        label = "epoch" if state.ema is None else "ema"
        dev = self._row("dev", evaluation.metrics, epoch, state.update, label)
        state.rows = [*state.rows, train, dev]
        weights = copy_weights(self.tested.network)
        evaluated = EpochWeights(epoch, state.update, selection_key(dev), weights, label)
        if state.best is None or evaluated.selection_key < state.best.selection_key:
            state.best = evaluated
        state.kept = keep_epochs(state.kept, evaluated, self.experiment.train.average)
        self.loggers.log_rows(state.rows)  # before saving: saved rows are not logged again
        self.state = state.next_epoch(self.evaluator.alphabet.size)
        self._save()
        self._write_epoch_report(epoch, evaluation.texts)
        self._send_heartbeat(always=True)

    def evaluate_test_split(self) -> None:
        """Rank train and test once, with the best epoch on dev or the mean of epochs; finish."""
        state = self.state
        state.rows = list(filter(is_from_training, state.rows))
        chosen = self._load_tested_weights()
        make_hypotheses, dev = self.tested.make_hypotheses, self._evaluate(self.splits.dev)
        hypotheses = make_hypotheses(self.splits.dev, dev)
        train = self.splits.recordings
        self.tested.write_train_hypotheses(self.run.path, train, self._evaluate(train))
        epoch, _, label = where = chosen.epoch, chosen.updates, chosen.label
        if self.experiment.train.average:
            state.rows.append(self._row("dev", dev.metrics, *where))
        if len(self.splits.test):
            evaluation = self._evaluate(self.splits.test, self.experiment.decode.beam)
            hypotheses += (tested := make_hypotheses(self.splits.test, evaluation))
            self.tested.write_posteriors(self.run.posteriors_file, self.splits.test, tested)
            state.rows.append(test := self._row("test", evaluation.metrics, *where))
            rate = 100 * test["cer"]
            log.info("tested epoch %d, weights: %s; test error rate %.1f %%", epoch, label, rate)
        self.loggers.log_rows(state.rows)
        state.evaluations = {}
        self._save()
        self._send_heartbeat(always=True)
        self.run.finish(hypotheses)
        if self.early_stop:
            write_early_stop(self.run, self.early_stop)

    def _load_tested_weights(self) -> EpochWeights:
        """Load the weights of the best epoch on dev, or their mean, with batch norm measured."""
        state, network = self.state, self.tested.network
        if state.best is None:
            raise RuntimeError("no epoch has been evaluated")
        if self.experiment.train.average:
            mean = mean_of_epochs(state.kept, state.epoch - 1, state.update)
            network.load_state_dict(mean.weights)
            self.tested.measure_batch_norm(
                self.splits.train, self.experiment.train.batch, self._between_batches
            )
            state.best = replace(mean, weights=copy_weights(network))
        network.load_state_dict(state.best.weights)
        return state.best

    def _write_epoch_report(self, epoch: int, texts: list[str]) -> None:
        """Write the status and the hypotheses of a few dev utterances, the same in each epoch."""
        status = describe_status(self.state.rows, self.experiment, is_last_epoch=self.is_trained)
        status += f"; {self.early_stop.message}" if self.early_stop else ""
        shown = self.splits.dev.show(texts, SHOWN_DEV_UTTERANCES)
        self.run.write_epoch_report(EpochReport(epoch, status, tuple(shown)))
        log.info("epoch %d: %s", epoch, status)

    def _evaluate(self, split: SplitData, beam: int | None = None) -> Evaluation:
        size = max(self.experiment.train.batch, MIN_EVALUATION_BATCH)
        initial = Evaluation.initial(len(split), self.evaluator.alphabet.size)
        evaluation = self.state.evaluations.setdefault(split.name, initial)
        self.tested.evaluate(split, evaluation, size, beam, self._between_batches)
        return evaluation

    def _row(
        self, split: str, metrics: EpochMetrics, epoch: int, updates: int, weights: str
    ) -> Row:
        return metrics.to_row(
            run_id=self.run.run_id,
            epoch=epoch,
            split=split,
            updates=updates,
            **self.splits.row_values(split),
            learning_rate=self.train_step.learning_rate,
            peak_memory_bytes=devices.peak_memory_bytes(self.evaluator.device),
            weights=weights,
        )

    def _between_batches(self) -> None:
        self._save_or_stop()
        self._send_heartbeat()

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
        state = self.state
        row, dev = state.latest_row("train"), state.latest_row("dev")
        if state.train_metrics.updates:
            row = self._row("train", state.train_metrics, state.epoch, state.update, "each update")
        epochs = self.experiment.train.epochs
        heartbeat = Heartbeat(status=status, epoch=state.epoch, epochs=epochs, update=state.update)
        return replace(
            heartbeat.with_rows(row, dev),
            reference_loss=self.splits.reference_loss("train"),
            rate_name=self.experiment.corpus.rate_name,
            seconds_left=self._seconds_left(),
        )

    def _seconds_left(self) -> float:
        start_time, updates_before = self.started_at
        done = self.state.update - updates_before
        seconds_per_update = (time.monotonic() - start_time) / done if done else math.nan
        return seconds_per_update * (self.updates - self.state.update)
