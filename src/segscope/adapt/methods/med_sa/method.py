"""Med-SA: small adapters in the blocks of the image encoder, across slices of volumes, and in the
decoder.

"Medical SAM Adapter" (arXiv 2304.12620, Medical Image Analysis 102, 2025, 103547). The public code
has adapters in the encoder and trains the whole decoder; adapters in the decoder, and the one that
is steered by prompts (HyP-Adpt), are in the paper only. Both are implemented: the default is the
code's network, started at zero and trained like every other method.

Where code and paper differ:
  * SD-Trans: the code cuts windows first and mistakes windows of one slice for slices; here depth
    is always depth.
  * Windows are padded after the norm, as in SAM; the code pads before it, which changes SAM even
    without adapters.
  * Adapters start at zero; the code initialises them at random.
`legacy_depth_windows` and `legacy_pad_before_norm` restore the code's behaviour, for its files, and
`residual_decoder` the decoder that it has had since January 2024.

The code's training (recipe "code") decodes one mask for its click, so that is how such a network
answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from segscope.adapt.data.sampler import Example
from segscope.adapt.losses import single_decode, slice_chunks
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import apply_settings, check_words
from segscope.adapt.methods.med_sa import layers
from segscope.adapt.methods.med_sa.layers import (
    AcrossDepth,
    Bottleneck,
    count_bottleneck,
    count_hyper,
)
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    ENCODER,
    HIGH_RESOLUTION,
    count_parameters,
    make_trainable,
    network,
)
from segscope.adapt.networks.sam_inputs import BASE, UNIT, count_growth, set_input
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import MIX, TrainingSettings
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card

PRESETS: dict[str, dict[str, object]] = {
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
        preset: name of the preset that the settings come from, see `from_preset`: "code" (as the
            public code trains) or "paper" (decoder with adapters only, steered by prompts).
        ratio: inner width of an adapter, as a share of the outer one. The paper's 13 million
            parameters on ViT-H imply 1/16, the code has 1/4.
        scale: of the adapter beside the MLP.
        activation: "gelu" (code) or "relu" (paper).
        space, mlp: whether there is an adapter after attention, and beside the MLP.
        depth: slices of a chunk that see each other (SD-Trans); 1 for single images.
        decoder: what is trained of the decoder: "whole", "adapters" added to it, "both", or
            "frozen" for nothing.
        hyper: whether the decoder's first adapter is computed from the prompt (HyP-Adpt).
        zero: whether adapters start at zero.
        recipe: prompts and loss of the training, "usual", "code" or "paper".
        whole: whether the encoder itself is trained and saved as well; published files may need it.
        images: "base" for the base's preprocessing, or "unit": stretched to the square, 0 to 1, as
            in the code.
        side: of the square input, for SAM; 0 for the base's own.
        legacy_depth_windows, legacy_pad_before_norm: two errors of the code, for its files; SAM
            only.
        residual_decoder: whether the decoder is that of the code since January 2024, for its files;
            see `segscope.adapt.methods.med_sa.layers.use_residual_layers`.
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
    residual_decoder: bool = False

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
            raise UsageError("ratio must be above 0 and at most 4, depth 1 slice or more")
        if not (self.space or self.mlp or self.depth > 1 or self.decoder != "frozen"):
            raise UsageError("med-sa without adapters and with a frozen decoder trains nothing")
        if self.hyper and self.decoder not in ("adapters", "both"):
            raise UsageError(
                "hyper steers an adapter in the decoder; use decoder=adapters or decoder=both"
            )
        if self.residual_decoder and self.decoder in ("adapters", "both"):
            raise UsageError("residual_decoder has no place for adapters; use decoder=whole")

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> MedSa:
        """The method with the settings of a preset, some of them changed."""
        return cls().with_settings({"preset": preset, **changes})

    def with_settings(self, changes: Mapping[str, object]) -> MedSa:
        return apply_settings(self, changes, PRESETS)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        steps = min(2500, max(300, 15 * frames))
        batch = max(1, 4 // self.depth)  # a chunk has several images
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
        set_input(engine, self.images, self.side)
        root = network(engine)
        adapters = self._extend_encoder(engine)
        if self.decoder in ("adapters", "both"):
            adapters += layers.extend_decoder(
                engine,
                hyper=self.hyper,
                ratio=DECODER_RATIO,
                scale=self.scale,
                activation=self.activation,
            )
        trained = {}
        if adapters:
            trained = make_trainable(root, adapters)
        if self.whole:
            trained |= make_trainable(root, ENCODER)
        if self.decoder in ("whole", "both"):
            trained |= make_trainable(root, DECODER, HIGH_RESOLUTION)
        if self.depth > 1:
            engine.chunk_depth = self.depth
        if self.recipe == "code":
            engine.answer_rule = single_decode.SINGLE_MASK
        if self.residual_decoder:
            layers.use_residual_layers(engine)
        # pretrained weights learn more slowly than adapters, which start at zero
        rates = {"mask_decoder.": 0.3, "vision_encoder.": 0.1, **dict.fromkeys(adapters, 1.0)}
        return Adapted(self, engine, root, trained, rates=rates)

    def _extend_encoder(self, engine: Engine) -> list[str]:
        """Add adapters to the encoder's blocks; prefixes of their parameters' names."""
        prefixes = []
        for place in self._places(engine):
            children = self._children(place)
            modules = {name: child.to(engine.device) for name, child in children.items()}
            encoder_blocks.extend(place, **modules)
            place.block.pad_first = self.legacy_pad_before_norm
            place.block.depth_in_windows = self.legacy_depth_windows
            prefixes += [f"{place.name}.{name}." for name in children]
        return prefixes

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        model = network(engine)
        total = sum(map(self._count_adapters, self._places(engine)))
        if self.decoder in ("adapters", "both"):
            for layer in model.mask_decoder.transformer.layers:
                width = layer.layer_norm1.normalized_shape[0]
                each = count_bottleneck(width, DECODER_RATIO)
                total += 3 * each
                if self.hyper:
                    total += count_hyper(width, DECODER_RATIO) - each
        if self.decoder in ("whole", "both"):
            total += count_parameters(model, DECODER, HIGH_RESOLUTION)
        if self.whole:
            total += count_parameters(model, ENCODER) + count_growth(engine, self.side)
        return total

    def _count_adapters(self, place: encoder_blocks.Place) -> int:
        """Parameters that are added to a block."""
        each = count_bottleneck(place.width, self.ratio)
        total = each * (self.space + self.mlp)
        if self._is_deep(place):
            total += each + self._code_length(place) * place.width
        return total

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        if self.depth == 1:
            return super().encode(adapted, example)
        return adapted.engine.encode_together(list(example.rgb))

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        published = self.recipe == "code"
        if self.depth > 1:
            measure = single_decode.dice_and_cross_entropy if published else None
            return slice_chunks.chunk_loss(adapted, batch, measure)
        if published:
            return single_decode.opening_loss(adapted, batch, _weighted_cross_entropy)
        return super().loss(adapted, batch)

    # --- layers ----------------------------------------------------------------------------------

    def _places(self, engine: Engine) -> list[encoder_blocks.Place]:
        family = engine.card.family
        if self.depth > 1 and family == "edgetam":
            raise UsageError(
                f"{engine.card.name} has no attention to run across slices; leave depth at 1"
            )
        published = (
            self.legacy_depth_windows,
            self.legacy_pad_before_norm,
            self.residual_decoder,
            self.side,
        )
        if family != "sam" and any(published):
            raise UsageError(
                "side, residual_decoder and the legacy settings are for SAM; "
                f"{engine.card.name} belongs to {family}"
            )
        return encoder_blocks.places(engine)

    def _is_deep(self, place: encoder_blocks.Place) -> bool:
        """Whether a block attends across slices: on coarse maps, and not where pooling would act
        on depth.
        """
        return self.depth > 1 and place.stride == DEPTH_STRIDE and not place.begins

    def _children(self, place: encoder_blocks.Place) -> dict[str, nn.Module]:
        """The adapters of a block, by the name under which the block calls them."""

        def make(scale: float = 1.0) -> Bottleneck:
            inside = layers.inner_width(place.width, self.ratio)
            return Bottleneck(
                place.width, inside, scale=scale, activation=self.activation, zero=self.zero
            )

        children: dict[str, nn.Module] = {}
        if self.space:
            children["after_mixing"] = make()
        if self.mlp:
            children["beside_mlp"] = make(self.scale)
        if self._is_deep(place):
            children["across_depth"] = AcrossDepth(make(), self._code_length(place))
        return children

    def _code_length(self, place: encoder_blocks.Place) -> int:
        """Rows of the slice code; SAM's attention has positions and needs none."""
        if place.family == "sam":
            return 0
        return self.depth


def _weighted_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy that counts the object's pixels twice, as the code does in 2D; (O, row, column)
    to (O,).
    """
    weight = logits.new_tensor(POSITIVE)
    each = nn.functional.binary_cross_entropy_with_logits(
        logits.float(), truth.float(), pos_weight=weight.float(), reduction="none"
    )
    return each.flatten(1).mean(1)
