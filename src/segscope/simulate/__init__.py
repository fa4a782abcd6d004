"""Simulated prompts: clicks, boxes and scribbles from the truth and the current masks.

`segscope.simulate.plan` combines these simulators into one interaction,
`segscope.simulate.corrupt` degrades images. Uses numpy and scipy only; all randomness comes from a
generator that is passed in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from segscope.errors import UnknownName
from segscope.prompts import Prompt
from segscope.simulate import boxes, clicks, masks, points, scribbles
from segscope.simulate.annotation_target import AnnotationTarget

__all__ = ["SHORT", "SIMULATORS", "AnnotationTarget", "Simulator", "simulator"]


@dataclass(frozen=True)
class Simulator:
    """One row of the table.

    Attributes:
        make: (target, rng, **options) to prompts; the options are its keyword-only parameters. It
            needs an object on the target's frame or, for corrections, an error.
        about: what it does.
        origin: paper or software that introduced the rule.
        number: the option that a number without a name sets.
        corrects: whether it can also correct errors.
        whole: whether it chooses the frame itself.
    """

    make: Callable[..., list[Prompt]]
    about: str
    origin: str
    number: str | None = None
    corrects: bool = False
    whole: bool = False

    @cached_property
    def options(self) -> dict[str, Any]:
        """Default of each option."""
        parameters = inspect.signature(self.make).parameters.values()
        return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


SIMULATORS = {
    "click.rt": Simulator(
        clicks.rt, "deepest pixel of the deeper error", "RITM; SAM, SAM 2", corrects=True
    ),
    "click.cc3d": Simulator(
        clicks.cc3d,
        "deepest voxel of the largest error in 3D",
        "CVPR 2025 challenge",
        corrects=True,
        whole=True,
    ),
    "click.center": Simulator(
        clicks.center, "centres of the largest errors", "ScribblePrompt", corrects=True
    ),
    "click.random": Simulator(
        clicks.anywhere, "anywhere in the errors", "ScribblePrompt", corrects=True
    ),
    "click.border": Simulator(
        clicks.border, "near the edges of the errors", "ScribblePrompt", corrects=True
    ),
    "points.k": Simulator(
        points.points,
        "one near the centroid, others inside, negatives far outside",
        "Sengupta 2024",
        "k",
    ),
    "points.top": Simulator(points.top, "centres of the k largest parts", "Dong 2024", "k"),
    "box.tight": Simulator(boxes.tight, "tight box of the object", "SAM"),
    "box.multi": Simulator(
        boxes.multi, "tight box of each part", "context-dependent concepts 2024; Dong 2024"
    ),
    "box.jitter": Simulator(
        boxes.jitter,
        "box loosened in one of five published ways",
        "MedSAM2; CVPR 2025; ScribblePrompt",
    ),
    "box3d.mid": Simulator(
        boxes.middle, "box of the middle slice, and both ends", "CVPR 2025 challenge", whole=True
    ),
    "scribble.line": Simulator(
        scribbles.line, "line between two pixels inside", "ScribblePrompt", corrects=True
    ),
    "scribble.center": Simulator(
        scribbles.center,
        "strokes along the skeleton",
        "ScribblePrompt; nnInteractive",
        corrects=True,
    ),
    "scribble.contour": Simulator(
        scribbles.contour, "strokes along the eroded outline", "ScribblePrompt", corrects=True
    ),
    "lasso": Simulator(masks.lasso, "region encircled by hand", "nnInteractive", corrects=True),
    "mask.gt": Simulator(masks.exact, "the true mask", "SAM 2", corrects=True),
    "mask.morph": Simulator(
        masks.morph,
        "the true mask eroded or dilated",
        "context-dependent concepts 2024",
        corrects=True,
    ),
    "everything": Simulator(masks.everything, "no prompt: masks of everything", "SAM"),
}

SHORT = {
    "clicks": "click.rt",
    "click": "click.rt",
    "points": "points.k",
    "point": "points.k",
    "box": "box.tight",
    "scribble": "scribble.center",
    "mask": "mask.gt",
}
"""Short names, as users write them."""


def simulator(name: str) -> Simulator:
    """The simulator of a name in the table.

    Raises:
        UnknownName: no such simulator.
    """
    if name not in SIMULATORS:
        raise UnknownName("prompt simulator", name, [*SHORT, *SIMULATORS])
    return SIMULATORS[name]
