"""Full: image encoder, prompt encoder and mask decoder are trained, the encoder more slowly.

Memory was trained on features that change with the encoder, and is not trained itself, so evaluate
tracking again afterwards.
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
    """Train everything between image, prompt and mask.

    Attributes:
        encoder_rate: learning rate of the image encoder, as a factor.
        prompts: whether the prompt encoder is trained as well.
    """

    name: ClassVar[str] = "full"
    about: ClassVar[str] = "image encoder, prompt encoder and mask decoder"
    when: ClassVar[str] = "Hundreds of images, or images very unlike those of the base."

    encoder_rate: float = 0.1
    prompts: bool = True

    @classmethod
    def default_for(cls, card: Card) -> FullFinetuning:
        if card.family == "mini":
            return cls(encoder_rate=0.3)
        return cls()

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        rate = 1e-4
        if card.family == "mini":
            rate = 3e-4
        return TrainingSettings(steps=min(3000, max(300, 15 * frames)), rate=rate)

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        trained = make_trainable(root, self._prefixes(engine), POSITION_TABLES)
        return Adapted(self, engine, root, trained, rates=dict.fromkeys(ENCODER, self.encoder_rate))

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return count_parameters(network(engine), self._prefixes(engine), POSITION_TABLES)

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def _prefixes(self, engine: Engine) -> tuple[str, ...]:
        """Names of what is trained."""
        prefixes: tuple[str, ...] = (*ENCODER, *DECODER)
        if self.prompts:
            prefixes += prompt_encoder(engine.card.family)
        return prefixes
