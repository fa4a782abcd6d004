"""DB-SAM: channel attention between the stages of the image encoder, and a parallel branch of
convolutions.

"DB-SAM: Delving into High Quality Universal Medical Image Segmentation" (arXiv 2410.04172, MICCAI
2024). Most of the paper's gain comes from its channel attention (CAB) at a tenth of the cost, so
that is the default; presets add the convolutions with bilateral cross-attention (BCA), and the
fusion.

The public code configures four branches and no CAB, and cannot run; this is the paper's version, to
which `pyramid` adds the four resolutions. Where the paper would disturb a frozen encoder at the
start, additions are weighted by channel, starting at zero, and norms that would change it are left
out. Drop path is 0.1, because the paper's 0.3 is too much for few blocks.

On Hiera, EdgeTAM and `mini` CAB follows each stage, and each quarter of the stage at stride 16,
where BCA and fusion are as well, so that later stages and the neck can use their output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example
from segscope.adapt.losses import single_decode
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import apply_settings, check_members, check_words
from segscope.adapt.methods.db_sam.layers import ConvBranch, ExchangeOptions, StageEnd, Stream
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
from segscope.models.library import LibraryModule
from segscope.models.model_cards import Card

FULL = ("cab", "bca", "fusion")
PRESETS: dict[str, dict[str, object]] = {
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
        preset: name of the preset that the settings come from, see `from_preset`: "cab", "db-lite"
            (with convolutions and BCA), "db-full" (with fusion too) or "paper" (trained as there).
        parts: of "cab", "bca", "fusion"; fusion needs BCA.
        points: points that a head of BCA samples.
        pyramid: convolutions at four resolutions instead of one.
        dropout, drop_path: in BCA, while training.
        decoder: whether the mask decoder is trained as well.
        neck: whether the layers between encoder and decoder are trained as well, at a tenth of the
            rate.
        recipe: prompts and loss of the training: "usual", or "paper" (boxes only, Dice +
            cross-entropy).
    """

    name: ClassVar[str] = "db-sam"
    about: ClassVar[str] = (
        "channel attention between stages (and a branch of convolutions), and the mask decoder"
    )
    when: ClassVar[str] = (
        "Small or thin objects, and hundreds of images; --set preset=db-full for the whole network."
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
        check_members(
            self,
            "parts",
            FULL,
            may_be_empty=self.decoder or self.neck,
            nothing="none, and no decoder",
        )
        if "fusion" in self.parts and "bca" not in self.parts:
            raise UsageError("fusion needs BCA; use parts=cab,bca,fusion or leave fusion out")
        if self.points < 1:
            raise UsageError(f"points must be 1 or more, got {self.points}")
        rates = (self.dropout, self.drop_path)
        if not 0 <= min(rates) <= max(rates) < 1:
            raise UsageError("dropout and drop_path must be from 0 to below 1")

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
        stages = []
        stream = Stream()
        branch = self._make_branch(engine).to(engine.device)
        for place, stage in self._make_stages(engine):
            place.block.stage_end = stage.to(engine.device)
            hook = _follow(stage, stream, list(branch), channels_last=place.channels_last)
            place.block.register_forward_hook(hook)
            prefixes.append(f"{place.name}.stage_end.")
            stages.append(stage)
        train_mode: tuple[nn.Module, ...] = ()
        if len(branch):
            root.vision_encoder.conv_branch = branch
            encoder_blocks.find_entry(engine).register_forward_pre_hook(
                lambda _, inputs: stream.begin(inputs[0])
            )
            prefixes.append(BRANCH)
            train_mode = tuple(stages)
        root.vision_encoder.eval()
        if self.recipe == "paper":
            engine.answer_rule = single_decode.SINGLE_MASK
        trained = {}
        selected = (*prefixes, *self._base_prefixes(engine))
        if selected:
            trained = make_trainable(root, selected, HIGH_RESOLUTION)
        rates = {"mask_decoder.": 0.3, "vision_encoder.": 0.1, **dict.fromkeys(prefixes, 1.0)}
        return Adapted(self, engine, root, trained, rates=rates, train_mode=train_mode)

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        with torch.device("meta"):
            modules: list[nn.Module] = [stage for _, stage in self._make_stages(engine)]
            modules.append(self._make_branch(engine))
        every = chain.from_iterable(module.parameters() for module in modules)
        total = sum(map(torch.Tensor.numel, every))
        prefixes = self._base_prefixes(engine)
        if prefixes:
            total += count_parameters(network(engine), prefixes, HIGH_RESOLUTION)
        return total

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        if self.recipe == "paper":
            return single_decode.opening_loss(adapted, batch)
        return super().loss(adapted, batch)

    # --- where -----------------------------------------------------------------------------------

    def _base_prefixes(self, engine: Engine) -> tuple[str, ...]:
        """Names of what is trained of the base."""
        prefixes: tuple[str, ...] = ()
        if self.decoder:
            prefixes += DECODER
        if self.neck:
            prefixes += NECKS.get(engine.card.family, NECK)
        return prefixes

    @property
    def _factors(self) -> tuple[int, ...]:
        if "bca" not in self.parts:
            return ()
        if self.pyramid:
            return PYRAMID
        return FACTORS

    def _make_branch(self, engine: Engine) -> nn.ModuleList:
        """The branch of convolutions: one for each resolution, none without BCA."""
        width = next(end.place.width for end in find_ends(engine) if end.joint)
        return nn.ModuleList(ConvBranch(width, factor) for factor in self._factors)

    def _make_stages(self, engine: Engine) -> list[tuple[encoder_blocks.Place, StageEnd]]:
        """Modules after the ends of stages."""
        options = ExchangeOptions(
            self.points, max(1, len(self._factors)), self.dropout, self.drop_path
        )
        ends = find_ends(engine)
        last = max((k for k, end in enumerate(ends) if end.joint), default=-1)
        stages = []
        for k, end in enumerate(ends):
            parts = set(self.parts)
            if not end.joint:
                parts -= {"bca", "fusion"}
            if k != last:
                parts.discard("fusion")
            if parts:
                heads = encoder_blocks.count_heads(end.place)
                stage = StageEnd(end.place.width, heads, parts, options, last=k == last)
                stages.append((end.place, stage))
        return stages


@dataclass(frozen=True)
class End:
    """The last block of a stage, or of a quarter of the stage at stride 16.

    Attributes:
        place: the block.
        joint: whether it is in the stage at stride 16, where both branches meet.
    """

    place: encoder_blocks.Place
    joint: bool


def find_ends(engine: Engine) -> list[End]:
    """The ends of an encoder, in order."""
    ends = []
    if engine.card.family == "mini":
        ends += _find_early_ends(network(engine).vision_encoder)
    every = encoder_blocks.places(engine)
    for stride in sorted({place.stride for place in every}):
        members = [place for place in every if place.stride == stride]
        joint = stride == 16
        parts = [0] * len(members)
        if joint:
            parts = encoder_blocks.quarters(len(members))
        last_of_parts = dict(zip(parts, members, strict=True))
        ends += [End(place, joint) for place in last_of_parts.values()]
    return ends


def _find_early_ends(encoder: LibraryModule) -> list[End]:
    """The ends of `mini`'s stages of convolutions, which are not among its blocks."""
    ends = []
    for name, stride in (("stem", 4), ("stage8", 8)):
        stage = getattr(encoder, name)
        width = int(stage[-1].second.out_channels)
        path = f"vision_encoder.{name}.{len(stage) - 1}"
        place = encoder_blocks.Place(path, stage[-1], "mini", width, stride, 0)
        ends.append(End(place, joint=False))
    return ends


def _follow(
    stage: StageEnd, stream: Stream, branch: Sequence[nn.Module], *, channels_last: bool
) -> Callable[..., Tensor]:
    """A hook that passes a block's map through what follows its stage."""

    def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
        used = None
        if len(branch):
            used = stream
        if channels_last:
            return stage(output, used, branch)
        followed = stage(output.permute(0, 2, 3, 1), used, branch)
        return followed.permute(0, 3, 1, 2).contiguous()

    return hook
