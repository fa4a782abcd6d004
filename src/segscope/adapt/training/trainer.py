"""Trainer: one loop for all methods."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example, Sampler
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.training.checkpoint import Average, RunProgress, load_state, save_state
from segscope.adapt.training.curves import Events, Row
from segscope.adapt.training.distributed import ProcessGroup
from segscope.adapt.training.settings import TrainingSettings
from segscope.errors import SegscopeError

log = logging.getLogger(__name__)

SKIPS = 5
"""Steps in a row without a finite gradient after which a run gives up."""

VALIDATIONS = 10
"""Validations of a run, besides that before it."""

JUDGING = 0.25
"""Share of a budget of time that validations may take; there are fewer where they would take more,
but at least two.
"""

ENCODING = 0.3
"""Share of it that encoding views for the first time may take, where features are kept."""

Validate = Callable[[Adapted], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost, from a probe.

    Attributes:
        step_seconds: of one step, its features kept where they can be.
        fresh_seconds: what is added where they are encoded first.
        fresh_steps: steps for which that holds, at most.
        validation_seconds: of one validation.
        peak_bytes: memory of the process, or of the GPU, in the probe.
        steps: that are planned.
        validations: that are planned.
    """

    step_seconds: float
    fresh_seconds: float
    fresh_steps: float
    validation_seconds: float
    peak_bytes: int
    steps: int = 0
    validations: int = 1 + VALIDATIONS

    @property
    def seconds(self) -> float:
        fresh = min(self.steps, self.fresh_steps) * self.fresh_seconds
        return self.steps * self.step_seconds + fresh + self.validations * self.validation_seconds

    def fitting(self, minutes: float) -> int:
        """Most steps that fit into a budget, validations aside unless they would take most of it;
        at least 20.
        """
        room = 0.95 * max(
            60 * minutes - self.validations * self.validation_seconds, 0.3 * 60 * minutes
        )
        slow = room / (self.step_seconds + self.fresh_seconds)
        if slow > self.fresh_steps:
            slow = (room - self.fresh_steps * self.fresh_seconds) / self.step_seconds
        return max(20, int(slow))


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a run ended.

    Attributes:
        why: "done", "patience", "time" or "signal".
        number: of the signal, 0 without one.
        progress: where it stands.
    """

    why: str
    number: int
    progress: RunProgress


class Trainer:
    """One run.

    Args:
        adapted: what trains.
        data: what it trains on.
        sampler: draws examples.
        settings: of the run; `steps` may be 0 when `minutes` is not, see `plan`.
        folder: where the state is kept; None keeps none.
        ranks: this process among all.
        validate: figures of the network as it is; "dice" decides. None for the method's own.
    """

    def __init__(
        self,
        adapted: Adapted,
        data: Data,
        sampler: Sampler,
        settings: TrainingSettings,
        folder: Path | None = None,
        ranks: ProcessGroup | None = None,
        validate: Validate | None = None,
    ) -> None:
        self.adapted = adapted
        self.data = data
        self.sampler = sampler
        self.settings = settings
        self.folder = folder
        self.ranks = ranks or ProcessGroup()
        self.validate = validate or (lambda adapted: adapted.method.validate(adapted, data.val))
        self.device = adapted.engine.device
        self.bf16 = settings.precision == "bfloat16" or (
            settings.precision == "auto" and self.device.type == "cuda"
        )
        self.optimizer = torch.optim.AdamW(_groups(adapted, settings), lr=settings.rate)
        self.average = Average(adapted, settings.average)
        self.progress = RunProgress()
        self.steps = settings.steps
        self.validations = VALIDATIONS
        self._signal = 0

    # --- before ----------------------------------------------------------------------------------

    def plan(self) -> Estimate:
        """Measure a step and a validation, without changing anything, and choose the number of
        steps.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        held = {name: item.detach().clone() for name, item in self.adapted.tensors().items()}
        memo = copy.deepcopy(self.adapted.memo)
        kept = self.adapted.store is not None
        with torch.random.fork_rng():
            self._timed(0)  # warms up
            fresh = min(self._timed(step) for step in (1, 2))
            step_seconds = fresh
            if kept:
                step_seconds = min(fresh, *(self._timed(step) for step in (1, 2)))
        self.adapted.fill(held)
        self.adapted.memo = memo
        for _ in range(1 + kept):  # what is kept is validated faster from the second time on
            began = time.perf_counter()
            self._validated()
            validation = time.perf_counter() - began
        estimate = Estimate(
            self.ranks.agree(step_seconds),
            self.ranks.agree(fresh - step_seconds),
            self.sampler.lap * self.sampler.variants if kept else 0.0,
            self.ranks.agree(validation),
            _peak_bytes(self.device),
        )
        steps = self.settings.steps
        minutes = self.settings.minutes
        if minutes:
            affordable = int(JUDGING * 60 * minutes / max(estimate.validation_seconds, 1e-3))
            estimate = replace(estimate, validations=min(max(affordable, 3), 1 + VALIDATIONS))
            if kept:
                estimate = self._fewer_views(estimate, minutes)
            fit = estimate.fitting(minutes)
            if steps:
                steps = min(steps, fit)
            else:
                steps = fit
        self.steps = steps
        self.validations = estimate.validations - 1
        return replace(estimate, steps=steps)

    def _fewer_views(self, estimate: Estimate, minutes: float) -> Estimate:
        """Where a budget would go into encoding view after view: so few of each frame that they
        come again.
        """
        each = self.sampler.lap * max(estimate.fresh_seconds, 1e-6)
        count = max(1, min(self.sampler.variants, int(ENCODING * 60 * minutes / each)))
        self.sampler = replace(self.sampler, variants=count)
        return replace(estimate, fresh_steps=self.sampler.lap * count)

    def _timed(self, step: int) -> float:
        """Seconds that the gradients of a step take."""
        began = time.perf_counter()
        self._gradients(self._batch(step))
        self.optimizer.zero_grad()
        return time.perf_counter() - began

    def resume(self) -> bool:
        """Go on from the folder's state; False where there is none."""
        found = None
        if self.folder is not None:
            found = load_state(self.folder, self.adapted, self.optimizer, self.average)
        if found is None:
            return False
        self.progress = found
        return True

    # --- the loop --------------------------------------------------------------------------------

    def run(self, say: Callable[[int, int, Row], None] | None = None) -> TrainingOutcome:
        """Train to the end.

        Args:
            say: called after each step with (steps done, steps to do, figures of the step).

        Raises:
            SegscopeError: gradients are not finite, again and again.
        """
        progress = self.progress
        settings = self.settings
        every = settings.validate_every or max(1, self.steps // self.validations)
        events = None
        if self.folder is not None and self.ranks.first:
            events = Events(self.folder)
        began = time.monotonic() - progress.seconds
        saved = time.monotonic()
        why = "done"
        with torch.random.fork_rng(), self._signals(), self._batches() as batches:
            if not progress.rows:
                self._judge({"step": 0.0})
            while progress.step < self.steps and why == "done":
                row = self._step(batches(progress.step))
                progress.step += 1
                progress.seconds = time.monotonic() - began
                row["seconds"] = round(progress.seconds, 3)
                if self._over():
                    why = "time"
                if progress.step % every == 0 or progress.step == self.steps or why == "time":
                    self._judge(row)
                    if settings.patience and progress.waited >= settings.patience:
                        why = "patience"
                elif progress.step % 10 == 0:
                    progress.rows.append(row)
                if events is not None:
                    events.add(row)
                if say is not None:
                    say(progress.step, self.steps, row)
                if self.ranks.total(float(self._signal != 0)):
                    why = "signal"
                last = why != "done" or progress.step == self.steps
                if last or time.monotonic() - saved >= settings.save_every_s:
                    self.save()
                    saved = time.monotonic()
        if events is not None:
            events.close()
        return TrainingOutcome(why, self._signal, progress)

    def save(self) -> None:
        if self.folder is not None and self.ranks.first:
            save_state(self.folder, self.adapted, self.optimizer, self.average, self.progress)

    def _over(self) -> bool:
        """Whether the budget of time is used up; all processes decide alike."""
        over = bool(self.settings.minutes) and self.progress.seconds > 60 * self.settings.minutes
        return bool(self.ranks.agree(float(over)))

    def _step(self, batch: list[Example]) -> Row:
        """One step of the optimiser; one whose gradient is not finite is left out."""
        progress = self.progress
        self.adapted.progress = progress.step / self.steps
        factor = _schedule(progress.step, self.steps, self.settings.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate * group["factor"] * factor
        terms = self._gradients(batch)
        parameters = list(self.adapted.trained.values())
        norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.clip))
        if math.isfinite(norm):
            self.optimizer.step()
            self.average.update(self.adapted)
            progress.skipped = 0
        else:
            progress.skipped += 1
            log.warning("step %d has no finite gradient and is left out", progress.step + 1)
        self.optimizer.zero_grad()
        if progress.skipped >= SKIPS:
            raise SegscopeError(
                f"{SKIPS} steps in a row, up to step {progress.step + 1}, gave no finite gradient: the training "
                "diverged or a image holds broken numbers. Lower --rate (a tenth is a good try), take --precision "
                "float32, or run `segscope data check` on the data"
            )
        rate = self.settings.rate * factor
        return {"step": float(progress.step + 1), **terms, "rate": rate, "gradient": norm}

    def _gradients(self, batch: list[Example]) -> dict[str, float]:
        """Gradients of the mean loss over the whole batch; this process works through its share of
        it.
        """
        size = -(-len(batch) // self.settings.accumulate)
        means: dict[str, float] = {}
        with _training(self.adapted.train_mode):
            for start in range(0, len(batch), size):
                part = batch[start : start + size]
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    terms: Terms = self.adapted.method.loss(self.adapted, part)
                weight = len(part) / self.sampler.places
                loss: Tensor = terms["loss"] * weight
                loss.backward()
                for name, value in terms.items():
                    means[name] = means.get(name, 0.0) + float(value.detach()) * weight
        self.ranks.average(self.adapted.trained.values())
        return {name: self.ranks.total(value) for name, value in means.items()}

    # --- judging ---------------------------------------------------------------------------------

    def _validated(self) -> dict[str, float]:
        """Figures of the averaged weights, on the first process."""
        if not self.ranks.first:
            return {"dice": 0.0}
        held = {name: item.detach().clone() for name, item in self.adapted.tensors().items()}
        if self.settings.average:
            self.adapted.fill(self.average.values)
        try:
            return self.validate(self.adapted)
        finally:
            self.adapted.fill(held)

    def _judge(self, row: Row) -> None:
        """Validate, and keep the weights if they are the best so far."""
        progress = self.progress
        figures = self._validated()
        figures["dice"] = self.ranks.agree(figures["dice"])
        row |= {f"val {name}": value for name, value in figures.items()}
        progress.rows.append(row)
        if not progress.best or figures["dice"] > progress.best["dice"]:
            if self.settings.average:
                source = self.average.values
            else:
                source = self.adapted.tensors()
            progress.best = {**figures, "step": row["step"]}
            progress.kept = {name: item.detach().clone() for name, item in source.items()}
            progress.waited = 0
        else:
            progress.waited += 1

    # --- examples --------------------------------------------------------------------------------

    def _batch(self, step: int) -> list[Example]:
        """This process's examples of a step; chance follows from the step alone."""
        torch.manual_seed(hash((self.settings.seed, step, self.ranks.rank)) % 2**63)
        places = range(self.ranks.rank, self.sampler.places, self.ranks.world)
        return [self.sampler.example(step, place) for place in places]

    @contextlib.contextmanager
    def _batches(self) -> Iterator[Callable[[int], list[Example]]]:
        """Gives batches by step; threads prepare the next ones."""
        if not self.settings.workers:
            yield self._batch
            return
        waiting: dict[int, list[Future[Example]]] = {}
        places = range(self.ranks.rank, self.sampler.places, self.ranks.world)
        with ThreadPoolExecutor(self.settings.workers, "segscope-examples") as pool:

            def order(step: int) -> None:
                if step not in waiting and step < self.steps:
                    waiting[step] = [
                        pool.submit(self.sampler.example, step, place) for place in places
                    ]

            def batch(step: int) -> list[Example]:
                torch.manual_seed(hash((self.settings.seed, step, self.ranks.rank)) % 2**63)
                for ahead in range(3):
                    order(step + ahead)
                return [future.result() for future in waiting.pop(step)]

            try:
                yield batch
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step that is going on, saved; a second one ends
        it at once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, _frame: FrameType | None) -> None:
            if self._signal:
                signal.signal(number, before[signal.Signals(number)])
                raise KeyboardInterrupt
            self._signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _groups(adapted: Adapted, settings: TrainingSettings) -> list[dict[str, object]]:
    """Parameters by learning rate, matrices with decay and the rest without."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, item in adapted.trained.items():
        groups.setdefault(
            (adapted.rate(name), settings.decay if item.ndim > 1 else 0.0), []
        ).append(item)
    return [
        {"params": held, "weight_decay": decay, "factor": factor}
        for (factor, decay), held in sorted(groups.items(), key=lambda pair: pair[0])
    ]


def _schedule(step: int, steps: int, warm_up: float) -> float:
    """Factor of the learning rate: a rise over a share of the steps, then half a cosine to a
    hundredth.
    """
    warm = max(1, round(warm_up * steps))
    if step < warm:
        return (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


@contextlib.contextmanager
def _training(modules: tuple[nn.Module, ...]) -> Iterator[None]:
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module in modules:
            module.eval()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1024
    if sys.platform == "darwin":
        unit = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
