"""SAM-Med2D: adapter layers beside the MLPs of the image encoder, and training by nine passes of
prompts.

"SAM-Med2D" (arXiv 2308.16184). The published network is SAM ViT-B at 256 pixels with dense adapter
layers, which hold twice as many numbers as the encoder itself; `light` layers, the default, hold a
fraction and suit any encoder.

Unless `preset` is "sam-med2d" this differs from the public code: one step of the optimiser for all
passes of a image instead of nine, of which two reach the encoder; clicks stay, as they do in use;
earlier answers come back as logits. Everywhere, Dice and IoU are of each mask, not of a batch;
boxes are of the whole object unless the preset draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from segscope.adapt.data.sampler import Example
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import apply_settings, check_words
from segscope.adapt.methods.sam_med2d.iterations import IterationPlan, passes_loss, stepwise_loss
from segscope.adapt.methods.sam_med2d.layers import AdapterLayer, layer_size
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    ENCODER,
    HIGH_RESOLUTION,
    POSITION_TABLES,
    count_parameters,
    make_trainable,
    network,
    prompt_encoder,
)
from segscope.adapt.networks.sam_inputs import BASE, MED2D, answer, growth, look
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import TrainingSettings
from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.models.model_cards import Card

PRESETS: dict[str, dict[str, Any]] = {
    "sam-med2d": {
        "layers": "dense",
        "zero": False,
        "deep": 1,
        "stepwise": True,
        "keep_points": False,
        "own_prompts": True,
        "masks": 5,
        "three": True,
        "shares": True,
    }
}
SIDE = 256
OPENINGS = ((0.5, "box.jitter:share=0.1"), (0.5, "click.random"))


@dataclass(frozen=True)
class SamMed2d(PromptedMethod):
    """Train adapter layers, prompt encoder and decoder.

    Attributes:
        preset: "sam-med2d" for training as published; settings that still have their defaults
            become the preset's.
        layers: "light", "dense" (as published: 25 C^2 numbers a block) or "none" (decoder and
            prompts only).
        adapters: "on", or "off" to leave trained layers out; see `switch`.
        zero: whether layers begin as nothing.
        prompts: whether what encodes prompts is trained as well, by the opening pass.
        passes: of each image: the opening and corrections.
        deep: first passes whose gradient reaches the encoder.
        stepwise: a step of the optimiser for each pass; `--steps` then counts passes.
        keep_points: whether clicks stay in later passes, else new ones take their place.
        own_prompts: openings drawn as published, else by the prompts of the run.
        masks: objects drawn for a image, with replacement; 0 for each once.
        three: three candidates for every prompt, the best predicted one counts; else the base's own
            rule.
        shares: earlier answers as shares from 0 to 1 (as published) instead of logits.
        least_stride: layers go where a place of the map covers at least so many pixels; 8 leaves
            Hiera's first stage.
        whole: whether the encoder itself is trained and saved as well; published files need it.
        images: "base" as the base sees them, or "med2d" as the public loaders give them.
        side: of the square input, for SAM; 0 for the base's own.
    """

    name: ClassVar[str] = "sam-med2d"
    about: ClassVar[str] = (
        "adapter layers in the image encoder, prompt encoder and mask decoder; nine passes"
    )
    when: ClassVar[str] = "Few clicks shall do, and corrections shall help: it is trained for both."
    paper: ClassVar[str] = "arXiv:2308.16184"

    preset: str = ""
    layers: str = "light"
    adapters: str = "on"
    zero: bool = True
    prompts: bool = True
    passes: int = 9
    deep: int = 2
    stepwise: bool = False
    keep_points: bool = True
    own_prompts: bool = False
    masks: int = 0
    three: bool = False
    shares: bool = False
    least_stride: int = 4
    whole: bool = False
    images: str = BASE
    side: int = 0

    def __post_init__(self) -> None:
        check_words(
            self,
            preset=("", *PRESETS),
            layers=("light", "dense", "none"),
            adapters=("on", "off"),
            images=(BASE, MED2D),
        )
        if self.passes < 1 or not 1 <= self.deep <= self.passes or self.masks < 0:
            raise UsageError(
                "there is at least one pass, the first is deep, and no fewer than 0 masks are drawn"
            )
        if self.stepwise and self.deep != 1:
            raise UsageError(
                "with a step for each pass only the first one reaches the encoder; take deep=1"
            )

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> SamMed2d:
        """The method with the settings of a preset, some of them changed."""
        return cls().with_settings({"preset": preset, **changes})

    def with_settings(self, changes: Mapping[str, object]) -> SamMed2d:
        return apply_settings(self, changes, PRESETS)

    @classmethod
    def default_for(cls, card: Card) -> SamMed2d:
        # at 1024 pixels nine passes of prompts wait for twelve seconds of a laptop's encoding
        return cls(side=SIDE if card.family == "sam" and card.input_size > SIDE else 0)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        rate = 1e-4
        if card.family == "mini":
            rate = 5e-4
        plain = TrainingSettings(
            steps=min(2000, max(250, 10 * frames)), rate=rate, prompts=OPENINGS
        )
        if self.stepwise:
            return replace(
                plain, steps=plain.steps * self.passes, rate=1e-4, batch=2, decay=0.0, objects=16
            )
        return plain

    @property
    def frozen_encoder(self) -> bool:
        return not self.whole and (self.layers == "none" or self.adapters == "off")

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        look(engine, self.images, self.side)
        answer(engine, three=self.three, shares=self.shares)
        root = network(engine)
        prefixes = []
        for place in self._places(engine):
            layer = AdapterLayer(place.width, light=self.layers == "light", zero=self.zero)
            layer.on = self.adapters == "on"
            encoder_blocks.extend(place, beside_mlp=layer.to(engine.device))
            prefixes.append(f"{place.name}.beside_mlp.")
        if prefixes:
            trained = make_trainable(root, prefixes)
        else:
            trained = {}
        trained |= make_trainable(root, self._chosen(engine), (*HIGH_RESOLUTION, *POSITION_TABLES))
        if self.stepwise:
            slow = {}
        else:
            slow = dict.fromkeys((*DECODER, *prompt_encoder(engine.card.family)), 0.3)
        return Adapted(
            self,
            engine,
            root,
            trained,
            rates={**slow, "vision_encoder.": 0.1, **dict.fromkeys(prefixes, 1.0)},
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        layers = sum(
            layer_size(place, light=self.layers == "light") for place in self._places(engine)
        )
        plain = count_parameters(
            network(engine), self._chosen(engine), (*HIGH_RESOLUTION, *POSITION_TABLES)
        )
        return layers + plain + (growth(engine, self.side) if self.whole else 0)

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        talk = IterationPlan(
            self.passes, self.deep, self.keep_points, self.own_prompts, self.masks, self.three
        )
        if self.stepwise:
            return stepwise_loss(adapted, batch, talk)
        return passes_loss(adapted, batch, talk)

    def _places(self, engine: Engine) -> list[encoder_blocks.Place]:
        if self.layers == "none":
            return []
        found = [
            place for place in encoder_blocks.places(engine) if place.stride >= self.least_stride
        ]
        if not found:
            raise UsageError(
                f"no block of {engine.card.name} has a stride of {self.least_stride} pixels or more"
            )
        return found

    def _chosen(self, engine: Engine) -> tuple[str, ...]:
        if self.prompts:
            more = prompt_encoder(engine.card.family)
        else:
            more = ()
        return (*DECODER, *more, *(ENCODER if self.whole else ()))


def switch(engine: Engine, *, on: bool) -> None:
    """Let the adapter layers of a loaded adaptation take part, or leave them out; decoder and
    prompts stay as trained.

    Published results are better without them on some kinds of images, so it is worth a try.

    Raises:
        UsageError: an engine without adapter layers.
    """
    held = [module for module in network(engine).modules() if isinstance(module, AdapterLayer)]
    if not held:
        raise UsageError(
            f"{engine.card.name} has no adapter layers to switch; load an adaptation by sam-med2d"
        )
    for module in held:
        module.on = on
    engine.weights_hash = engine.weights_hash.removesuffix("-off") + ("" if on else "-off")
