"""Decoder: the mask decoder is trained and the image encoder stays frozen; the cheapest way to
adapt, and often enough.

MedSAM ("Segment anything in medical images", 10.1038/s41467-024-44824-z) showed how far SAM's
decoder and encoder go when they are trained on medical images with boxes. Here the encoder stays as
it is, so each view of an image is encoded once and a laptop will do. SAM 2's high-resolution
convolutions stay frozen too: they are part of encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from segscope.adapt.method import Adapted
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    HIGH_RESOLUTION,
    POSITION_TABLES,
    count_parameters,
    make_trainable,
    network,
    prompt_encoder,
)
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import TrainingSettings
from segscope.models.engine import Engine
from segscope.models.model_cards import Card

FROZEN = (*HIGH_RESOLUTION, *POSITION_TABLES)


@dataclass(frozen=True)
class DecoderOnly(PromptedMethod):
    """Train the mask decoder.

    Attributes:
        prompts: whether the prompt encoder is trained as well.
    """

    name: ClassVar[str] = "decoder"
    about: ClassVar[str] = "mask decoder; the image encoder stays frozen"
    when: ClassVar[str] = "First choice on a laptop, and with few images."
    paper: ClassVar[str] = "10.1038/s41467-024-44824-z"

    prompts: bool = False

    @classmethod
    def default_for(cls, card: Card) -> DecoderOnly:
        # mini relies more on prompts as maps than on tokens, and those convolutions are small
        return cls(prompts=card.family == "mini")

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        rate = 1e-4
        if card.family == "mini":
            rate = 1e-3
        return TrainingSettings(steps=min(2000, max(300, 15 * frames)), rate=rate)

    @property
    def frozen_encoder(self) -> bool:
        return True

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        trained = make_trainable(root, self._prefixes(engine), FROZEN)
        return Adapted(self, engine, root, trained)

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return count_parameters(network(engine), self._prefixes(engine), FROZEN)

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def _prefixes(self, engine: Engine) -> tuple[str, ...]:
        """Names of what is trained."""
        if self.prompts:
            return (*DECODER, *prompt_encoder(engine.card.family))
        return DECODER
