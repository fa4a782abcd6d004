"""How large objects of a label are, as its examples say, and the windows that suit them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segscope.inference.crop import Crop, Xyxy
from segscope.inference.learning.head import SessionHead
from segscope.inference.windows import prompt_crops
from segscope.models.engine import DecoderPrompt, WindowRule

# chosen on validation sessions; see benchmarks/learning.py
SIZED = 1.6  # side of the window of a click, in longer sides of the examples
SIMILAR = (1.3, 2.2)  # a window of the rule with such sides takes its place
WIDEST = 6.0  # longer sides beyond which a window shows too little of the object
DEVIATIONS = 2.0  # by which objects may be smaller or larger than the examples
USUAL_SPREAD = 0.4  # of the logarithm of sizes; counts as one more example
LEAST_SPREAD = 0.2
LEAST_LOG = -6.0


@dataclass(frozen=True, slots=True)
class ExampleSizes:
    """Sizes of examples of one label.

    Attributes:
        usual: longer side of the box, in pixels.
        spread: standard deviation of its logarithm that is to be expected of another object.
        count: examples.
    """

    usual: float
    spread: float
    count: int

    @classmethod
    def of(cls, head: SessionHead) -> ExampleSizes:
        logs = head.longer_sides.log()
        count = len(logs)
        squares = float(((logs - logs.mean()) ** 2).sum())
        variance = (squares + USUAL_SPREAD**2) / count
        spread = math.sqrt(variance * (1 + 1 / count) + LEAST_SPREAD**2)
        return cls(math.exp(float(logs.median())), spread, count)

    def log_likelihood(self, box: Xyxy | None) -> float:
        """Of the size of a box, by Student's distribution, at most 0: that of the usual size."""
        if box is None:
            return LEAST_LOG
        longer = max(box[2] - box[0], box[3] - box[1])
        deviations = math.log(longer / self.usual) / self.spread
        value = -0.5 * (self.count + 1) * math.log1p(deviations**2 / self.count)
        return max(value, LEAST_LOG)

    def list_windows(
        self, rule: WindowRule, prompt: DecoderPrompt, size_hw: tuple[int, int]
    ) -> list[Crop]:
        """Windows of the rule around a lone click that suit the sizes, and one of the usual size
        where none of them comes near it.
        """
        usable = math.exp(DEVIATIONS * self.spread)
        crops = []
        similar = False
        for crop in prompt_crops(rule, prompt, None, size_hw):
            sides = max(crop.size_hw) / self.usual
            if 1 / usable <= sides <= WIDEST * usable:
                crops.append(crop)
            similar |= SIMILAR[0] <= sides <= SIMILAR[1]
        if not similar:
            x, y = prompt.points[0].tolist()
            half = self.usual / 2
            around = (x - half, y - half, x + half, y + half)
            crops.append(Crop.around(around, size_hw, factor=SIZED))
        return list(dict.fromkeys(crops))
