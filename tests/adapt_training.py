"""A run of its own process, to be killed or to be one of several: python adapt_training.py DATA BASE OUT [--resume] ..."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from segscope.adapt import method
from segscope.adapt.data import Choice
from segscope.adapt.run import Request, Result, adapt
from segscope.io.cases import dataset
from segscope.load import load


def train(data: str, base: str, out: str, *flags: str, **changes: Any) -> Result:
    torch.set_num_threads(1)
    engine = load(base, device="cpu")
    usual: dict[str, Any] = {"steps": 12, "batch": 2, "save_every_s": 0.0, "validate_every": 4}
    kind = method("lora" if "--lora" in flags else "decoder")
    request = Request(
        engine, base, kind.suited(engine.card), (dataset(data),), Choice(labels=("body",)), Path(out),
        usual | changes, resume="--resume" in flags,
    )  # fmt: skip
    return adapt(request, say=lambda done, _total, _row: print("done", done, flush=True))


if __name__ == "__main__":
    train(*sys.argv[1:])
