"""Trainer: a feature set and an experiment -> a finished run folder.

In:   the experiment, its features, its run folder.
Out:  rows, state, hypotheses; `Stopped` when asked to stop, DivergedError when a loss is no number.
Not here: what a batch, a network, a loss, a row or a state is (their own modules).

Starting and resuming are the same call. All randomness derives from (seed, epoch, update), so that
a run that was stopped or killed goes on to bit-identical rows and weights, times aside.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch.amp.grad_scaler import GradScaler

from pipeline.config.experiment import Experiment
from pipeline.corpus.text import get_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.runs.folder import EpochReport, Heartbeat, Hypothesis, RunFolder, Stopped
from pipeline.runs.plateau import describe_status, selection_key
from pipeline.runs.rows import Row
from pipeline.training.data import batches
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import resident_bytes
from pipeline.training.data.loader import BatchLoader
from pipeline.training.loop import devices, optimizer
from pipeline.training.loop.checkpoint import BestEpoch, TrainingState, load_state, serialise_state
from pipeline.training.loop.devices import Device, gpu_names
from pipeline.training.loop.evaluator import Evaluator, drop_nonfinite
from pipeline.training.loop.loggers import RunLoggers
from pipeline.training.loop.metrics import EpochMetrics, Evaluation
from pipeline.training.loop.splits import Splits
from pipeline.training.loop.train_step import DivergedError, TrainStep, fold_seed
from pipeline.training.loss import reference_line
from pipeline.training.network.model import Network

__all__ = ["DivergedError", "fit", "gpu_names"]

SAVE_INTERVAL_S = 50.0
HEARTBEAT_INTERVAL_S = 1.0
SHOWN_DEV_UTTERANCES = 3  # of dev, shown after each epoch
MIN_EVALUATION_BATCH = 32  # at least; no answer depends on it

log = logging.getLogger(__name__)

TrainerStatus = Literal["running", "stopped"]
TrainingProgress = tuple[
    int, int, tuple[int, ...]
]  # epoch, its batches, batches of its evaluations


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
) -> None:
    """Train, evaluate each epoch, and test once; go on where an earlier call was interrupted.

    Frames are resident up to `resident_gb` (None: as memory.py decides), else mapped and fed by
    `workers` processes (0: a thread). No row depends on either.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = devices.select_device(device)
    devices.set_deterministic(experiment.train.deterministic, chosen)
    run.write_environment(devices.describe_environment(chosen))
    began = (run.heartbeat() or Heartbeat()).with_this_process("running", "reading frames")
    on_heartbeat(replace(began, epochs=experiment.train.epochs))
    trainer = Trainer.prepare(
        experiment, features, run, chosen, workers=workers, resident_gb=resident_gb
    )
    trainer.should_stop, trainer.on_heartbeat = should_stop, on_heartbeat
    with trainer.train_loader.supervise_workers():
        while trainer.state.epoch <= experiment.train.epochs:
            trainer.train_epoch()
            trainer.finish_epoch()
        trainer.evaluate_test_split()


@dataclass
class Trainer:
    experiment: Experiment
    run: RunFolder
    splits: Splits
    train_loader: BatchLoader  # of the training split
    updates: int  # of the whole training
    train_step: TrainStep
    state: TrainingState
    loggers: RunLoggers
    should_stop: Callable[[], bool] = lambda: False
    on_heartbeat: Callable[[Heartbeat], None] = lambda heartbeat: None
    last_save_time: float = field(default_factory=time.monotonic)
    last_heartbeat_time: float = -math.inf
    started_at: tuple[float, int] = (0.0, 0)  # when this process began, and after which update
    saved_progress: TrainingProgress = (1, 0, ())  # by what stands on the disk, or began anew

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
        """The network at its beginning, or as the run's state left it."""
        settings, letters = experiment.train, get_alphabet(experiment.alphabet)
        torch.manual_seed(fold_seed(settings.seed, 0))
        network = Network(experiment.model, features.bins, experiment.input.stack, letters.size).to(
            device
        )
        residence = devices.select_frame_device(device, resident_bytes(features), resident_gb)
        splits = Splits.from_features(features, experiment, network.output_length, residence)
        reference = splits.constant_references["train"]
        if experiment.model.bias == "optimum" and reference is not None:
            network.fc3.bias.data.copy_(reference_line.optimum_bias(reference))
        optimiser = optimizer.make_optimizer(settings, network.parameters())
        precision = devices.select_dtype(settings.precision, device)
        scaler = GradScaler(device.type, enabled=precision == torch.float16)
        recogniser = Evaluator(network, letters, device, precision)
        state = load_state(run, network, optimiser, scaler, device) or TrainingState.initial(
            letters.size
        )
        run.restore_rows(state.rows)
        began = (time.monotonic(), state.update)
        learner = TrainStep(experiment, recogniser, optimiser, scaler)
        feed = BatchLoader(splits.train, device, workers)
        updates = batches.count_updates(splits.train, settings, splits.is_feasible)
        tracking = RunLoggers(run, experiment, len(state.rows))
        words = (experiment, run, splits, feed, updates, learner, state, tracking)
        return cls(*words, started_at=began, saved_progress=_progress_of(state))

    @property
    def evaluator(self) -> Evaluator:
        return self.train_step.evaluator

    def train_epoch(self) -> None:
        """The epoch's updates, from where the state stands in it."""
        state, split, settings = self.state, self.splits.train, self.experiment.train
        plan = batches.plan_epoch(split, settings, state.epoch, self.splits.is_feasible)
        with closing(self.train_loader.batches(plan[state.position :])) as coming:
            asked = time.perf_counter()
            for batch in coming:
                waited = time.perf_counter() - asked
                self._save_or_stop()
                started = time.perf_counter()
                if (whole := drop_nonfinite(state.train_metrics, batch)) is not None:
                    self.train_step.step(whole, state, self.updates)
                state.position += 1
                state.train_metrics.waited += waited
                state.train_metrics.seconds += waited + time.perf_counter() - started
                self._send_heartbeat()
                asked = time.perf_counter()
        _require_updates(state.train_metrics)

    def finish_epoch(self) -> None:
        """Evaluate, keep the best weights, and commit: the epoch is done when its rows stand."""
        state, epoch = self.state, self.state.epoch
        train = self._row("train", state.train_metrics, epoch, state.update)
        heard = self._evaluate(self.splits.dev)
        dev = self._row("dev", heard.metrics, epoch, state.update)
        state.rows = [*state.rows, train, dev]
        if state.best is None or selection_key(dev) < state.best.rank:
            weights = self.evaluator.network.state_dict()
            copies = {name: tensor.detach().clone() for name, tensor in weights.items()}
            state.best = BestEpoch(epoch, state.update, selection_key(dev), copies)
        self.loggers.log_rows(state.rows)  # first: what a state holds is never told again
        self.state = state.next_epoch(self.evaluator.alphabet.size)
        self._save()
        self._write_epoch_report(epoch, heard.texts)
        self._send_heartbeat(always=True)

    def evaluate_test_split(self) -> None:
        """Test once, with the weights that dev chose."""
        state, best = self.state, self.state.best
        if best is None:
            raise RuntimeError("no epoch has been evaluated")
        self.evaluator.network.load_state_dict(dict(best.weights))
        hypotheses = _make_hypotheses(self.splits.dev, self._evaluate(self.splits.dev).texts)
        state.rows = [row for row in state.rows if row["split"] != "test"]
        if len(self.splits.test):
            heard = self._evaluate(self.splits.test, self.experiment.decode.beam)
            hypotheses += _make_hypotheses(self.splits.test, heard.texts)
            state.rows.append(self._row("test", heard.metrics, best.epoch, best.updates))
            log.info("epoch %d chosen; test CER %.1f %%", best.epoch, 100 * heard.metrics.score.cer)
        self.loggers.log_rows(state.rows)
        state.evaluations = {}
        self._save()
        self._send_heartbeat(always=True)
        self.run.finish(hypotheses)

    def _write_epoch_report(self, epoch: int, texts: list[str]) -> None:
        """A sentence, and how three utterances of dev are heard by now, the same each time."""
        ended = epoch == self.experiment.train.epochs
        said, utterances = (
            describe_status(self.state.rows, self.experiment, is_last_epoch=ended),
            [],
        )
        for place in self.splits.dev.evenly_spaced_by_length(SHOWN_DEV_UTTERANCES):
            utterance = self.splits.dev.utterances[place]
            utterances.append((utterance.id, utterance.transcript, texts[place]))
        self.run.write_epoch_report(EpochReport(epoch, said, tuple(utterances)))
        log.info("epoch %d: %s", epoch, said)

    def _evaluate(self, split: SplitData, beam: int | None = None) -> Evaluation:
        size = max(self.experiment.train.batch, MIN_EVALUATION_BATCH)
        start = Evaluation.initial(len(split), self.evaluator.alphabet.size)
        heard = self.state.evaluations.setdefault(split.name, start)
        self.evaluator.evaluate(split, heard, size, beam, self._between_batches)
        return heard

    def _between_batches(self) -> None:
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
        """Between two batches: save if it is time to, and stop if asked to."""
        stop = self.should_stop()
        late = time.monotonic() - self.last_save_time > SAVE_INTERVAL_S
        # A newer file says that the run got further: jobs that never do are given up.
        if (late or stop) and self.saved_progress != _progress_of(self.state):
            self._save()
        if stop:
            self._send_heartbeat(always=True, status="stopped")
            raise Stopped

    def _save(self) -> None:
        learner = self.train_step
        content = serialise_state(
            self.state, self.evaluator.network, learner.optimizer, learner.scaler
        )
        self.run.commit(self.state.rows, content)
        self.last_save_time = time.monotonic()
        self.saved_progress = _progress_of(self.state)

    def _send_heartbeat(self, *, always: bool = False, status: TrainerStatus = "running") -> None:
        now = time.monotonic()
        if always or now - self.last_heartbeat_time >= HEARTBEAT_INTERVAL_S:
            self.last_heartbeat_time = now
            self.on_heartbeat(self._heartbeat(status))

    def _heartbeat(self, status: TrainerStatus) -> Heartbeat:
        state, epochs = self.state, self.experiment.train.epochs
        if state.train_metrics.updates:
            row: Row | None = self._row("train", state.train_metrics, state.epoch, state.update)
        else:
            row = _latest_row(state.rows, "train")
        dev, nan = _latest_row(state.rows, "dev"), math.nan
        return Heartbeat(
            status=status,
            epoch=row["epoch"] if row else state.epoch,  # that the loss is of
            epochs=epochs,
            update=state.update,
            loss_per_character=row["loss_per_character"] if row else nan,
            reference_loss=self.splits.reference_loss("train"),
            dev_cer=dev["cer"] if dev else nan,
            blank_argmax=row["blank_argmax"] if row else nan,
            frames_per_second=row["frames_per_second"] if row else nan,
            seconds_left=self._seconds_left(),
        )

    def _seconds_left(self) -> float:
        began, before = self.started_at
        done = self.state.update - before
        each = (time.monotonic() - began) / done if done else math.nan
        return each * (self.updates - self.state.update)


def _progress_of(state: TrainingState) -> TrainingProgress:
    return state.epoch, state.position, tuple(each.batches for each in state.evaluations.values())


def _require_updates(metrics: EpochMetrics) -> None:
    if not metrics.updates:
        raise InputError(
            f"the input of all {len(metrics.nonfinite)} training utterances, the first of them "
            f"{', '.join(metrics.nonfinite[:3])}, holds values that are no finite numbers; set "
            "features.storage: float32, or leave them out with exclude: in the corpus file"
        )


def _make_hypotheses(split: SplitData, texts: list[str]) -> list[Hypothesis]:
    pairs = zip(split.utterances, texts, strict=True)
    return [Hypothesis.of(u.id, split.name, u.transcript, text) for u, text in pairs]


def _latest_row(rows: list[Row], split: str) -> Row | None:
    return next((row for row in reversed(rows) if row["split"] == split), None)
