"""SAM-Med2D: adapter layers beside the MLPs of the image encoder, and training by nine iterations
of prompts.

"SAM-Med2D" (arXiv 2308.16184). The published network is SAM ViT-B at 256 pixels with dense adapter
layers, which have twice as many parameters as the encoder itself; `light` layers, the default,
have a fraction of that and suit any encoder.

Differences from the public code unless `preset` is "sam-med2d": one step of the optimiser for all
iterations of an image instead of nine, two of which reach the encoder; clicks stay, as in use;
earlier answers are passed as logits. In every case Dice and IoU are computed for each mask, not
for a batch; boxes enclose the whole object unless the preset draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from segscope.adapt.data.sampler import Example
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import apply_settings, check_words
from segscope.adapt.methods.sam_med2d.iterations import IterationPlan, loss_of_all, loss_of_next
from segscope.adapt.methods.sam_med2d.layers import AdapterLayer, count_layer
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
from segscope.adapt.networks.sam_inputs import BASE, MED2D, count_growth, set_input
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import TrainingSettings
from segscope.errors import UsageError
from segscope.models.engine import AnswerRule, Engine
from segscope.models.model_cards import Card

PRESETS: dict[str, dict[str, object]] = {
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
FROZEN = (*HIGH_RESOLUTION, *POSITION_TABLES)
OPENINGS = ((0.5, "box.jitter:share=0.1"), (0.5, "click.random"))


@dataclass(frozen=True)
class SamMed2d(PromptedMethod):
    """Train adapter layers, prompt encoder and decoder.

    Attributes:
        preset: name of the preset that the settings come from, see `from_preset`: "sam-med2d" for
            training as published.
        layers: "light", "dense" (as published: 25 C^2 parameters per block) or "none" (decoder and
            prompts only).
        adapters: "on", or "off" to leave out trained layers; see `switch_adapters`.
        zero: whether layers start at zero.
        prompts: whether the prompt encoder is trained as well, by the opening iteration.
        passes: iterations per image: the opening prompt and corrections.
        deep: first iterations whose gradient reaches the encoder.
        stepwise: one step of the optimiser for each iteration; `--steps` then counts iterations.
        keep_points: whether clicks stay in later iterations, else new ones replace them.
        own_prompts: opening prompts drawn as published, else by the prompts of the run.
        masks: objects drawn for an image, with replacement; 0 for each once.
        three: always three candidates, of which the best predicted one is the answer; else the
            base's own rule.
        shares: earlier answers as probabilities (as published) instead of logits.
        least_stride: layers are put where a cell of the map covers at least this many pixels; 8
            skips Hiera's first stage.
        whole: whether the encoder itself is trained and saved as well; published files need it.
        images: "base" for the base's preprocessing, or "med2d" for that of the public loaders.
        side: of the square input, for SAM; 0 for the base's own.
    """

    name: ClassVar[str] = "sam-med2d"
    about: ClassVar[str] = (
        "adapter layers in the image encoder, prompt encoder and mask decoder; nine iterations"
    )
    when: ClassVar[str] = (
        "When few clicks must suffice and corrections must help: it is trained for both."
    )
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
            raise UsageError("passes must be 1 or more, deep from 1 to passes, masks 0 or more")
        if self.stepwise and self.deep != 1:
            raise UsageError(
                "with stepwise only the first iteration reaches the encoder; set deep=1"
            )

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> SamMed2d:
        """The method with the settings of a preset, some of them changed."""
        return cls().with_settings({"preset": preset, **changes})

    def with_settings(self, changes: Mapping[str, object]) -> SamMed2d:
        return apply_settings(self, changes, PRESETS)

    @classmethod
    def default_for(cls, card: Card) -> SamMed2d:
        # at 1024 pixels a laptop needs twelve seconds to encode an image for nine iterations
        if card.family == "sam" and card.input_size > SIDE:
            return cls(side=SIDE)
        return cls()

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
        set_input(engine, self.images, self.side)
        engine.answer_rule = AnswerRule(3 if self.three else 0, self.shares)
        root = network(engine)
        prefixes = []
        for place in self._places(engine):
            layer = AdapterLayer(place.width, light=self.layers == "light", zero=self.zero)
            layer.on = self.adapters == "on"
            encoder_blocks.extend(place, beside_mlp=layer.to(engine.device))
            prefixes.append(f"{place.name}.beside_mlp.")
        trained = {}
        if prefixes:
            trained = make_trainable(root, prefixes)
        trained |= make_trainable(root, self._prefixes(engine), FROZEN)
        rates = {"vision_encoder.": 0.1, **dict.fromkeys(prefixes, 1.0)}
        if not self.stepwise:
            rates |= dict.fromkeys((*DECODER, *prompt_encoder(engine.card.family)), 0.3)
        return Adapted(self, engine, root, trained, rates=rates)

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        light = self.layers == "light"
        total = sum(count_layer(place, light=light) for place in self._places(engine))
        total += count_parameters(network(engine), self._prefixes(engine), FROZEN)
        if self.whole:
            total += count_growth(engine, self.side)
        return total

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        plan = IterationPlan(
            self.passes, self.deep, self.keep_points, self.own_prompts, self.masks, self.three
        )
        if self.stepwise:
            return loss_of_next(adapted, batch, plan)
        return loss_of_all(adapted, batch, plan)

    def _places(self, engine: Engine) -> list[encoder_blocks.Place]:
        """Blocks that get an adapter layer."""
        if self.layers == "none":
            return []
        places = [
            place for place in encoder_blocks.places(engine) if place.stride >= self.least_stride
        ]
        if not places:
            raise UsageError(
                f"no block of {engine.card.name} has a stride of {self.least_stride} pixels or more"
            )
        return places

    def _prefixes(self, engine: Engine) -> tuple[str, ...]:
        """Names of what is trained of the base."""
        prefixes: tuple[str, ...] = DECODER
        if self.prompts:
            prefixes += prompt_encoder(engine.card.family)
        if self.whole:
            prefixes += ENCODER
        return prefixes


def switch_adapters(engine: Engine, *, on: bool) -> None:
    """Apply the adapter layers of a loaded adaptation, or leave them out; decoder and prompt
    encoder stay as trained.

    Published results are better without them on some kinds of images, so it is worth a try.

    Raises:
        UsageError: an engine without adapter layers.
    """
    layers = [module for module in network(engine).modules() if isinstance(module, AdapterLayer)]
    if not layers:
        raise UsageError(
            f"{engine.card.name} has no adapter layers to switch; load an adaptation by sam-med2d"
        )
    for layer in layers:
        layer.on = on
    engine.weights_hash = engine.weights_hash.removesuffix("-off")
    if not on:
        engine.weights_hash += "-off"
