"""MedSAM2 (Toronto), arXiv 2504.03600: SAM 2 learns to propagate masks through volumes and videos,
on clips of 8 frames.

Not MedSAM-2 (Oxford), whose memory bank is `segscope.memory.sorted`. From the released
configuration: the whole network is trained, encoder included; clips have 8 frames; the first frame
is prompted and in half of the clips one more; half of the prompts are masks, half loose boxes,
which are then corrected by 7 clicks on one or two frames; memory treats a corrected frame as a
prompted one; the loss of every answer is 20 focal + Dice + IoU + presence, of three masks the best.
AdamW at 5e-5, encoder at 3e-5 with a decay of 0.9 per layer, gradients clipped at 0.1.

Differences: the prompted frame may be anywhere in the clip, which is then tracked both ways, as
prediction does from the key slice (`start="first"` is the release's way); clips run backwards half
the time; stacks with fewer frames, and images, give shorter clips instead of none. A click "by the
truth", one in ten, is one inside the true object. A mask prompt is its own answer and has no loss,
except on a single image, where it is a hint to improve on. `mini` passes masks of prompted frames
on as masks, as its prediction does, and its encoder is not trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar

from segscope.adapt.data.sampler import Example
from segscope.adapt.data.training_set import Split
from segscope.adapt.losses.clip_memory import checkpointed
from segscope.adapt.method import Adapted, Method, Terms, mean_terms
from segscope.adapt.method_presets import check_members, check_words
from segscope.adapt.methods.medsam2.clips import (
    AnswerLoss,
    ClipRun,
    ClipSettings,
    answer_losses,
    draw_clip,
)
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
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.validation.scores import ValidationScores
from segscope.adapt.validation.tracking import validate_clips
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card

MIX = ((0.5, "mask"), (0.5, "box.jitter:kind=e+click.random:7,most=1"))
PARTS = ("encoder", "prompts", "decoder", "memory")
STARTS = ("any", "first")

MEMORY = (
    "memory_attention.",
    "memory_encoder.",
    "spatial_perceiver.",
    "object_pointer_proj.",
    "mask_downsample.",
    "temporal_positional_encoding_projection_layer.",
    "memory_temporal_positional_encoding",
    "no_memory_embedding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)
TRACKING = ("track_prior.", "track_branch.", "track_decoder.", "track_presence.")
"""Parts of `mini` for tracked frames, which replace the decoder for prompts."""

UNUSED = (
    "mask_downsample.",
    "no_memory_embedding",
    "track_decoder.conv_s0.",
    "track_decoder.conv_s1.",
    *(f"track_decoder.output_hypernetworks_mlps.{k}." for k in (1, 2, 3)),
)
"""Parts that `mini` has from SAM 2 and does not run; its tracking gives mask 0 only."""


@dataclass(frozen=True)
class MedSam2(Method):
    """Train memory, and the parts that it works with, on clips.

    Attributes:
        parts: what is trained, of "encoder", "prompts", "decoder", "memory".
        clip: frames of a clip.
        start: "any": the prompted frame is anywhere in the clip; "first": it is the clip's first.
        second: how often a second frame is prompted from the start.
        corrected: maximum number of frames of a clip that are corrected, where the prompts have
            corrections.
        by_truth: how often a correction is a click into the true object, wherever the error is.
        encoder_rate: learning rate of the image encoder, as a factor.
        decoder_rate: the same for the decoder and the prompt encoder.
        layer_decay: further factor of the encoder for each block of Hiera below the last.
        truncate: gradients flow back through at most about this many frames of memory; 0 for all.
        thrifty: whether encoder and attention are recomputed for the gradient, to save memory.
    """

    name: ClassVar[str] = "medsam2"
    about: ClassVar[str] = "memory, decoder and encoder, on clips: MedSAM2 (Toronto)"
    when: ClassVar[str] = (
        "Volumes and videos: one slice or frame is prompted and tracked through the others."
    )
    paper: ClassVar[str] = "arXiv:2504.03600"
    dims: ClassVar = ("2d", "3d", "video")
    families: ClassVar[tuple[str, ...]] = ("sam2", "edgetam", "mini")

    parts: tuple[str, ...] = PARTS
    clip: int = 8
    start: str = "any"
    second: float = 0.5
    corrected: int = 2
    by_truth: float = 0.1
    encoder_rate: float = 0.6
    decoder_rate: float = 1.0
    layer_decay: float = 0.9
    truncate: int = 0
    thrifty: bool = False

    def __post_init__(self) -> None:
        check_members(self, "parts", PARTS)
        check_words(self, start=STARTS)
        if min(self.clip, self.corrected) < 1:
            raise UsageError("clip and corrected must be 1 frame or more")
        shares = (self.second, self.by_truth)
        if not 0 <= min(shares) <= max(shares) <= 1:
            raise UsageError("second and by_truth are shares from 0 to 1")
        if self.clip == 1 and set(self.parts) <= {"memory"}:
            raise UsageError(
                "memory is trained on clips of 2 frames or more; leave out clip, or add more parts"
            )

    @classmethod
    def default_for(cls, card: Card) -> MedSam2:
        # mini already answers prompts well, and has a separate decoder for tracking
        if card.family == "mini":
            return cls(parts=PARTS[1:], decoder_rate=0.3)
        return cls()

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        settings = TrainingSettings(
            steps=min(3000, max(300, 5 * frames)),
            rate=5e-5,
            batch=4,
            accumulate=4,
            decay=0.1,
            clip=0.1,
            objects=5,
            prompts=MIX,
        )
        if card.family == "mini":
            return replace(settings, rate=3e-4, batch=2, accumulate=1, objects=3)
        return settings

    @property
    def frozen_encoder(self) -> bool:
        return "encoder" not in self.parts

    @property
    def frames(self) -> int:
        return self.clip

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        return Adapted(
            self,
            engine,
            root,
            make_trainable(root, *self._prefixes(engine)),
            rates=self._rates(engine),
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return count_parameters(network(engine), *self._prefixes(engine))

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        encode = adapted.engine.encode
        if not self.thrifty or self.frozen_encoder:
            return super().encode(adapted, example)
        video = len(example.rgb) > 1
        return [
            checkpointed(lambda frame=frame: encode(frame, video=video)) for frame in example.rgb
        ]

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        return mean_terms([self.run_clip(adapted, example) for example in batch])

    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        return validate_clips(adapted, cases)

    @property
    def clips(self) -> ClipSettings:
        """How clips are prompted, corrected and run."""
        return ClipSettings(
            self.start, self.second, self.corrected, self.by_truth, self.truncate, self.thrifty
        )

    def run_clip(
        self, adapted: Adapted, example: Example, answer_loss: AnswerLoss = answer_losses
    ) -> Terms:
        """Loss of one clip."""
        plan = draw_clip(example, self.clips)
        return ClipRun(adapted, self.clips, example, plan, answer_loss).loss()

    def _prefixes(self, engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Prefixes of what is trained, and of what stays frozen within it."""
        family = engine.card.family
        groups: dict[str, tuple[str, ...]] = {
            "encoder": (*ENCODER, *HIGH_RESOLUTION),
            "prompts": prompt_encoder(family),
            "decoder": DECODER,
            "memory": MEMORY,
        }
        frozen: tuple[str, ...] = POSITION_TABLES
        if family == "mini":
            groups["encoder"] = ENCODER
            groups["memory"] = (*MEMORY, *TRACKING)
            frozen += UNUSED
        if family == "mini" or self.frozen_encoder:
            # they belong to the encoder by use
            frozen += HIGH_RESOLUTION
        return tuple(chain.from_iterable(groups[part] for part in self.parts)), frozen

    def _rates(self, engine: Engine) -> dict[str, float]:
        rate = self.encoder_rate
        # the longest matching prefix applies
        rates = dict.fromkeys((*ENCODER, *HIGH_RESOLUTION), rate)
        trunk = "vision_encoder.backbone."
        backbone = getattr(network(engine).vision_encoder, "backbone", None)
        depth = len(getattr(backbone, "blocks", ()))
        for number in range(depth):
            decay = self.layer_decay ** (depth - 1 - number)
            rates[f"{trunk}blocks.{number}."] = rate * decay
        if depth:
            rates[f"{trunk}patch_embed."] = rate * self.layer_decay**depth
        decoder = (*DECODER, *prompt_encoder(engine.card.family))
        return rates | dict.fromkeys(decoder, self.decoder_rate)
