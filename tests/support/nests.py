"""Images of nested discs: a click in the middle does not say which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.crop import Crop
from segscope.inference.learning.example import Source
from segscope.inference.learning.head import SessionHead, fit_head
from segscope.inference.learning.observation import make_example
from segscope.models.engine import DecoderPrompt, Engine, Features

SIZE_HW = (160, 160)
RADII = (8.0, 18.0, 40.0)  # px of the innermost, the middle and the outer disc


class Nest:
    """Discs in one another on a noisy image.

    Attributes:
        image: (row, column, 3) uint8.
        masks: of the discs, from the innermost to the outer one.
        centre: x, y in pixels.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(60, 100, 2)
        rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
        distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
        scale = rng.uniform(0.95, 1.05)
        self.centre = (float(x), float(y))
        self.masks = [distance < radius * scale for radius in RADII]
        image = 50.0 + rng.normal(0, 5, SIZE_HW)
        for mask, step in zip(self.masks, (60, -45, 70), strict=True):
            image += step * mask
        self.image = np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, 2)

    def frame(self, engine: Engine, head: SessionHead | None = None) -> PromptedFrame:
        """The image as a frame for prompts; each crop is encoded once."""
        encoded: dict[Crop, Features] = {}

        def encode(crop: Crop) -> Features:
            if crop not in encoded:
                encoded[crop] = engine.encode(np.ascontiguousarray(crop.cut(self.image)))
            return encoded[crop]

        return PromptedFrame(engine, SIZE_HW, encode, head=head)

    def click(self) -> DecoderPrompt:
        return DecoderPrompt(np.array([self.centre]), np.ones(1, bool))


def learn_disc(engine: Engine, disc: int, seeds: Sequence[int]) -> SessionHead:
    """What one of the discs teaches on several images."""
    examples = []
    for seed in seeds:
        nest = Nest(seed)
        source = Source("disc", f"image {seed}", f"case {seed}")
        examples.append(make_example(nest.frame(engine), nest.masks[disc], source))
    return fit_head(examples)


def mask_of(engine: Engine, candidate: MaskCandidate) -> NDArray[np.bool_]:
    """A candidate's mask on the frame."""
    crop = candidate.crop
    full = crop.paste(engine.to_frame(candidate.logits, crop.size_hw))
    return (full > 0).cpu().numpy()
