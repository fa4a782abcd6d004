"""FullFinetuning: image encoder, prompt encoder and mask decoder learn, the encoder slower than the rest.

What memory was trained on changes with the encoder, so judge tracking again afterwards; memory
itself is not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from segscope.adapt.method import Adapted
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    ENCODER,
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
class FullFinetuning(PromptedMethod):
    """Train the whole way from image and prompt to mask.

    Attributes:
        encoder_rate: learning rate of the image encoder, as a factor.
        prompts: whether what encodes prompts is trained as well.
    """

    name: ClassVar[str] = "full"
    about: ClassVar[str] = "image encoder, prompt encoder and mask decoder"
    when: ClassVar[str] = "Hundreds of images, or a kind of image that is very far from the base's."

    encoder_rate: float = 0.1
    prompts: bool = True

    @classmethod
    def default_for(cls, card: Card) -> FullFinetuning:
        return cls(encoder_rate=0.3 if card.family == "mini" else 0.1)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        steps = min(3000, max(300, 15 * frames))
        return TrainingSettings(steps=steps, rate=3e-4 if card.family == "mini" else 1e-4)

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        trained = make_trainable(root, self._chosen(engine), POSITION_TABLES)
        return Adapted(self, engine, root, trained, rates=dict.fromkeys(ENCODER, self.encoder_rate))

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return count_parameters(network(engine), self._chosen(engine), POSITION_TABLES)

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def _chosen(self, engine: Engine) -> tuple[str, ...]:
        return (*ENCODER, *DECODER, *(prompt_encoder(engine.card.family) if self.prompts else ()))
