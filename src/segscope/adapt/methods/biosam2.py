"""BioSAM-2, arXiv 2408.03286: SAM 2 fine-tuned on one set of biomedical images, volumes or
videos, still prompted.

Nothing is added to the network; what is trained differs between the paper and its code, and the
presets offer both:

    paper   image encoder and mask decoder; prompt encoder and memory frozen; images one by one
    code    mask decoder, memory attention and memory encoder; images attend to a bank of 16
    earlier ones video   the paper's parts and memory, on clips: the training of `medsam2` with this
    method's prompts

Where this differs from the code: a click is (x, y), not (row, column); images are normalised as
SAM 2 does; the loss is SAM 2's (`objective="dicece"` is the code's); the rate falls. In `code` the
newest entries of the bank keep a gradient, or the memory encoder would never learn; each class of
things has a bank of its own; some images are answered without the bank, as the adaptation is
used: at test time a bank would make results depend on the order of images and leak between
patients. An empty bank is the network's own embedding for that, not zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.data.training_set import Gathered
from segscope.adapt.losses.clip_memory import gated
from segscope.adapt.losses.interactive import best_of, hint_of
from segscope.adapt.losses.mask_losses import bce, dice_loss
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.methods.medsam2 import ClipRun, Judge, MedSam2, answer_losses
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    ENCODER,
    HIGH_RESOLUTION,
    POSITION_TABLES,
    count_parameters,
    make_trainable,
    network,
)
from segscope.adapt.method_presets import check_words
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import TrainingSettings
from segscope.errors import UsageError
from segscope.memory.sorted import outdated
from segscope.models.engine import Bank, Decoded, Engine, Features, Memory
from segscope.models.model_cards import Card
from segscope.models.sam2 import pick

PRESETS = ("paper", "code", "video")
LOSSES = ("sam2", "dicece")
MOST_CORRECTIONS = 7

MIX = tuple(
    (0.5 / (MOST_CORRECTIONS + 1), plan)
    for more in range(MOST_CORRECTIONS + 1)
    for plan in (
        "box.jitter:kind=e" + (f"+click.random:{more},most=1" if more else ""),
        f"click.random:{more + 1},most=1",
    )
)
"""Half boxes, half clicks anywhere in the object, with 0 to 7 corrections each; the code gives one
prompt.
"""

BANK = ("memory_attention.", "memory_encoder.", "spatial_perceiver.")


@dataclass(frozen=True)
class BioSam2(PromptedMethod):
    """Train what the network has, prompted.

    Attributes:
        preset: "paper", "code" or "video"; see the head of this module.
        objective: "sam2" (as medsam2) or "dicece" (Dice with squares + cross-entropy, the code's).
        encoder_rate: learning rate of the image encoder, as a factor.
        clip: frames of a clip (video).
        bank: entries of the bank of each class (code).
        recent: so many of the newest entries keep a gradient (code).
        alone: how often a image is answered without the bank (code).
        thrifty: whether encoder and attention are computed twice instead of kept, to save memory.
    """

    name: ClassVar[str] = "biosam2"
    about: ClassVar[str] = "encoder and decoder of SAM 2, or its memory: presets paper, code, video"
    when: ClassVar[str] = "You will go on prompting, and have a hundred images or more of one kind."
    paper: ClassVar[str] = "arXiv:2408.03286"
    dims: ClassVar = ("2d", "3d", "video")
    families: ClassVar[tuple[str, ...]] = ("sam2", "edgetam", "mini")

    preset: str = "paper"
    objective: str = "sam2"
    encoder_rate: float = 0.1
    clip: int = 8
    bank: int = 16
    recent: int = 2
    alone: float = 0.25
    thrifty: bool = False

    def __post_init__(self) -> None:
        check_words(self, preset=PRESETS, objective=LOSSES)
        if (
            self.bank < 2
            or not 0 <= self.recent <= self.bank
            or not 0 <= self.alone <= 1
            or self.clip < 1
        ):
            raise UsageError(
                "a bank holds 2 entries or more, recent ones are part of it, alone is a share of 0 to 1"
            )

    @classmethod
    def default_for(cls, card: Card) -> BioSam2:
        return cls(encoder_rate=0.3 if card.family == "mini" else 0.1)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        mini = card.family == "mini"
        video = self.preset == "video"
        return TrainingSettings(
            steps=min(3000, max(300, (5 if video else 15) * frames)),
            rate=3e-4 if mini else 1e-4,
            batch=2 if video and mini else 4,
            accumulate=4 if video and not mini else 1,
            objects=3 if mini or not video else 5,
            prompts=MIX if self.preset != "code" else ((0.5, MIX[0][1]), (0.5, MIX[1][1])),
        )

    @property
    def frozen_encoder(self) -> bool:
        return self.preset == "code"

    @property
    def frames(self) -> int:
        if self.preset == "video":
            return self.clip
        return 1

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        if self.preset == "video":
            adapted = self._clips().attach(engine, classes)
            return Adapted(self, engine, adapted.root, adapted.trained, rates=self._rates())
        root = network(engine)
        return Adapted(
            self, engine, root, make_trainable(root, *self._chosen(engine)), rates=self._rates()
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        if self.preset == "video":
            return self._clips().parameters(engine, classes)
        return count_parameters(network(engine), *self._chosen(engine))

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        return self._clips().encode(adapted, example)

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        judge = answer_losses if self.objective == "sam2" else dice_ce
        if self.preset == "code":
            parts = [banked_loss(adapted, self, example, judge) for example in batch]
        else:
            clips = self._clips()
            parts = [
                ClipRun(adapted, clips, example, clips.script(example), judge).loss()
                for example in batch
            ]
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def validate(self, adapted: Adapted, cases: Gathered) -> dict[str, float]:
        if self.preset == "video":
            return self._clips().validate(adapted, cases)
        return super().validate(adapted, cases)

    def _clips(self) -> MedSam2:
        """The training on clips that this one is a preset of; a image is a clip of one frame."""
        return MedSam2(
            parts=("encoder", "decoder", "memory"),
            clip=self.clip,
            by_truth=0.0,
            second=0.0,
            thrifty=self.thrifty,
        )

    def _chosen(self, engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Beginnings of names that are trained, and of those that are not all the same."""
        if self.preset == "code":
            return (*DECODER, *BANK), (*HIGH_RESOLUTION, *POSITION_TABLES)
        unused = HIGH_RESOLUTION if engine.card.family == "mini" else ()
        return (*ENCODER, *DECODER), (*POSITION_TABLES, *unused)

    def _rates(self) -> dict[str, float]:
        return dict.fromkeys((*ENCODER, *HIGH_RESOLUTION), self.encoder_rate)


def dice_ce(engine: Engine, decoded: Decoded, truth: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(O,) losses of the code: Dice with squares + cross-entropy of the first mask; IoU and
    presence are not taught.
    """
    full = engine.to_frame(decoded.logits[:, :1], size_hw)[:, 0]
    return dice_loss(full, truth, squared=True) + bce(full, truth)


# --- the bank of unrelated images --------------------------------------------------------------

Entry = dict[str, Any]
"""A image in a bank: "map" and "pointer" of its memory, "iou", "score"; while it is recent also
"seen", "logits" and "tokens", from which the memory is made anew, with gradients. Plain values and
tensors: it is saved with a run.
"""


def banked_loss(adapted: Adapted, method: BioSam2, example: Example, judge: Judge) -> Terms:
    """Loss of one image whose objects attend to earlier images of their classes; it enters the
    banks.
    """
    engine = adapted.engine
    banks = _opened(adapted, example)
    features = on_grid(adapted.features(example), example)[example.at]
    truth = torch.from_numpy(example.truth[:, example.at]).to(engine.device)
    alone = example.rng.random() < method.alone
    maps = []
    for label in example.labels:
        entries = banks.get(label, [])
        if alone or not entries:
            maps.append(engine.plain(features)[0])  # type: ignore[attr-defined]
        else:
            memories = [(None, remembered(engine, entry)) for entry in entries]
            maps.append(engine.attend(features, [Bank(memories, [], 1)])[0])
    hints = [hint_of(prompts) for prompts in example.prompts]
    decoded = engine.decode(features, hints, multimask=False, conditioned=torch.stack(maps))
    losses = judge(engine, decoded, truth, features.size_hw)
    answer = gated(best_of(decoded))
    with torch.no_grad():
        for k, label in enumerate(example.labels):
            enter(
                banks.setdefault(label, []),
                made(engine, features, pick(answer, k)),
                method.bank,
                method.recent,
            )
        found = engine.to_frame(answer.logits[:, 0], features.size_hw) > 0
        both = (found & truth).flatten(1).sum(1)
        sizes = found.flatten(1).sum(1) + truth.flatten(1).sum(1)
        dice = (2 * both / sizes.clamp(min=1)).mean()
    return {"loss": losses.mean(), "dice": dice}


def _opened(adapted: Adapted, example: Example) -> dict[str, list[Entry]]:
    """The banks; emptied when a frame comes for the second time, which begins a new round through
    the data.
    """
    seen: list[str] = adapted.memo.setdefault("seen", [])
    if example.source in seen:
        seen.clear()
        adapted.memo["banks"] = {}
    seen.append(example.source)
    banks: dict[str, list[Entry]] = adapted.memo.setdefault("banks", {})
    return banks


def made(engine: Engine, features: Features, answer: Decoded) -> Entry:
    """An entry from the answer (M = 1) for one object."""
    (memory,) = engine.remember(features, answer, prompted=[True])
    return {
        "map": memory.map.detach(),
        "pointer": memory.pointer.detach(),
        "iou": memory.iou,
        "score": memory.object_score,
        "seen": features.maps[-1].detach(),
        "logits": answer.logits.detach(),
        "tokens": None if answer.tokens is None else answer.tokens.detach(),
    }


def remembered(engine: Engine, entry: Entry) -> Memory:
    """The memory of an entry; of a recent one with gradients for what made it."""
    device = engine.device
    if "seen" not in entry:
        return Memory(
            entry["map"].to(device), entry["pointer"].to(device), entry["iou"], entry["score"]
        )
    score = torch.tensor([entry["score"]], device=device)
    iou = torch.tensor([[entry["iou"]]], device=device)
    answer = Decoded(entry["logits"].to(device), iou, score, entry["tokens"].to(device))
    seen = entry["seen"].to(device)
    return engine.remember(Features((seen,), (1, 1)), answer, prompted=[True])[0]


def enter(entries: list[Entry], new: Entry, size: int, recent: int) -> None:
    """Put an entry into a bank of at most `size`, by the code's rule where it is full; older ones
    become plain.
    """
    if len(entries) >= size:
        flat = torch.stack([entry["map"].float().flatten() for entry in (*entries, new)])
        flat = torch.nn.functional.normalize(flat, dim=1)
        alike = (flat @ flat.T).tolist()
        out = outdated(alike[-1][:-1], alike, new["iou"], [entry["iou"] for entry in entries])
        if out is None:
            return
        del entries[out]
    entries.append(new)
    for entry in entries[: len(entries) - recent]:
        for name in ("seen", "logits", "tokens"):
            entry.pop(name, None)


def legacy_pooled_dice(logits: Tensor, truth: Tensor, threshold: float = 0.5) -> float:
    """The code's figure for (B, row, column): Dice from the IoU of all pixels of a batch, so that
    it depends on B.
    """
    found = logits > threshold
    truth = truth.bool()
    both = float((found & truth).sum())
    either = float((found | truth).sum())
    iou = both / either if either else 1.0
    return 2 * iou / (1 + iou)
