"""Tolerances that follow from arithmetic, and what a computation consists of.

Two correct float32 computations of one value differ, because the processor decides in which order
sums are taken. How far they may differ is asked of a third: the same computation in float64, which
is exact by comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

EPSILON = torch.finfo(torch.float32).eps

FACTOR = 3.0
"""How many times the reference's own float32 error ours may be; both are maxima over the same
few thousand values."""

FLOOR = 8.0
"""Rounding steps of float32, at the largest value, that are always allowed: a reference may be
exact by chance."""

STEPS = 64.0
"""Rounding steps of float32, at the largest value, by which two runs of one network may differ.

Each of some sixty layers in a row adds an error of about a step. Errors of both signs add up to
eight steps, the square root of sixty, and the largest among thousands of values is four times the
usual one: 32 steps for each run.
"""


class FullMemories(TorchFunctionMode):
    """Leaves out the rounding of memories to bfloat16, in our code and in transformers'.

    Tracking multiplies float32 errors by this rounding: a tiny one can round a memory the other
    way.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is Tensor.to and torch.bfloat16 in args:
            return args[0]
        return function(*args, **(kwargs or {}))


def assert_same_run(one: Tensor, other: Tensor) -> None:
    """Assert that two float32 results of one network differ by the order of sums at most."""
    error = largest(one - other)
    allowed = STEPS * EPSILON * largest(one)
    assert error <= allowed, f"difference {error:.2g}, allowed {allowed:.2g}"


def assert_parity(ours: Tensor, reference: Tensor, exact: Tensor, *, rounding: float = 0.0) -> None:
    """Assert that ours is as near to the exact result as another float32 implementation.

    Args:
        ours, reference: float32 results of two implementations.
        exact: the reference in float64.
        rounding: largest effect of values that are deliberately stored in fewer bits. A float32
            error can round such a value the other way, which is another rounding of the same
            number: all of that together moves the result by no more than rounding itself does.
    """
    noise = FACTOR * largest(reference.double() - exact) + FLOOR * EPSILON * largest(exact)
    allowed = noise + rounding
    error = largest(ours.double() - exact)
    assert error <= allowed, f"error {error:.2g}, allowed {allowed:.2g}"


def largest(values: Tensor) -> float:
    return float(values.abs().max())


def operations(run: Callable[[], Any]) -> list[str]:
    """Names, shapes and strides of all torch operations of a run.

    Runs that are alike in this give the same bits for the same numbers: the shape and layout of its
    operands decide which kernel an operation uses.
    """
    recorder = _Recorder()
    with recorder:
        run()
    return recorder.seen


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        layouts = [_layout(item) for item in args if isinstance(item, Tensor)]
        self.seen.append(f"{operation} {layouts}")
        return operation(*args, **(kwargs or {}))


def _layout(item: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides; packed weights have no strides."""
    strides = item.stride() if item.layout == torch.strided else ()
    return tuple(item.shape), strides
