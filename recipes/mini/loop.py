"""The training loop that both stages share: device, rates, averaging, saving, resuming."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segscope.models.mini import MiniModel, build_mini

log = logging.getLogger("mini")


@dataclass
class Settings:
    """What a run is; read from settings.toml, changed on the command line."""

    stage: str = "image"
    data: Path = Path(".")
    out: Path = Path("mini-run")
    device: str = "cpu"
    steps: int = 7000
    #: leave after this step, as if interrupted; 0 to go on to the end
    stop_at: int = 0
    #: end after so many seconds, and let rates and sizes follow the time instead of the steps; 0
    #: not to
    seconds: float = 0.0
    #: processes that make scenes or clips while the device computes; 0 makes `made_up` scenes
    #: before, and no more
    workers: int = 0
    seed: int = 1
    made_up: int = 6000
    share_real: float = 0.6
    share_box: float = 0.55
    rate: float = 1.2e-3
    decay: float = 0.02
    warm_up: int = 100
    flat: float = 0.35
    average: float = 0.999
    rounds: tuple[float, ...] = (0.34, 0.26, 0.18, 0.13, 0.09)
    #: share of the steps at which each input size begins, and images (clips) a step at it
    sizes: tuple[tuple[float, int, int], ...] = ((0.0, 128, 20), (0.58, 192, 10), (0.88, 256, 6))
    save_every: float = 150.0
    log_every: int = 50
    #: half precision (bfloat16) where the device is quick at it
    bf16: bool = True
    #: stage memory: steps on pairs of frames before clips, and their input size
    warm_steps: int = 500
    warm_size: int = 192
    resume: bool = False
    #: weights to start from
    start: Path | None = None

    def half(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.bf16)


class Average:
    """Running average of weights and batch statistics."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.rate = rate
        self.steps = 0
        self.values = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        rate = min(self.rate, self.steps / (self.steps + 10))
        torch._foreach_lerp_(
            list(self.values.values()), list(model.state_dict().values()), 1 - rate
        )


def write_weights(values: dict[str, Tensor], path: Path, notes: dict[str, str]) -> None:
    """fp16 safetensors, replaced in one move."""
    part = Path(f"{path}.part")
    save_file({k: v.half().cpu().contiguous() for k, v in values.items()}, part, metadata=notes)
    part.chmod(0o644)
    part.replace(path)


def share_weights(models: list[MiniModel]) -> None:
    """Let all models (one an input size) use the first one's parameters and statistics."""
    first = models[0]
    for other in models[1:]:
        for (name, _), shared in zip(
            list(other.named_parameters()), first.parameters(), strict=True
        ):
            setattr(other.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], shared)
        for (name, own), shared in zip(list(other.named_buffers()), first.buffers(), strict=True):
            if own.shape == shared.shape:
                other.get_submodule(name.rpartition(".")[0])._buffers[name.rpartition(".")[2]] = (
                    shared
                )


def start_from(settings: Settings) -> Callable[[MiniModel], None]:
    """Gives a fresh model the weights that the settings name, if any."""

    def load(model: MiniModel) -> None:
        if settings.start is not None:
            model.load_state_dict({k: v.float() for k, v in load_file(settings.start).items()})

    return load


class Loop:
    """A run.

    Args:
        settings: of the run.
        choose: parameters to train, from the model.
        prepare: called once with the fresh model, before anything is resumed.
    """

    def __init__(
        self,
        settings: Settings,
        choose: Callable[[MiniModel], list[Tensor]],
        prepare: Callable[[MiniModel], None] = lambda _: None,
    ) -> None:
        settings.out.mkdir(parents=True, exist_ok=True)
        place = settings.out / f"{settings.stage}.log"
        logging.basicConfig(filename=place, level=logging.INFO, format="%(asctime)s %(message)s")
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.device = torch.device(settings.device)
        self.models = {size: build_mini(size).to(self.device) for _, size, _ in settings.sizes}
        share_weights(list(self.models.values()))
        self.model = next(iter(self.models.values()))
        prepare(self.model)
        self.parameters = choose(self.model)
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": settings.decay},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings.rate, fused=self.device.type == "cuda"
        )
        self.average = Average(self.model, settings.average)
        self.step = 0
        self.seen = 0
        self.began = time.time()
        self.saved = time.time()
        self.notes: dict[str, list[Tensor]] = {}
        if settings.resume and self.state.exists():
            self.load()

    @property
    def state(self) -> Path:
        return self.settings.out / f"state_{self.settings.stage}.pt"

    def rng(self) -> torch.Generator:
        """Of this step: resumed runs draw what undisturbed ones do."""
        return torch.Generator(self.device).manual_seed(self.settings.seed * 1_000_003 + self.step)

    def load(self) -> None:
        saved = torch.load(self.state, weights_only=True, map_location=self.device)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average.values = saved["average"]
        self.average.steps = saved["step"]
        self.step = saved["step"]
        self.seen = saved["seen"]

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average.values,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seen": self.seen,
        }
        part = self.state.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.state)
        notes = {
            f"{self.settings.stage}_steps": str(self.step),
            f"{self.settings.stage}_seen": str(self.seen),
        }
        write_weights(
            self.average.values,
            self.settings.out / f"mini_{self.settings.stage}.safetensors",
            notes,
        )
        self.saved = time.time()

    def share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        limit = self.settings.seconds
        if limit:
            return min(1.0, (time.time() - self.began) / limit)
        return self.step / self.settings.steps

    def steps(self) -> Iterator[tuple[int, int, float]]:
        """(input size, images, share of the run) of each step that is still to do."""
        last = self.settings.stop_at or (10**9 if self.settings.seconds else self.settings.steps)
        while self.step < last and (share := self.share()) < 1.0:
            _, size, count = [s for s in self.settings.sizes if s[0] <= share][-1]
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(share)
            self.optimizer.zero_grad()
            yield size, count, share
            self.finish(size, count, share)
        self.save()
        log.info("done: %d steps, %d seen, %.0f s", self.step, self.seen, time.time() - self.began)

    def rate(self, share: float) -> float:
        """Warm-up, flat, then a cosine down to a hundredth."""
        settings = self.settings
        warm = min(1.0, (self.step + 1) / settings.warm_up)
        fall = max(0.0, (share - settings.flat) / (1 - settings.flat))
        return settings.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))

    def finish(self, size: int, count: int, share: float) -> None:
        """Take the step, log and save. A gradient that is not finite changes nothing."""
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for p in self.parameters:
            if p.grad is not None:
                p.grad = torch.where(norm.isfinite(), p.grad, 0.0)
        self.optimizer.step()
        self.average.update(self.model)
        self.step = self.step + 1
        self.seen = self.seen + count
        if self.step % self.settings.log_every == 0:
            means = " ".join(
                f"{k} {torch.stack(v).nanmean():.3f}" for k, v in sorted(self.notes.items())
            )
            log.info(
                "%d seen %d share %.3f size %d norm %.2f %.0f s %s",
                self.step, self.seen, share, size, norm, time.time() - self.began, means,
            )  # fmt: skip
            self.notes.clear()
        if time.time() - self.saved > self.settings.save_every:
            self.save()

    def note(self, name: str, value: Tensor) -> None:
        """Keep a scalar for the log, without waiting for it."""
        self.notes.setdefault(name, []).append(value.detach())
