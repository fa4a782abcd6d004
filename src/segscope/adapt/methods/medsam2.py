"""MedSAM2 (Toronto), arXiv 2504.03600: SAM 2 learns to carry masks through volumes and videos, on
clips of 8 frames.

Not MedSAM-2 (Oxford), whose memory bank is `segscope.memory.sorted`. From the released
configuration: all of the network is trained, encoder included; clips of 8 frames; the first frame
is prompted and in half of the clips one more; half of the prompts are masks, half loose boxes,
which are then corrected by 7 clicks on one or two frames; a corrected frame stays a prompted one
for memory; every answer is judged by 20 focal + Dice + IoU + presence, of three masks the best.
AdamW at 5e-5, encoder at 3e-5 with a decay of 0.9 a layer, gradients cut at 0.1.

Where this differs. The prompted frame may lie anywhere in the clip, which is then carried both
ways, as prediction does from the key slice (`start="first"` is the release's way); clips run
backwards half the time; stacks with fewer frames, and images, make shorter clips instead of none.
A click "by the truth", one in ten, is one inside the true object. A given mask is its own answer
and is not judged, except on a lone image, where it is a hint to improve on. `mini` hands masks of
prompted frames over as masks, as its prediction does, and its encoder is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import LEAST, Example, on_grid
from segscope.adapt.data.training_set import Gathered
from segscope.adapt.losses.clip_memory import Recall, again
from segscope.adapt.losses.interactive import CLAMP, best_of, hint_of
from segscope.adapt.losses.mask_losses import dice_loss, focal, presence_loss, true_iou
from segscope.adapt.method import Adapted, Method, Terms
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
from segscope.adapt.validation.tracking import validate_clips
from segscope.errors import UsageError
from segscope.models.engine import Decoded, Engine, Features
from segscope.models.model_cards import Card
from segscope.models.sam2 import pick, stack_decoded
from segscope.prompts import MaskPrompt, Prompt
from segscope.simulate.plan import Plan

MIX = ((0.5, "mask"), (0.5, "box.jitter:kind=e+click.random:7,most=1"))
Judge = Callable[[Engine, Decoded, Tensor, tuple[int, int]], Tensor]
"""Answers for O objects, truth (O, row, column) and the grid's size to (O,) losses."""

PARTS = ("encoder", "prompts", "decoder", "memory")
STARTS = ("any", "first")
FOCAL = 20.0

MEMORY = (
    "memory_attention.", "memory_encoder.", "spatial_perceiver.", "object_pointer_proj.", "mask_downsample.",
    "temporal_positional_encoding_projection_layer.", "memory_temporal_positional_encoding", "no_memory_embedding",
    "no_object_pointer", "occlusion_spatial_embedding_parameter",
)  # fmt: skip
TRACKING = ("track_prior.", "track_branch.", "track_decoder.", "track_presence.")
"""What `mini` has for tracked frames in place of the decoder for prompts."""

UNUSED = (
    "mask_downsample.", "no_memory_embedding", "track_decoder.conv_s0.", "track_decoder.conv_s1.",
    *(f"track_decoder.output_hypernetworks_mlps.{k}." for k in (1, 2, 3)),
)  # fmt: skip
"""What `mini` has from SAM 2 and does not run; its tracking gives mask 0 only."""


@dataclass(frozen=True)
class MedSam2(Method):
    """Train memory, and what it works with, on clips.

    Attributes:
        parts: what is trained: "encoder", "prompts", "decoder", "memory".
        clip: frames of a clip.
        start: "any": the prompted frame lies anywhere in the clip; "first": it is the clip's first.
        second: how often one more frame is prompted at once.
        corrected: most frames of a clip that are corrected, where the prompts say that there are
            corrections.
        by_truth: how often a correction is a click into the true object wherever the error is.
        encoder_rate: learning rate of the image encoder, as a factor.
        decoder_rate: the same for the decoder and what encodes prompts.
        layer_decay: that of the encoder once more for each block of Hiera below the last.
        truncate: gradients flow back through at most about so many frames of memory; 0 for all.
        thrifty: whether encoder and attention are computed twice instead of kept, to save memory.
    """

    name: ClassVar[str] = "medsam2"
    about: ClassVar[str] = "memory, decoder and encoder, on clips: MedSAM2 (Toronto)"
    when: ClassVar[str] = (
        "Volumes and videos: one slice or frame is prompted and the others have to follow."
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
        if not self.parts or set(self.parts) - set(PARTS):
            raise UsageError(f"parts are {', '.join(PARTS)}; got {', '.join(self.parts) or 'none'}")
        if self.start not in STARTS:
            raise UsageError(f"start is {' or '.join(STARTS)}, got {self.start!r}")
        if (
            self.clip < 1
            or self.corrected < 1
            or not 0 <= self.second <= 1
            or not 0 <= self.by_truth <= 1
        ):
            raise UsageError(
                "a clip has 1 frame or more, of which 1 or more are corrected; shares are 0 to 1"
            )
        if self.clip == 1 and set(self.parts) <= {"memory"}:
            raise UsageError(
                "memory learns from clips of 2 frames or more; leave clip out, or take more parts"
            )

    @classmethod
    def default_for(cls, card: Card) -> MedSam2:
        # mini answers prompts well already, and tracking has a decoder of its own
        if card.family == "mini":
            return cls(parts=PARTS[1:], decoder_rate=0.3)
        return cls()

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        mini = card.family == "mini"
        return TrainingSettings(
            steps=min(3000, max(300, 5 * frames)),
            rate=3e-4 if mini else 5e-5,
            batch=2 if mini else 4,
            accumulate=1 if mini else 4,
            decay=0.1,
            clip=0.1,
            objects=3 if mini else 5,
            prompts=MIX,
        )

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
            make_trainable(root, *self._chosen(engine)),
            rates=self._rates(engine),
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return count_parameters(network(engine), *self._chosen(engine))

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        encode = adapted.engine.encode
        if not self.thrifty or self.frozen_encoder:
            return super().encode(adapted, example)
        video = len(example.rgb) > 1
        return [again(lambda frame=frame: encode(frame, video=video)) for frame in example.rgb]

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        parts = [ClipRun(adapted, self, example, self.script(example)).loss() for example in batch]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def validate(self, adapted: Adapted, cases: Gathered) -> dict[str, float]:
        return validate_clips(adapted, cases)

    def script(self, example: Example) -> ClipPlan:
        """Draw what is said in a clip, from the example's own chance."""
        rng = example.rng
        plan = example.plans[0]
        there: NDArray[np.bool_] = np.any(example.truth, axis=(2, 3))  # (object, frame)
        first = example.at
        length = len(example.rgb)
        if self.start == "first":
            first = int(np.argmax(example.truth[0].sum((1, 2)) >= LEAST))
        objects = np.flatnonzero(there[:, first])
        if self.start == "first":
            chosen = range(first, length)
        else:
            chosen = range(length)
        initial = [first]
        if len(chosen) > 2 and rng.random() < self.second:
            # a box needs something to stand around, so the second frame shows every object too
            more = [frame for frame in chosen if frame != first and there[objects, frame].all()]
            initial += [more[int(rng.integers(len(more)))]] if more else []
        corrected: list[int] = []
        if plan.rounds > 1:
            most = max(len(initial), min(self.corrected, len(chosen)))
            wanted = int(rng.integers(len(initial), most + 1))
            rest = [frame for frame in chosen if frame not in initial]
            corrected = initial + [
                rest[k] for k in rng.permutation(len(rest))[: wanted - len(initial)].tolist()
            ]
        onward = [(frame, 1) for frame in range(first + 1, length)]
        if self.start == "first":
            back = []
        else:
            back = [(frame, -1) for frame in range(first - 1, -1, -1)]
        return ClipPlan(
            plan, tuple(objects.tolist()), tuple(initial), tuple(corrected), tuple(onward + back)
        )

    def _chosen(self, engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Beginnings of names that are trained, and of those that are not all the same."""
        family = engine.card.family
        mini = family == "mini"
        by_part = {
            "encoder": ENCODER if mini else (*ENCODER, *HIGH_RESOLUTION),
            "prompts": prompt_encoder(family),
            "decoder": DECODER,
            "memory": (*MEMORY, *TRACKING) if mini else MEMORY,
        }
        fine = (
            HIGH_RESOLUTION if mini or self.frozen_encoder else ()
        )  # they belong to the encoder by use
        return (
            tuple(prefix for part in self.parts for prefix in by_part[part]),
            (*POSITION_TABLES, *fine, *(UNUSED if mini else ())),
        )

    def _rates(self, engine: Engine) -> dict[str, float]:
        root = network(engine)
        rate = self.encoder_rate
        rates = dict.fromkeys(
            (*ENCODER, *HIGH_RESOLUTION), rate
        )  # the longest name that fits counts
        trunk = "vision_encoder.backbone."
        blocks = getattr(getattr(root.vision_encoder, "backbone", None), "blocks", ())
        for number in range(len(blocks)):
            rates[f"{trunk}blocks.{number}."] = rate * self.layer_decay ** (
                len(blocks) - 1 - number
            )
        if len(blocks):
            rates[f"{trunk}patch_embed."] = rate * self.layer_decay ** len(blocks)
        rates |= dict.fromkeys((*DECODER, *prompt_encoder(engine.card.family)), self.decoder_rate)
        return rates


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What is said in a clip.

    Attributes:
        plan: of the prompts.
        objects: which of the example's objects take part; all are there on the first prompted
            frame.
        initial: frames that are prompted at once, the first one first.
        corrected: frames that are corrected.
        order: (frame, direction) of the others as they are tracked; frames of `initial` among them
            are passed over.
    """

    plan: Plan
    objects: tuple[int, ...]
    initial: tuple[int, ...]
    corrected: tuple[int, ...]
    order: tuple[tuple[int, int], ...]


@dataclass(eq=False)
class ClipRun:
    """One clip, from its prompts to the loss of all answers."""

    adapted: Adapted
    method: MedSam2
    example: Example
    script: ClipPlan
    judge: Judge | None = None  # in place of `answer_losses`
    losses: list[Tensor] = field(default_factory=list)  # of each answer, summed over objects
    dice: dict[bool, list[float]] = field(
        default_factory=lambda: {True: [], False: []}
    )  # by "prompted"

    def loss(self) -> Terms:
        """Sum over answers, divided by the number of objects; Dice of tracked and of prompted
        frames apart.
        """
        self.features = on_grid(self.adapted.features(self.example), self.example)
        self.truth = torch.from_numpy(self.example.truth[list(self.script.objects)]).to(
            self.adapted.engine.device
        )
        self.recall = Recall(self.adapted.engine, len(self.features), self.method.thrifty)
        for frame in self.script.initial:
            self._prompted(frame)
        done = 0
        for frame, step in self.script.order:
            if frame in self.script.initial:
                continue
            if self.method.truncate and done and done % self.method.truncate == 0:
                self.recall.detach()
            self._tracked(frame, step)
            done += 1
        prompted = float(np.mean(self.dice[True] or [1.0]))
        tracked = prompted
        if self.dice[False]:
            tracked = float(np.mean(self.dice[False]))
        device = self.truth.device
        return {
            "loss": torch.stack(self.losses).sum() / len(self.truth),
            "dice": torch.tensor(tracked, device=device),
            "prompted": torch.tensor(prompted, device=device),
        }

    def _prompted(self, frame: int) -> None:
        features = self.features[frame]
        engine = self.adapted.engine
        given = [
            self.script.plan.first(self._mask(k, frame)[None], self.example.rng)
            for k in range(len(self.truth))
        ]
        masks = [
            prompt.mask for prompts in given for prompt in prompts if isinstance(prompt, MaskPrompt)
        ]
        if len(masks) == len(given) and len(self.features) > 1:
            held = torch.from_numpy(np.stack(masks)).to(engine.device)
            answer = self.recall.anchor_masks(features, frame, held)
            if frame not in self.script.corrected:
                self._note(answer, frame, prompted=True)
                return
        else:
            answer = self._decode(
                features, given, [None] * len(given), range(len(given)), frame, None
            )
        if frame in self.script.corrected:
            answer = self._correct(frame, answer, given, None)
        self._note(answer, frame, prompted=True)
        if len(self.features) > 1:
            self.recall.anchor(features, frame, answer)

    def _tracked(self, frame: int, step: int) -> None:
        features = self.features[frame]
        decoded, seen = self.recall.track(features, frame, step)
        answer = self._judge(decoded, range(len(self.truth)), frame)
        if frame not in self.script.corrected:
            self._note(answer, frame, prompted=False)
            self.recall.keep(features, frame, answer, step)
            return
        # engines that look through windows correct without memory, in a window around the answer
        plain = self.adapted.engine.card.zoom
        answer = self._correct(frame, answer, [[] for _ in self.truth], None if plain else seen)
        self._note(answer, frame, prompted=True)
        self.recall.anchor(features, frame, answer)

    def _correct(
        self, frame: int, answer: Decoded, given: list[list[Prompt]], seen: Tensor | None
    ) -> Decoded:
        """An answer (M = 1) after all rounds of corrections; `seen` is the map that memory
        conditioned, if any.
        """
        features = self.features[frame]
        rng = self.example.rng
        plan = self.script.plan
        for _ in range(plan.rounds - 1):
            full = self.adapted.engine.to_frame(answer.logits[:, 0].detach(), features.size_hw) > 0
            going = []
            for k, found in enumerate(full.cpu().numpy()):
                shown = found
                if rng.random() < self.method.by_truth:
                    shown = np.zeros_like(found)
                more = plan.correct(
                    self._mask(k, frame)[None], shown[None], rng, tuple(given[k]), frame=0
                )
                given[k] += more
                going += [k] if more else []
            if not going:
                break
            said = [given[k] for k in going]
            before = [answer.logits[k, 0].detach().clamp(-CLAMP, CLAMP) for k in going]
            better = self._decode(
                features, said, before, going, frame, None if seen is None else seen[going]
            )
            parts = [pick(answer, k) for k in range(len(given))]
            for row, k in enumerate(going):
                parts[k] = pick(better, row)
            answer = stack_decoded(parts)
        return answer

    def _decode(
        self,
        features: Features,
        given: Sequence[Sequence[Prompt]],
        before: Sequence[Tensor | None],
        objects: Sequence[int],
        frame: int,
        seen: Tensor | None,
    ) -> Decoded:
        """Judged answers (M = 1) to prompts."""
        engine = self.adapted.engine
        hints = [
            hint_of(prompts, previous) for prompts, previous in zip(given, before, strict=True)
        ]
        many = all(engine.multimask(hint.clicks, tracking=seen is not None) for hint in hints)
        many = many and not (engine.card.zoom and any(hint.previous is not None for hint in hints))
        return self._judge(
            engine.decode(features, hints, multimask=many, conditioned=seen), objects, frame
        )

    def _judge(self, decoded: Decoded, objects: Sequence[int], frame: int) -> Decoded:
        """Add the loss of an answer; its best candidates by predicted IoU."""
        truth = self.truth[list(objects), frame]
        judge = self.judge or answer_losses
        self.losses.append(
            judge(self.adapted.engine, decoded, truth, self.features[frame].size_hw).sum()
        )
        return best_of(decoded)

    def _note(self, answer: Decoded, frame: int, *, prompted: bool) -> None:
        found = (
            self.adapted.engine.to_frame(answer.logits[:, 0].detach(), self.features[frame].size_hw)
            > 0
        )
        truth = self.truth[:, frame]
        if answer.object_score is not None and not prompted:
            found = found & (answer.object_score > 0)[:, None, None]
        both = (found & truth).flatten(1).sum(1)
        sizes = found.flatten(1).sum(1) + truth.flatten(1).sum(1)
        self.dice[prompted] += torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0).tolist()

    def _mask(self, k: int, frame: int) -> NDArray[np.bool_]:
        return self.example.truth[self.script.objects[k], frame]


def answer_losses(
    engine: Engine, decoded: Decoded, truth: Tensor, size_hw: tuple[int, int]
) -> Tensor:
    """SAM 2's loss of each answer: 20 focal + Dice of the best mask, error of all predicted IoU,
    and presence.

    Args:
        decoded: O objects with M candidates.
        truth: (O, row, column) bool on the grid of `size_hw`; where an object is absent only
            presence is judged.

    Returns:
        (O,) losses.
    """
    full = engine.to_frame(decoded.logits, size_hw)
    target = truth[:, None]
    masks = (FOCAL * focal(full, target) + dice_loss(full, target)).min(1).values
    scores = (decoded.iou.float() - true_iou(full, target)).abs().mean(1)
    here = truth.flatten(1).any(1)
    loss = torch.where(here, masks + scores, 0.0)
    if decoded.object_score is None:
        return loss
    return loss + presence_loss(decoded.object_score, here)
