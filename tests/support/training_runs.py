"""A whole run, also in a process of its own: to be killed, or to be one of several."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from segscope.adapt import method
from segscope.adapt.data.training_set import CaseSelection
from segscope.adapt.training.run import TrainingRequest, TrainingResult, adapt
from segscope.io.datasets.reading import read_dataset
from segscope.load import load


def train(
    name: str,
    data: Path,
    base: Path,
    out: Path,
    *,
    resume: bool = False,
    say: Callable[[int], None] = lambda _done: None,
    **changes: Any,
) -> TrainingResult:
    torch.set_num_threads(1)
    engine = load(base, device="cpu")
    usual: dict[str, Any] = {"steps": 8, "batch": 2, "save_every_s": 0.0, "validate_every": 4}
    chosen, labels = method(name).default_for(engine.card), CaseSelection(labels=("body",))
    request = TrainingRequest(
        engine, str(base), chosen, (read_dataset(data),), labels, out, usual | changes, resume
    )
    return adapt(request, say=lambda done, _total, _row: say(done))


def elsewhere(*arguments: Any, **environment: str) -> tuple[Any, Connection]:
    """Start `train` in a process of its own; gives it, and where it says which step is done."""
    context = multiprocessing.get_context(
        "fork"
    )  # what is imported here need not be imported there
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, environment, *arguments))
    process.start()
    there.close()
    return process, here


def _child(there: Connection, environment: dict[str, str], *arguments: Any) -> None:
    os.environ.update(environment)
    train(*arguments, say=there.send)
