"""Plan: what a simulated person does in one interaction, read from a line of text.

    clicks:5                                   a click, then corrections, until there were five
    answers box+clicks:3                               a box, then three rounds of corrective clicks
    points:3,negatives=2                       three points on the object, two beside it
    box.jitter:kind=b,pixels=10@largest        a loose box on the frame with most of the object
    mask:jitter_px=2@uniform=3                 the true mask, misplaced by up to two pixels, on
    three frames box3d.mid+clicks.cc3d:5                    round 0 and rounds 1 to 5 of the CVPR
    2025 challenge clicks:8@worst                             first click on the first frame,
    corrections on the worst everything                                 no prompt

In words: what comes first, after + what corrects, after @ on which frames. After a colon stand a
number (of points for `points`, of answers else; after + of corrections) and options name=value, of
which the first step also takes those of `segscope.simulate.noise.Noise`, for the whole plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.prompts import Prompt
from segscope.simulate import SHORT, simulator
from segscope.simulate.annotation_target import Rng, Target
from segscope.simulate.frames import FrameRule
from segscope.simulate.noise import Noise
from segscope.simulate.options import Value, check_options

Masks = NDArray[np.bool_]  # (frame, row, column)
Options = tuple[tuple[str, Value], ...]

NOISE = [field.name for field in fields(Noise)]
NO_NOISE = Noise()
MOST_ROUNDS = 1000


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
        object.__setattr__(self, "options", _fit(self.opening, self.options))
        later = self.corrections
        if later is not None:
            object.__setattr__(self, "correction_options", _fit(later, self.correction_options))
            if not simulator(later).corrects:
                raise UsageError(
                    f"{later!r} cannot correct; clicks, scribbles, masks and lasso can"
                )
        elif self.correction_options:
            raise UsageError("a plan without corrections has no correction_options; leave them out")
        low, high = (1, 1) if later is None else (2, MOST_ROUNDS)
        if not low <= self.rounds <= high:
            raise UsageError(
                f"rounds are 1 without corrections, 2 to {MOST_ROUNDS} with them; got {self.rounds} "
                f"{'without' if later is None else 'with'}"
            )
        if (
            self.frames is not None
            and simulator(self.opening).whole
            and (later is None or simulator(later).whole)
        ):
            raise UsageError(
                f"{self.opening!r} chooses its frame itself; leave out '@{self.frames}'"
            )

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan that a text describes; see the head of this module.

        Raises:
            UsageError: the text is not a plan.
        """
        body, at, rule = text.partition("@")
        before, plus, after = body.partition("+")
        first = _read(before)
        then = _read(after) if plus else None
        if then is None and first.number is not None:
            if not simulator(first.name).corrects:
                raise UsageError(
                    f"{before!r}: {first.name!r} takes no number; corrections are written 'box+clicks:3'"
                )
            own = tuple(item for item in first.items if item[0] not in NOISE)
            then = _Step(first.name, first.number - 1, own) if first.number > 1 else None
        elif first.number is not None:
            raise UsageError(
                f"{text!r}: the number of corrections stands after +, as in 'clicks+scribble:3'"
            )
        checked = check_options(first.name, first.items, [*simulator(first.name).options, *NOISE])
        noise: dict[str, Any] = {name: checked.pop(name) for name in NOISE if name in checked}
        return cls(
            opening=first.name,
            options=tuple(checked.items()),
            corrections=None if then is None else then.name,
            correction_options=() if then is None else then.items,
            rounds=1 if then is None else 1 + (then.number or 1),
            frames=FrameRule.parse(rule) if at else None,
            noise=Noise(**noise),
        )

    def __str__(self) -> str:
        items = (
            *self.options,
            *((name, value) for name, value in asdict(self.noise).items() if value),
        )
        rule = "" if self.frames is None else f"@{self.frames}"
        if self.corrections is None:
            return _write(self.opening, items) + rule
        if (self.corrections, self.correction_options) == (self.opening, self.options):
            return _write(self.opening, items, self.rounds) + rule
        correction = _write(self.corrections, self.correction_options, self.rounds - 1)
        return f"{_write(self.opening, items)}+{correction}{rule}"

    def first(
        self, truth: Masks, rng: Rng, *, object_id: int = 1, frames: Sequence[int] | None = None
    ) -> list[Prompt]:
        """The prompts of round 0.

        Args:
            truth: (frame, row, column) bool, the object; a image is one frame.
            frames: where to prompt, in place of the plan's rule.

        Returns:
            Prompts on frames where the object is; none for an object that is nowhere, and none for
            "everything".
        """
        _check_masks(truth)
        row = simulator(self.opening)
        options = dict(self.options)
        if frames is None:
            frames = [0] if row.whole else (self.frames or FrameRule("largest")).choose(truth)
        prompts: list[Prompt] = []
        for frame in frames:
            if row.whole or truth[frame].any():
                prompts += row.make(Target(truth, None, frame, object_id), rng, **options)
        return self.noise.apply(prompts, truth, rng)

    def correct(
        self,
        truth: Masks,
        found: Masks,
        rng: Rng,
        given: Sequence[Prompt] = (),
        *,
        object_id: int = 1,
        frame: int | None = None,
    ) -> list[Prompt]:
        """The prompts of a later round.

        Args:
            truth: (frame, row, column) bool.
            found: the answer so far, of the same shape.
            given: all earlier prompts; pixels clicked before are not clicked again (but for errors
                of the hand).
            frame: where to correct, in place of the plan's rule.

        Returns:
            Prompts on frames where something is wrong. None if nothing is, if the rule finds no
            frame worth a correction, if every wrong pixel was clicked before, or if the plan has no
            corrections.
        """
        _check_masks(truth, found)
        if self.corrections is None:
            return []
        row = simulator(self.corrections)
        options = dict(self.correction_options)
        target = Target(truth, found, 0, object_id, tuple(given))
        if row.whole:
            return self.noise.apply(row.make(target, rng, **options), truth, rng)
        chosen = (
            (self.frames or FrameRule("worst")).choose(truth, found) if frame is None else [frame]
        )
        prompts: list[Prompt] = []
        for at in sorted({self._later(at, truth, found) for at in chosen}):
            if (truth[at] != found[at]).any():
                prompts += row.make(replace(target, frame=at), rng, **options)
        return self.noise.apply(prompts, truth, rng)

    def _later(self, frame: int, truth: Masks, found: Masks) -> int:
        """The frame on which somebody who is late corrects what went wrong on `frame`: one that is
        wrong as well.
        """
        late = range(frame + self.noise.late, len(truth)) if self.noise.late else ()
        return next((at for at in late if (truth[at] != found[at]).any()), frame)


class _Step(NamedTuple):
    """One side of the + as read: a name of the table, a number of rounds, and options."""

    name: str
    number: int | None
    items: tuple[tuple[str, Value], ...]


def _read(text: str) -> _Step:
    head, colon, tail = text.partition(":")
    head = head.strip()
    name = SHORT.get(head, head.replace("clicks.", "click."))
    counts = simulator(name).number
    number: int | None = None
    items: list[tuple[str, Value]] = []
    for place, part in enumerate(tail.split(",") if colon else ()):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            items.append((key, value))
        elif place == 0 and key.isdecimal() and 0 < int(key) <= MOST_ROUNDS:
            number = int(key)
        else:
            raise UsageError(
                f"{text!r}: after ':' come a number from 1 to {MOST_ROUNDS} and options name=value, got {part!r}"
            )
    if counts is not None and number is not None:
        items.append((counts, number))
        number = None
    return _Step(name, number, tuple(items))


def _write(name: str, options: Iterable[tuple[str, Value]], number: int | None = None) -> str:
    row = simulator(name)
    values = dict(options)
    if row.number is not None:
        number = int(values.pop(row.number, row.options[row.number]))
    short = next(
        (short for short, long in SHORT.items() if long == name), name.replace("click.", "clicks.")
    )
    after = ([] if number is None else [str(number)]) + [
        f"{key}={value}" for key, value in values.items()
    ]
    if after:
        return f"{short}:{','.join(after)}"
    return short


def _fit(name: str, options: Options) -> Options:
    """The options that differ from their defaults, checked."""
    known = simulator(name).options
    return tuple(
        (key, value)
        for key, value in check_options(name, options, known).items()
        if value != known[key]
    )


def _check_masks(truth: Masks, found: Masks | None = None) -> None:
    for mask in (truth,) if found is None else (truth, found):
        if mask.ndim != 3 or mask.dtype != np.bool_ or mask.shape != truth.shape:
            raise UsageError(
                f"masks are bool (frame, row, column) of one shape, a image is one frame; got {mask.dtype} "
                f"{mask.shape} for a truth of {truth.shape}"
            )
