"""Plan: what a simulated annotator does in one interaction, read from a line of text.

    clicks:5                                 a click, then corrections, five answers in all
    box+clicks:3                             a box, then three rounds of corrective clicks
    points:3,negatives=2                     three points on the object, two beside it
    box.jitter:kind=b,pixels=10@largest      a loose box on the frame with most of the object
    mask:jitter_px=2@uniform=3               the true mask, shifted by up to two pixels, on three
                                             frames
    box3d.mid+clicks.cc3d:5                  round 0 and rounds 1 to 5 of the CVPR 2025 challenge
    clicks:8@worst                           first click on the first frame, corrections on the
                                             worst
    everything                               no prompt

The first prompts come before +, corrections after it, and the rule for frames after @. A colon is
followed by a number (of points for `points`, otherwise of answers; after + of corrections) and
options name=value. The first step also takes the options of `segscope.simulate.noise.Noise`, which
apply to the whole plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.prompts import Prompt
from segscope.simulate import simulator
from segscope.simulate.annotation_target import AnnotationTarget, Rng
from segscope.simulate.frames import FrameRule
from segscope.simulate.noise import Noise
from segscope.simulate.options import check_options
from segscope.simulate.plan_text import MAX_ROUNDS, Options, PlanStep, format_step, parse_step

Masks = NDArray[np.bool_]  # (frame, row, column)

NOISE = [field.name for field in fields(Noise)]
NO_NOISE = Noise()


@dataclass(frozen=True, slots=True)
class Plan:
    """First prompts, corrections, frames and errors of the hand.

    Attributes:
        opening: simulator of the first prompts.
        options: its options as (name, value); those at their defaults are left out.
        corrections: simulator of all later prompts, or None.
        correction_options: its options.
        rounds: number of answers: 1, and one for each correction.
        frames: where to prompt. None: first the frame with most of the object, then the worst one.
        noise: errors of the hand.

    Raises:
        UsageError: names, options or numbers that do not fit together.

    Example:
        >>> plan = Plan.parse("box:jitter=0.1+clicks:3@largest")
        >>> plan.opening, plan.corrections, plan.rounds
        ('box.tight', 'click.rt', 4)
        >>> str(plan)
        'box:jitter=0.1+clicks:3@largest'
    """

    opening: str = "click.rt"
    options: Options = ()
    corrections: str | None = None
    correction_options: Options = ()
    rounds: int = 1
    frames: FrameRule | None = None
    noise: Noise = NO_NOISE

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _without_defaults(self.opening, self.options))
        if self.corrections is None:
            self._check_without_corrections()
        else:
            options = _without_defaults(self.corrections, self.correction_options)
            object.__setattr__(self, "correction_options", options)
            self._check_corrections(self.corrections)
        if self.frames is not None and not self._takes_frames():
            raise UsageError(
                f"{self.opening!r} chooses its frame itself; leave out '@{self.frames}'"
            )

    def _check_without_corrections(self) -> None:
        if self.correction_options:
            raise UsageError("a plan without corrections has no correction_options; leave them out")
        if self.rounds != 1:
            raise UsageError(f"a plan without corrections has 1 round, got {self.rounds}")

    def _check_corrections(self, name: str) -> None:
        if not simulator(name).corrects:
            raise UsageError(f"{name!r} cannot correct; clicks, scribbles, masks and lasso can")
        if not 2 <= self.rounds <= MAX_ROUNDS:
            raise UsageError(
                f"a plan with corrections has 2 to {MAX_ROUNDS} rounds, got {self.rounds}"
            )

    def _takes_frames(self) -> bool:
        """Whether a step depends on the rule for frames."""
        names = [name for name in (self.opening, self.corrections) if name is not None]
        return not all(simulator(name).whole for name in names)

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan that a text describes; see the head of this module.

        Raises:
            UsageError: the text is not a plan.
        """
        body, at, rule = text.partition("@")
        before, plus, after = body.partition("+")
        opening = parse_step(before)
        corrections: PlanStep | None
        if plus:
            corrections = _parse_corrections(opening, after, text)
        else:
            corrections = _repeat_opening(opening, before)
        known = [*simulator(opening.name).options, *NOISE]
        options = check_options(opening.name, opening.options, known)
        noise: dict[str, Any] = {name: options.pop(name) for name in NOISE if name in options}
        plan = cls(opening.name, tuple(options.items()), noise=Noise(**noise))
        if corrections is not None:
            plan = replace(
                plan,
                corrections=corrections.name,
                correction_options=corrections.options,
                rounds=1 + (corrections.rounds or 1),
            )
        if at:
            plan = replace(plan, frames=FrameRule.parse(rule))
        return plan

    def __str__(self) -> str:
        noise = [(name, value) for name, value in asdict(self.noise).items() if value]
        options = [*self.options, *noise]
        rule = ""
        if self.frames is not None:
            rule = f"@{self.frames}"
        if self.corrections is None:
            return format_step(self.opening, options) + rule
        if (self.corrections, self.correction_options) == (self.opening, self.options):
            return format_step(self.opening, options, self.rounds) + rule
        correction = format_step(self.corrections, self.correction_options, self.rounds - 1)
        return f"{format_step(self.opening, options)}+{correction}{rule}"

    def first(
        self,
        truth: Masks,
        rng: Rng,
        *,
        object_id: int = 1,
        frames: Sequence[int] | None = None,
    ) -> list[Prompt]:
        """The prompts of round 0.

        Args:
            truth: (frame, row, column) bool, the object; an image is one frame.
            frames: where to prompt, in place of the plan's rule.

        Returns:
            Prompts on frames that show the object; none for an object that is on no frame, and none
            for "everything".
        """
        _check_masks(truth)
        row = simulator(self.opening)
        options = dict(self.options)
        if frames is None:
            frames = self._first_frames(truth)
        prompts: list[Prompt] = []
        for frame in frames:
            if row.whole or truth[frame].any():
                target = AnnotationTarget(truth, None, frame, object_id)
                prompts += row.make(target, rng, **options)
        return self.noise.apply(prompts, truth, rng)

    def _first_frames(self, truth: Masks) -> list[int]:
        if simulator(self.opening).whole:
            return [0]
        rule = self.frames or FrameRule("largest")
        return rule.choose(truth)

    def correct(
        self,
        truth: Masks,
        predicted: Masks,
        rng: Rng,
        prompts: Sequence[Prompt] = (),
        *,
        object_id: int = 1,
        frame: int | None = None,
    ) -> list[Prompt]:
        """The prompts of a later round.

        Args:
            truth: (frame, row, column) bool.
            predicted: the answer so far, of the same shape.
            prompts: all earlier prompts; pixels clicked before are not clicked again (except by
                errors of the hand).
            frame: where to correct, in place of the plan's rule.

        Returns:
            Prompts on frames with errors. None if there are no errors, if the rule chooses no
            frame, if every wrong pixel was clicked before, or if the plan has no corrections.
        """
        _check_masks(truth, predicted)
        if self.corrections is None:
            return []
        row = simulator(self.corrections)
        options = dict(self.correction_options)
        target = AnnotationTarget(truth, predicted, 0, object_id, tuple(prompts))
        if row.whole:
            return self.noise.apply(row.make(target, rng, **options), truth, rng)
        if frame is None:
            rule = self.frames or FrameRule("worst")
            chosen = rule.choose(truth, predicted)
        else:
            chosen = [frame]
        wrong = (truth != predicted).any(axis=(1, 2))
        corrections: list[Prompt] = []
        for place in sorted({self._delay(place, wrong) for place in chosen}):
            if wrong[place]:
                corrections += row.make(replace(target, frame=place), rng, **options)
        return self.noise.apply(corrections, truth, rng)

    def _delay(self, frame: int, wrong: NDArray[np.bool_]) -> int:
        """The frame on which a late annotator corrects an error of `frame`: the first one at least
        so much later that is wrong too.
        """
        late = np.flatnonzero(wrong[frame + self.noise.late :])
        if not self.noise.late or not len(late):
            return frame
        return frame + self.noise.late + int(late[0])


def _parse_corrections(opening: PlanStep, after: str, text: str) -> PlanStep:
    """The step after "+"."""
    corrections = parse_step(after)
    if opening.rounds is not None:
        raise UsageError(
            f"{text!r}: the number of corrections comes after +, as in 'clicks+scribble:3'"
        )
    return corrections


def _repeat_opening(opening: PlanStep, text: str) -> PlanStep | None:
    """The corrections of a plan such as "clicks:5", or None."""
    if opening.rounds is None:
        return None
    if not simulator(opening.name).corrects:
        raise UsageError(
            f"{text!r}: {opening.name!r} takes no number; corrections are written 'box+clicks:3'"
        )
    if opening.rounds == 1:
        return None
    options = tuple(item for item in opening.options if item[0] not in NOISE)
    return PlanStep(opening.name, opening.rounds - 1, options)


def _without_defaults(name: str, options: Iterable[tuple[str, Any]]) -> Options:
    """The options that differ from their defaults, checked."""
    defaults = simulator(name).options
    values = check_options(name, options, defaults)
    return tuple((key, value) for key, value in values.items() if value != defaults[key])


def _check_masks(truth: Masks, *others: Masks) -> None:
    for mask in (truth, *others):
        if mask.dtype != np.bool_ or (mask.ndim, mask.shape) != (3, truth.shape):
            raise UsageError(
                "masks must be bool (frame, row, column) of one shape, where an image is one "
                f"frame; got {mask.dtype} {mask.shape} for a truth of {truth.shape}"
            )
