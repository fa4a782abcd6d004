"""DB-SAM: channel attention between the stages of the image encoder, and a branch of convolutions
beside it.

"DB-SAM: Delving into High Quality Universal Medical Image Segmentation" (arXiv 2410.04172, MICCAI
2024). Most of the paper's gain comes from its channel attention (CAB) at a tenth of the cost, so
that is the default; `preset` adds the convolutions with bilateral cross-attention (BCA), and the
fusion.

The public code configures four branches and no CAB, and cannot run; this is the paper's version,
`pyramid` adds the four resolutions. Where the paper would disturb a frozen encoder at the start,
additions are weighed by channel from zero, and norms that would change it are left out. Drop path
is 0.1; the paper's 0.3 is much for few blocks.

On Hiera, EdgeTAM and `mini` CAB follows each stage, and each quarter of the stage at stride 16,
where BCA and fusion are as well: later stages and the neck see what they found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example
from segscope.adapt.losses import single_decode
from segscope.adapt.losses.interactive import prompted_loss
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import apply_settings, check_words
from segscope.adapt.methods.db_sam.layers import ConvBranch, StageEnd, Stream
from segscope.adapt.networks import encoder_blocks
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    HIGH_RESOLUTION,
    count_parameters,
    make_trainable,
    network,
)
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import MIX, TrainingSettings
from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.models.model_cards import Card

FULL = ("cab", "bca", "fusion")
PRESETS: dict[str, dict[str, Any]] = {
    "cab": {"parts": ("cab",)},
    "db-lite": {"parts": ("cab", "bca")},
    "db-full": {"parts": FULL},
    "paper": {"parts": FULL, "drop_path": 0.3, "recipe": "paper"},
}
RECIPES = {"usual": MIX, "paper": ((1.0, "box.jitter:kind=c,pixels=20"),)}
FACTORS = (4,)
PYRAMID = (8, 4, 2, 1)
NECKS = {
    "mini": tuple(
        f"vision_encoder.{name}." for name in ("coarse", "middle", "fine", "down8", "down4")
    )
}
NECK = ("vision_encoder.neck.",)
BRANCH = "vision_encoder.conv_branch."


@dataclass(frozen=True)
class DbSam(PromptedMethod):
    """Train channel attention, a branch of convolutions and the mask decoder.

    Attributes:
        preset: "cab", "db-lite" (with convolutions and BCA), "db-full" (and fusion) or "paper" (as
            trained there); settings that still have their defaults become the preset's.
        parts: of "cab", "bca", "fusion"; fusion needs BCA.
        points: places that a head of BCA looks at.
        pyramid: convolutions at four resolutions instead of one.
        dropout, drop_path: inside BCA, while training.
        decoder: whether the mask decoder is trained as well.
        neck: whether what leads from the encoder to the decoder is trained as well, at a tenth of
            the rate.
        recipe: what is trained for: "usual", or "paper" (boxes only, Dice + cross-entropy).
    """

    name: ClassVar[str] = "db-sam"
    about: ClassVar[str] = (
        "channel attention between stages (and a branch of convolutions), and the mask decoder"
    )
    when: ClassVar[str] = (
        "Small or thin things, and hundreds of images; --set preset=db-full for the whole network."
    )
    paper: ClassVar[str] = "arXiv:2410.04172"

    preset: str = ""
    parts: tuple[str, ...] = ("cab",)
    points: int = 4
    pyramid: bool = False
    dropout: float = 0.1
    drop_path: float = 0.1
    decoder: bool = True
    neck: bool = False
    recipe: str = "usual"

    def __post_init__(self) -> None:
        check_words(self, preset=("", *PRESETS), recipe=RECIPES)
        if set(self.parts) - set(FULL) or not (self.parts or self.decoder or self.neck):
            raise UsageError(
                f"parts are of {', '.join(FULL)}, got {', '.join(self.parts) or 'none, and no decoder'}"
            )
        if "fusion" in self.parts and "bca" not in self.parts:
            raise UsageError(
                "fusion joins what BCA has exchanged; take parts=cab,bca,fusion or leave it out"
            )
        if self.points < 1 or not 0 <= self.dropout < 1 or not 0 <= self.drop_path < 1:
            raise UsageError("points are 1 or more, dropout and drop_path from 0 to below 1")

    @classmethod
    def from_preset(cls, preset: str, **changes: object) -> DbSam:
        """The method with the settings of a preset, some of them changed."""
        return cls().with_settings({"preset": preset, **changes})

    def with_settings(self, changes: Mapping[str, object]) -> DbSam:
        return apply_settings(self, changes, PRESETS)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        steps = min(2500, max(300, 15 * frames))
        rate = 3e-4
        if card.family == "mini" and self.parts == ("cab",):
            rate = 1e-3
        return TrainingSettings(steps=steps, rate=rate, prompts=RECIPES[self.recipe])

    @property
    def frozen_encoder(self) -> bool:
        return not self.parts and not self.neck

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        prefixes = []
        stream = Stream()
        branch = self._branch(engine).to(engine.device)
        for place, stage in self._stages(engine):
            place.block.stage_end = stage.to(engine.device)
            place.block.register_forward_hook(
                _after(stage, stream, list(branch), last=place.channels_last)
            )
            prefixes.append(f"{place.name}.stage_end.")
        if len(branch):
            root.vision_encoder.conv_branch = branch
            encoder_blocks.find_entry(engine).register_forward_pre_hook(
                lambda _, given: stream.begin(given[0])
            )
            prefixes.append(BRANCH)
        root.vision_encoder.eval()
        more = self._old(engine)
        if prefixes or more:
            trained = make_trainable(root, (*prefixes, *more), HIGH_RESOLUTION)
        else:
            trained = {}
        noisy = tuple(
            place.block.stage_end
            for place, _ in self._ends(engine)
            if hasattr(place.block, "stage_end")
        )
        rates = {"mask_decoder.": 0.3, "vision_encoder.": 0.1, **dict.fromkeys(prefixes, 1.0)}
        return Adapted(
            self, engine, root, trained, rates=rates, train_mode=noisy if len(branch) else ()
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        with torch.device("meta"):
            made = [stage for _, stage in self._stages(engine)] + [self._branch(engine)]
        own = sum(item.numel() for each in made for item in each.parameters())
        return own + (
            count_parameters(network(engine), self._old(engine), HIGH_RESOLUTION)
            if self._old(engine)
            else 0
        )

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        if self.recipe == "paper":
            return single_decode.opening_loss(adapted, batch)
        return prompted_loss(adapted, batch)

    # --- where -----------------------------------------------------------------------------------

    def _old(self, engine: Engine) -> tuple[str, ...]:
        """Beginnings of what is trained of the base."""
        if self.neck:
            neck = NECKS.get(engine.card.family, NECK)
        else:
            neck = ()
        return (*(DECODER if self.decoder else ()), *neck)

    @property
    def _factors(self) -> tuple[int, ...]:
        if "bca" not in self.parts:
            return ()
        if self.pyramid:
            return PYRAMID
        return FACTORS

    def _branch(self, engine: Engine) -> nn.ModuleList:
        """The branch of convolutions: one for each resolution, none without BCA."""
        joint = next(place for place, joint in self._ends(engine) if joint)
        return nn.ModuleList(ConvBranch(joint.width, factor) for factor in self._factors)

    def _stages(self, engine: Engine) -> list[tuple[encoder_blocks.Place, StageEnd]]:
        """Modules after the ends of stages."""
        found = []
        ends = self._ends(engine)
        last = max((k for k, (_, joint) in enumerate(ends) if joint), default=-1)
        for k, (place, joint) in enumerate(ends):
            bca = joint and "bca" in self.parts
            fusion = bca and k == last and "fusion" in self.parts
            if not (bca or "cab" in self.parts):
                continue
            stage = StageEnd(
                place.width,
                encoder_blocks.count_heads(place),
                cab="cab" in self.parts,
                bca=bca,
                fusion=fusion,
                last=k == last,
                points=self.points,
                levels=max(1, len(self._factors)),
                dropout=self.dropout,
                drop_path=self.drop_path,
            )
            found.append((place, stage))
        return found

    def _ends(self, engine: Engine) -> list[tuple[encoder_blocks.Place, bool]]:
        """Last blocks of stages and of quarters of the stage at stride 16, and whether they are in
        that stage.
        """
        found: list[tuple[encoder_blocks.Place, bool]] = []
        every = encoder_blocks.places(engine)
        if engine.card.family == "mini":
            encoder = network(engine).vision_encoder
            for name, stride in (("stem", 4), ("stage8", 8)):
                stage = getattr(encoder, name)
                width = int(stage[-1].second.out_channels)
                path = f"vision_encoder.{name}.{len(stage) - 1}"
                found.append(
                    (encoder_blocks.Place(path, stage[-1], "mini", width, stride, 0), False)
                )
        for stride in sorted({place.stride for place in every}):
            members = [place for place in every if place.stride == stride]
            if stride == 16:
                parts = encoder_blocks.quarters(len(members))
            else:
                parts = [0] * len(members)
            for k, place in enumerate(members):
                if k + 1 == len(members) or parts[k + 1] != parts[k]:
                    found.append((place, stride == 16))
        return found


def _after(
    stage: StageEnd, stream: Stream, branch: Sequence[nn.Module], *, last: bool
) -> Callable[..., Tensor]:
    """A hook that hands a block's map to what follows its stage."""

    def hook(_: nn.Module, __: Any, found: Tensor) -> Tensor:
        given = None
        if len(branch):
            given = stream
        if last:
            return stage(found, given, branch)
        return stage(found.permute(0, 2, 3, 1), given, branch).permute(0, 3, 1, 2).contiguous()

    return hook
