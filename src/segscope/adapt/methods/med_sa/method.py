"""Med-SA: small adapters inside the blocks of the image encoder, across slices of volumes, and
inside the decoder.

"Medical SAM Adapter" (arXiv 2304.12620, Medical Image Analysis 102, 2025, 103547). The public code
has the encoder's adapters and trains the whole decoder; adapters in the decoder and the one that
prompts steer (HyP-Adpt) stand in the paper only. Both are here: the default is the code's network,
started from nothing and trained as everything here is.

Where code and paper differ:
  * SD-Trans: the code cuts windows first and takes windows of one slice for slices; here depth is
    always depth.
  * Windows are padded after the norm, as SAM does; the code pads before it and so changes SAM even
    without adapters.
  * Adapters begin at zero; the code draws them at random.
`legacy_depth_windows` and `legacy_pad_before_norm` bring the code's ways back, for files made by
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from segscope.adapt.data.sampler import Example
from segscope.adapt.losses import single_decode, slice_chunks
from segscope.adapt.losses.interactive import prompted_loss
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import apply_settings, check_words
from segscope.adapt.methods.med_sa import layers
from segscope.adapt.methods.med_sa.layers import (
    AcrossDepth,
    Bottleneck,
    bottleneck_size,
    hyper_size,
)
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    HIGH_RESOLUTION,
    count_parameters,
    make_trainable,
    network,
)
from segscope.adapt.networks.sam_inputs import BASE, UNIT, growth, look
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import MIX, TrainingSettings
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card

PRESETS: dict[str, dict[str, Any]] = {
    "code": {"zero": False, "recipe": "code"},
    "paper": {
        "decoder": "adapters",
        "hyper": True,
        "ratio": 1 / 16,
        "activation": "relu",
        "recipe": "paper",
    },
}
RECIPES = {
    "usual": MIX,
    "code": ((1.0, "click.random"),),
    "paper": (
        (0.25, "click.random"),
        (0.25, "points:3"),
        (0.25, "box.jitter:share=0.25"),
        (0.25, "clicks:4"),
    ),
}
DEPTH_STRIDE = 16
DECODER_RATIO = 0.25  # 64 of the 256 channels of tokens
POSITIVE = 2.0  # weight of the object's pixels in the code's cross-entropy


@dataclass(frozen=True)
class MedSa(PromptedMethod):
    """Train adapters.

    Attributes:
        preset: "code" (as the public code trains) or "paper" (decoder with adapters only, steered
            by prompts); settings that still have their defaults become the preset's.
        ratio: inner width of an adapter, as a share of the outer one. The paper's count of 13
            million on ViT-H needs 1/16, the code has 1/4.
        scale: of the adapter beside the MLP.
        activation: "gelu" (code) or "relu" (paper).
        space, mlp: whether there is an adapter after attention, and beside the MLP.
        depth: slices of a chunk that see each other (SD-Trans); 1 for single images.
        decoder: "whole" trained, "adapters" in it trained, "both", or "frozen".
        hyper: whether the decoder's first adapter is made from the prompt (HyP-Adpt).
        zero: whether adapters begin as nothing.
        recipe: what is trained for, "usual", "code" or "paper".
        whole: whether the encoder itself is trained and saved as well; published files may need it.
        images: "base" as the base sees them, or "unit": stretched to the square, 0 to 1, as the
            code does.
        side: of the square input, for SAM; 0 for the base's own.
        legacy_depth_windows, legacy_pad_before_norm: two faults of the code, for files made by it;
            SAM only.
    """

    name: ClassVar[str] = "med-sa"
    about: ClassVar[str] = "adapters in the image encoder, and the mask decoder"
    when: ClassVar[str] = (
        "A hundred images or more, one small file per task; volumes with --set depth=4."
    )
    paper: ClassVar[str] = "arXiv:2304.12620"
    dims: ClassVar = ("2d", "3d")

    preset: str = ""
    ratio: float = 0.25
    scale: float = 0.5
    activation: str = "gelu"
    space: bool = True
    mlp: bool = True
    depth: int = 1
    decoder: str = "whole"
    hyper: bool = False
    zero: bool = True
    recipe: str = "usual"
    whole: bool = False
    images: str = "base"
    side: int = 0
    legacy_depth_windows: bool = False
    legacy_pad_before_norm: bool = False

    def __post_init__(self) -> None:
        check_words(
            self,
            preset=("", *PRESETS),
            activation=("gelu", "relu"),
            decoder=("whole", "adapters", "both", "frozen"),
            recipe=RECIPES,
        )
        check_words(self, images=(BASE, UNIT))
        if not 0 < self.ratio <= 4 or self.depth < 1:
            raise UsageError("the ratio is above 0 and at most 4, the depth 1 slice or more")
        if not (self.space or self.mlp or self.depth > 1 or self.decoder != "frozen"):
            raise UsageError("med-sa without adapters and with a frozen decoder trains nothing")
        if self.hyper and self.decoder not in ("adapters", "both"):
            raise UsageError(
                "hyper steers an adapter in the decoder; take decoder=adapters or decoder=both"
            )

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> MedSa:
        """The method with the settings of a preset, some of them changed."""
        return cls().with_settings({"preset": preset, **changes})

    def with_settings(self, changes: Mapping[str, object]) -> MedSa:
        return apply_settings(self, changes, PRESETS)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        steps = min(2500, max(300, 15 * frames))
        # a chunk holds several images
        batch = max(1, 4 // self.depth)
        rate = 3e-4
        if card.family == "mini":
            rate = 1e-3
        return TrainingSettings(steps=steps, rate=rate, batch=batch, prompts=RECIPES[self.recipe])

    @property
    def frames(self) -> int:
        return self.depth

    @property
    def frozen_encoder(self) -> bool:
        return not (self.space or self.mlp or self.whole or self.depth > 1)

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        look(engine, self.images, self.side)
        root = network(engine)
        found = self._places(engine)
        for place in found:
            children = self._children(place)
            encoder_blocks.extend(
                place, **{name: child.to(engine.device) for name, child in children.items()}
            )
            place.block.pad_first = self.legacy_pad_before_norm
            place.block.depth_in_windows = self.legacy_depth_windows
        prefixes = [f"{place.name}.{name}." for place in found for name in self._children(place)]
        if self.decoder in ("adapters", "both"):
            prefixes += layers.grow_decoder(
                engine,
                hyper=self.hyper,
                ratio=DECODER_RATIO,
                scale=self.scale,
                activation=self.activation,
            )
        if prefixes:
            trained = make_trainable(root, prefixes)
        else:
            trained = {}
        if self.whole:
            trained |= make_trainable(root, ("vision_encoder.",))
        if self.decoder in ("whole", "both"):
            trained |= make_trainable(root, DECODER, HIGH_RESOLUTION)
        if self.depth > 1:
            engine.chunk_depth = self.depth
        return Adapted(self, engine, root, trained, rates=self._rates(prefixes))

    def _rates(self, adapters: Sequence[str]) -> dict[str, float]:
        """What was trained before learns slower than what starts from nothing."""
        return {"mask_decoder.": 0.3, "vision_encoder.": 0.1, **dict.fromkeys(adapters, 1.0)}

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        found = 0
        model = network(engine)
        for place in self._places(engine):
            size = bottleneck_size(place.width, self.ratio)
            deep = self._deep(place)
            code = 0
            if deep and place.family != "sam":
                code = self.depth * place.width
            found += size * (self.space + self.mlp + deep) + code
        if self.decoder in ("adapters", "both"):
            for layer in model.mask_decoder.transformer.layers:
                width = layer.layer_norm1.normalized_shape[0]
                plain = bottleneck_size(width, DECODER_RATIO)
                found += 2 * plain + (hyper_size(width, DECODER_RATIO) if self.hyper else plain)
        if self.decoder in ("whole", "both"):
            found += count_parameters(model, DECODER, HIGH_RESOLUTION)
        return found + (
            count_parameters(model, ("vision_encoder.",)) + growth(engine, self.side)
            if self.whole
            else 0
        )

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        if self.depth == 1:
            return super().encode(adapted, example)
        return adapted.engine.encode_together(list(example.rgb))

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        if self.depth > 1:
            return slice_chunks.chunk_loss(
                adapted,
                batch,
                single_decode.dice_and_cross_entropy if self.recipe == "code" else None,
            )
        if self.recipe == "code":
            return single_decode.opening_loss(adapted, batch, _weighted)
        return prompted_loss(adapted, batch)

    # --- layers ----------------------------------------------------------------------------------

    def _places(self, engine: Engine) -> list[encoder_blocks.Place]:
        family = engine.card.family
        if self.depth > 1 and family == "edgetam":
            raise UsageError(
                f"{engine.card.name} has no attention to look across slices with; leave depth at 1"
            )
        if family != "sam" and (
            self.legacy_depth_windows or self.legacy_pad_before_norm or self.side
        ):
            raise UsageError(
                f"side and the legacy settings are for SAM, {engine.card.name} is of {family}"
            )
        return encoder_blocks.places(engine)

    def _deep(self, place: encoder_blocks.Place) -> bool:
        """Whether a block looks across slices: on coarse maps, and not where pooling would act on
        depth.
        """
        return self.depth > 1 and place.stride == DEPTH_STRIDE and not place.begins

    def _children(self, place: encoder_blocks.Place) -> dict[str, nn.Module]:
        def make(scale: float = 1.0) -> Bottleneck:
            inside = layers.narrow(place.width, self.ratio)
            return Bottleneck(
                place.width, inside, scale=scale, activation=self.activation, zero=self.zero
            )

        found: dict[str, nn.Module] = {}
        if self.space:
            found["after_mixing"] = make()
        if self.mlp:
            found["beside_mlp"] = make(self.scale)
        if self._deep(place):
            found["across_depth"] = AcrossDepth(make(), 0 if place.family == "sam" else self.depth)
        return found


def _weighted(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy that counts the object's pixels twice, as the code has it in 2D; (O, row,
    column) to (O,).
    """
    weight = logits.new_tensor(POSITIVE)
    each = nn.functional.binary_cross_entropy_with_logits(
        logits.float(), truth.float(), pos_weight=weight.float(), reduction="none"
    )
    return each.flatten(1).mean(1)
