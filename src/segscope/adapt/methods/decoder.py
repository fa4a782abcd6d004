"""DecoderOnly: the mask decoder learns, the image encoder stays; the cheapest way to adapt, and often
enough.

MedSAM ("Segment anything in medical images", 10.1038/s41467-024-44824-z) showed how far SAM's
decoder and encoder go when they are trained on medical images with boxes; here the encoder is
left as it is, so each view of a image is encoded once and a laptop will do. SAM 2's
high-resolution convolutions stay too: they are part of encoding.
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


@dataclass(frozen=True)
class DecoderOnly(PromptedMethod):
    """Train the mask decoder.

    Attributes:
        prompts: whether what encodes prompts is trained as well.
    """

    name: ClassVar[str] = "decoder"
    about: ClassVar[str] = "mask decoder; the image encoder stays as it is"
    when: ClassVar[str] = "First choice on a laptop, and with few images."
    paper: ClassVar[str] = "10.1038/s41467-024-44824-z"

    prompts: bool = False

    @classmethod
    def default_for(cls, card: Card) -> DecoderOnly:
        # mini reads prompts from maps sooner than from tokens, and those convolutions are small
        return cls(prompts=card.family == "mini")

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        steps = min(2000, max(300, 15 * frames))
        return TrainingSettings(steps=steps, rate=1e-3 if card.family == "mini" else 1e-4)

    @property
    def frozen_encoder(self) -> bool:
        return True

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        return Adapted(
            self,
            engine,
            root,
            make_trainable(root, self._chosen(engine), (*HIGH_RESOLUTION, *POSITION_TABLES)),
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return count_parameters(
            network(engine), self._chosen(engine), (*HIGH_RESOLUTION, *POSITION_TABLES)
        )

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def _chosen(self, engine: Engine) -> tuple[str, ...]:
        if self.prompts:
            return (*DECODER, *prompt_encoder(engine.card.family))
        return DECODER
