"""Where the workers of tests find their engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.load import load
from segscope.models.engine import Engine
from segscope.models.model_cards import card


@cache
def mini(name: str = "mini") -> Engine:
    """The engine of a name, loaded once a process."""
    return load(name, device="cpu")


class Bright:
    """A network without prompts, by hand: what is brighter than the mean is class 1."""

    def __init__(self, name: str) -> None:
        self.card = replace(card("mini"), name=name, prompts=(), memory=False, trained_on=())
        self.device, self.dtype, self.input_size = torch.device("cpu"), torch.float32, 64
        self.weights_hash, self.classes = "0" * 16, ("body",)

    def predict(self, rgb: NDArray[np.uint8]) -> Tensor:
        grey = torch.from_numpy(rgb.astype(np.float32).mean(-1))
        inside = grey - grey.mean()
        return torch.stack([-inside, inside])

    def settings(self) -> dict[str, Any]:
        return {"input_size": self.input_size}


def bright(name: str) -> Bright:
    return Bright(name)
