"""Estimate: what a run will cost, and how many steps fit into a time budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

VALIDATIONS = 10
"""Validations of a run, in addition to the one before it."""

VALIDATION_SHARE = 0.25
"""Share of a time budget that validations may take. Where ten would take more there are fewer, but
at least two besides the first.
"""

ENCODING_SHARE = 0.3
"""Share of a time budget that encoding views for the first time may take, where features are
cached.
"""

FEWEST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost, measured by a probe.

    Attributes:
        step_seconds: of one step, with cached features where there is a cache.
        fresh_seconds: additional time of a step whose features are not cached yet.
        fresh_steps: number of such steps, at most.
        validation_seconds: of one validation.
        peak_bytes: memory of the process, or of the GPU, during the probe.
        steps: planned steps.
        validations: planned validations.
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
        """Duration of the whole run."""
        fresh = min(self.steps, self.fresh_steps) * self.fresh_seconds
        return self.steps * self.step_seconds + fresh + self.validations * self.validation_seconds

    def fitting(self, minutes: float) -> int:
        """How many steps fit into a budget beside the validations, at least 20.

        Training gets 30 % of the budget even where validations would take more than the rest.
        """
        budget = 60 * minutes
        left = max(budget - self.validations * self.validation_seconds, 0.3 * budget)
        room = 0.95 * left
        steps = room / (self.step_seconds + self.fresh_seconds)
        if steps > self.fresh_steps:
            steps = (room - self.fresh_steps * self.fresh_seconds) / self.step_seconds
        return max(FEWEST_STEPS, int(steps))

    def limit_validations(self, minutes: float) -> Estimate:
        """The same with as many validations as a budget affords."""
        budget = VALIDATION_SHARE * 60 * minutes
        affordable = int(budget / max(self.validation_seconds, 1e-3))
        return replace(self, validations=min(max(affordable, 3), 1 + VALIDATIONS))
