"""Trainer: one training loop for all methods."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example, Sampler
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.training.batches import Batches, DrawBatch
from segscope.adapt.training.checkpoint import Average, RunProgress, load_state, save_state
from segscope.adapt.training.curves import Events, Row
from segscope.adapt.training.distributed import Processes
from segscope.adapt.training.estimate import ENCODING_SHARE, VALIDATIONS, Estimate
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.stop_signal import StopSignal
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import SegscopeError

log = logging.getLogger(__name__)

SKIPS = 5
"""Consecutive steps without a finite gradient after which a run gives up."""

LOG_EVERY = 10
"""Steps between logged rows."""

Validate = Callable[[Adapted], ValidationScores]
OnStep = Callable[[int, int, Row], None]
"""Takes completed steps, planned steps and the figures of the step."""


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a run ended.

    Attributes:
        why: "done", "patience", "time" or "signal".
        number: of the signal, 0 without one.
        progress: how far it came.
    """

    why: str
    number: int
    progress: RunProgress


class Trainer:
    """One run.

    Args:
        adapted: the network to train.
        data: what it is trained and validated on.
        sampler: draws examples, and holds the settings of the run; with `minutes` the number of
            steps may be 0, see `plan`.
        folder: where the state is saved; None saves none.
        processes: the processes of the run.
        validate: scores of the network as it is, which decide. None for the method's own.

    Attributes:
        initial: the tensors before training.
        stop: the signal that ends the run after the current step.
    """

    def __init__(
        self,
        adapted: Adapted,
        data: Data,
        sampler: Sampler,
        folder: Path | None = None,
        processes: Processes | None = None,
        validate: Validate | None = None,
    ) -> None:
        settings = sampler.settings
        self.adapted = adapted
        adapted.prompts = settings.prompts
        self.data = data
        self.sampler = sampler
        self.settings = settings
        self.folder = folder
        self.processes = processes or Processes()
        self.validate = validate or (lambda adapted: adapted.method.validate(adapted, data.val))
        self.device = adapted.engine.device
        self.bfloat16 = settings.precision == "bfloat16"
        if settings.precision == "auto":
            self.bfloat16 = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(_parameter_groups(adapted, settings), lr=settings.rate)
        self.initial = {name: item.cpu() for name, item in adapted.copy_tensors().items()}
        self.average = Average(adapted, settings.average)
        self.progress = RunProgress()
        self.steps = settings.steps
        self.validations = VALIDATIONS
        self.stop = StopSignal()
        self._started = time.monotonic()
        self._saved = self._started

    # --- before ----------------------------------------------------------------------------------

    def plan(self) -> Estimate:
        """Measure a step and a validation, without changing anything, and choose the number of
        steps.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        cached = self.adapted.store is not None
        step_seconds, first_seconds = self._time_steps(cached)
        validation_seconds = self._time_validation(cached)
        fresh_steps = 0.0
        if cached:
            fresh_steps = self.sampler.lap * self.sampler.variants
        estimate = Estimate(
            self.processes.broadcast(step_seconds),
            self.processes.broadcast(first_seconds - step_seconds),
            fresh_steps,
            self.processes.broadcast(validation_seconds),
            _peak_bytes(self.device),
        )
        self.steps = self.settings.steps
        if self.settings.minutes:
            estimate = estimate.limit_validations(self.settings.minutes)
            if cached:
                estimate = self.limit_variants(estimate, self.settings.minutes)
            affordable = estimate.fitting(self.settings.minutes)
            self.steps = min(self.steps or affordable, affordable)
        self.validations = estimate.validations - 1
        return replace(estimate, steps=self.steps)

    def limit_variants(self, estimate: Estimate, minutes: float) -> Estimate:
        """Use so few views of each frame that they recur within a budget, which would otherwise go
        into encoding one new view after another.
        """
        seconds_each = self.sampler.lap * max(estimate.fresh_seconds, 1e-6)
        affordable = int(ENCODING_SHARE * 60 * minutes / seconds_each)
        variants = max(1, min(self.sampler.variants, affordable))
        self.sampler = replace(self.sampler, variants=variants)
        return replace(estimate, fresh_steps=self.sampler.lap * variants)

    def _time_steps(self, cached: bool) -> tuple[float, float]:
        """Seconds of a step, with cached features where there is a cache, and of one without."""
        tensors = self.adapted.copy_tensors()
        memo = copy.deepcopy(self.adapted.memo)
        with torch.random.fork_rng():
            self._time_step(0)  # warms up
            fresh = min(self._time_step(step) for step in (1, 2))
            step = fresh
            if cached:
                again = min(self._time_step(step) for step in (1, 2))
                step = min(fresh, again)
        self.adapted.fill(tensors)
        self.adapted.memo = memo
        return step, fresh

    def _time_step(self, step: int) -> float:
        """Seconds that the gradients of a step take."""
        began = time.perf_counter()
        self.compute_gradients(self.batch(step))
        self.optimizer.zero_grad()
        return time.perf_counter() - began

    def _time_validation(self, cached: bool) -> float:
        """Seconds of a validation; with a cache, of the second one, which finds its features."""
        seconds = 0.0
        for _ in range(1 + cached):
            began = time.perf_counter()
            self._validate_average()
            seconds = time.perf_counter() - began
        return seconds

    def resume(self) -> bool:
        """Restore the state in the folder; False where there is none."""
        if self.folder is None:
            return False
        progress = load_state(self.folder, self.adapted, self.optimizer, self.average)
        if progress is None:
            return False
        self.progress = progress
        return True

    # --- the loop --------------------------------------------------------------------------------

    def run(self, on_step: OnStep | None = None) -> TrainingOutcome:
        """Train to the end.

        Args:
            on_step: called after each step.

        Raises:
            SegscopeError: several gradients in a row are not finite.
        """
        folder = None
        if self.processes.first:
            folder = self.folder
        events = Events(folder)
        self._saved = time.monotonic()
        self._started = self._saved - self.progress.seconds
        with (
            contextlib.closing(events),
            torch.random.fork_rng(),
            self.stop.catch(),
            Batches(self.sampler, self.processes).prepare(self.steps) as draw,
        ):
            if not self.progress.rows:
                self.validate_step({"step": 0.0})
            why = self._loop(draw, events, on_step)
        if why != "signal" and self.progress.gain.base_saved:
            self.progress.save_base(self.initial)
        return TrainingOutcome(why, self.stop.number, self.progress)

    def save(self) -> None:
        if self.folder is not None and self.processes.first:
            save_state(self.folder, self.adapted, self.optimizer, self.average, self.progress)
            self._saved = time.monotonic()

    def _loop(self, draw: DrawBatch, events: Events, on_step: OnStep | None) -> str:
        """Steps until the run ends, and why it does."""
        progress = self.progress
        why = ""
        while not why and progress.step < self.steps:
            row = self.take_step(draw(progress.step))
            why = self._finish_step(row)
            events.add(row)
            if on_step is not None:
                on_step(progress.step, self.steps, row)
            if self.processes.total(float(self.stop.number != 0)):
                why = "signal"
            if why or time.monotonic() - self._saved >= self.settings.save_every_s:
                self.save()
        return why or "done"

    def _finish_step(self, row: Row) -> str:
        """Log a step and validate where that is due; why the run ends here, "" if it does not."""
        progress = self.progress
        progress.step += 1
        progress.seconds = time.monotonic() - self._started
        row["seconds"] = round(progress.seconds, 3)
        last = progress.step == self.steps
        out_of_time = self._out_of_time()
        if last or out_of_time or progress.step % self._validate_every == 0:
            self.validate_step(row)
            patience = self.settings.patience
            if patience and progress.stale_validations >= patience:
                return "patience"
        elif progress.step % LOG_EVERY == 0:
            progress.rows.append(row)
        if out_of_time:
            return "time"
        if last:
            return "done"
        return ""

    @property
    def _validate_every(self) -> int:
        return self.settings.validate_every or max(1, self.steps // self.validations)

    def _out_of_time(self) -> bool:
        """Whether the time budget is used up; all processes decide alike."""
        budget = 60 * self.settings.minutes
        over = bool(budget) and self.progress.seconds > budget
        return bool(self.processes.broadcast(float(over)))

    def take_step(self, batch: list[Example]) -> Row:
        """One step of the optimiser; it is skipped if the gradient is not finite."""
        progress = self.progress
        self.adapted.progress = progress.step / self.steps
        factor = schedule_rate(progress.step, self.steps, self.settings.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * group["factor"] * factor
        terms = self.compute_gradients(batch)
        parameters = list(self.adapted.trained.values())
        norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.clip))
        if math.isfinite(norm):
            self.optimizer.step()
            self.average.update(self.adapted)
            progress.skipped = 0
        else:
            progress.skipped += 1
            log.warning("step %d has no finite gradient and is skipped", progress.step + 1)
        self.optimizer.zero_grad()
        if progress.skipped >= SKIPS:
            raise SegscopeError(
                f"{SKIPS} steps in a row, up to step {progress.step + 1}, had no finite gradient: "
                "the training diverged, or an image contains invalid values. Lower --learning-rate "
                "(try a tenth), use --precision float32, or check the data with "
                "`segscope data check`"
            )
        step = float(progress.step + 1)
        return {"step": step, **terms, "rate": self.settings.rate * factor, "gradient": norm}

    def compute_gradients(self, batch: list[Example]) -> dict[str, float]:
        """Gradients of the mean loss over the whole batch, and its terms; this process contributes
        its share of the examples.
        """
        size = math.ceil(len(batch) / self.settings.accumulate)
        means: dict[str, float] = {}
        with _training_mode(self.adapted.train_mode):
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                    terms: Terms = self.adapted.method.loss(self.adapted, part)
                weight = len(part) / self.sampler.places
                loss: Tensor = terms["loss"] * weight
                loss.backward()
                for name, value in terms.items():
                    means[name] = means.get(name, 0.0) + float(value.detach()) * weight
        self.processes.sum_gradients(self.adapted.trained.values())
        return {name: self.processes.total(value) for name, value in means.items()}

    # --- validation ------------------------------------------------------------------------------

    def validate_step(self, row: Row) -> None:
        """Add validation figures to the row of a step and log it; the weights are remembered if
        they are those to save.
        """
        progress = self.progress
        scores = self._validate_average()
        figures = scores.as_dict()
        figures["dice"] = self.processes.broadcast(figures["dice"])
        row |= {f"val {name}": value for name, value in figures.items()}
        progress.rows.append(row)
        progress.add_validation(scores.patients, figures["dice"])
        # the first process alone has scores
        if self.processes.broadcast(float(progress.latest_is_best)):
            source = self.average.values if self.settings.average else self.adapted.tensors()
            progress.best = {**figures, "step": row["step"]}
            progress.best_tensors = {name: item.detach().clone() for name, item in source.items()}

    def _validate_average(self) -> ValidationScores:
        """Scores of the averaged weights, on the first process."""
        if not self.processes.first:
            return ValidationScores({})
        tensors = self.adapted.copy_tensors()
        if self.settings.average:
            self.adapted.fill(self.average.values)
        try:
            return self.validate(self.adapted)
        finally:
            self.adapted.fill(tensors)

    def batch(self, step: int) -> list[Example]:
        """This process's examples of a step."""
        return Batches(self.sampler, self.processes).draw(step)


def _parameter_groups(adapted: Adapted, settings: TrainingSettings) -> list[dict[str, object]]:
    """Parameters by learning rate; matrices with weight decay, the rest without."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in adapted.trained.items():
        decay = 0.0
        if parameter.ndim > 1:
            decay = settings.decay
        groups.setdefault((adapted.rate(name), decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay), parameters in sorted(groups.items(), key=lambda pair: pair[0])
    ]


def schedule_rate(step: int, steps: int, warm_up: float) -> float:
    """Factor of the learning rate: it rises over the share `warm_up` of the steps, then falls along
    half a cosine to a hundredth.
    """
    warm_steps = max(1, round(warm_up * steps))
    if step < warm_steps:
        return (step + 1) / warm_steps
    share = (step - warm_steps) / max(1, steps - warm_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


@contextlib.contextmanager
def _training_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module in modules:
            module.eval()


def _peak_bytes(device: torch.device) -> int:
    """Peak memory of the GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1024  # Linux counts kilobytes, macOS bytes
    if sys.platform == "darwin":
        unit = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
