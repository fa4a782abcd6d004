"""BioSAM-2, arXiv 2408.03286: SAM 2 fine-tuned on one set of biomedical images, volumes or
videos, still prompted.

Nothing is added to the network. What is trained differs between the paper and its code, and the
presets offer both:

    paper   image encoder and mask decoder; prompt encoder and memory frozen; images one by one
    code    mask decoder, memory attention and memory encoder; images attend to a bank of 16
            earlier ones
    video   the paper's parts and memory, on clips: the training of `medsam2` with this method's
            prompts

Differences from the code: a click is (x, y), not (row, column); images are normalised as in SAM 2;
the loss is SAM 2's (`objective="dicece"` is the code's); the learning rate falls. In `code` the
newest entries of the bank have a gradient, without which the memory encoder would never learn; each
class has a bank of its own; some images are segmented without the bank, as in use: at test time a
bank would make results depend on the order of images and leak between patients. An empty bank is
the network's own embedding for that, not zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.data.training_set import Split
from segscope.adapt.losses.mask_losses import bce, dice_loss
from segscope.adapt.losses.single_decode import SINGLE_MASK
from segscope.adapt.method import Adapted, Terms, mean_terms
from segscope.adapt.method_presets import check_words
from segscope.adapt.methods.medsam2.clips import AnswerLoss, answer_losses
from segscope.adapt.methods.medsam2.method import MedSam2
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    ENCODER,
    HIGH_RESOLUTION,
    POSITION_TABLES,
    count_parameters,
    make_trainable,
    network,
)
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import UsageError
from segscope.inference.prompted_masks import decoder_prompt
from segscope.memory.sorted import outdated
from segscope.models.engine import Bank, Decoded, Engine, Features, Memory
from segscope.models.model_cards import Card

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
"""Half boxes, half clicks anywhere in the object, with 0 to 7 corrections each; the code uses one
prompt.
"""

LONE_PROMPTS = ((0.5, MIX[0][1]), (0.5, MIX[1][1]))
"""The same without corrections, as in the code."""

BANK = ("memory_attention.", "memory_encoder.", "spatial_perceiver.")


@dataclass(frozen=True)
class BioSam2(PromptedMethod):
    """Train parts of the network as it is, prompted.

    Attributes:
        preset: "paper", "code" or "video"; see the head of this module.
        objective: "sam2" (as medsam2) or "dicece" (Dice with squares + cross-entropy, the code's).
        encoder_rate: learning rate of the image encoder, as a factor.
        clip: frames of a clip (video).
        bank: entries in the bank of each class (code).
        recent: number of newest entries that have a gradient (code).
        alone: how often an image is segmented without the bank (code).
        thrifty: whether encoder and attention are recomputed for the gradient, to save memory.
    """

    name: ClassVar[str] = "biosam2"
    about: ClassVar[str] = "encoder and decoder of SAM 2, or its memory: presets paper, code, video"
    when: ClassVar[str] = "You will still prompt, and have a hundred images or more of one kind."
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
        if self.bank < 2 or self.clip < 1:
            raise UsageError("bank must be 2 entries or more, clip 1 frame or more")
        if not 0 <= self.recent <= self.bank:
            raise UsageError(f"recent must be from 0 to the size of the bank, {self.bank}")
        if not 0 <= self.alone <= 1:
            raise UsageError("alone is a share from 0 to 1")

    @classmethod
    def default_for(cls, card: Card) -> BioSam2:
        if card.family == "mini":
            return cls(encoder_rate=0.3)
        return cls()

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        video = self.preset == "video"
        settings = TrainingSettings(
            steps=min(3000, max(300, 15 * frames)), rate=1e-4, batch=4, objects=3, prompts=MIX
        )
        if self.preset == "code":
            settings = replace(settings, prompts=LONE_PROMPTS)
        if video:
            steps = min(3000, max(300, 5 * frames))
            settings = replace(settings, steps=steps, accumulate=4, objects=5)
        if card.family == "mini":
            settings = replace(settings, rate=3e-4, objects=3)
        if card.family == "mini" and video:
            settings = replace(settings, batch=2, accumulate=1)
        return settings

    @property
    def frozen_encoder(self) -> bool:
        return self.preset == "code"

    @property
    def frames(self) -> int:
        if self.preset == "video":
            return self.clip
        return 1

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        root = network(engine)
        if self.preset == "video":
            trained = self._clip_method().attach(engine, classes).trained
        else:
            trained = make_trainable(root, *self._prefixes(engine))
        if self.preset == "code":
            engine.answer_rule = SINGLE_MASK
        rates = dict.fromkeys((*ENCODER, *HIGH_RESOLUTION), self.encoder_rate)
        return Adapted(self, engine, root, trained, rates=rates)

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        if self.preset == "video":
            return self._clip_method().parameters(engine, classes)
        return count_parameters(network(engine), *self._prefixes(engine))

    def merge(self, adapted: Adapted) -> Engine:
        return adapted.engine

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        return self._clip_method().encode(adapted, example)

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        answer_loss: AnswerLoss = answer_losses
        if self.objective == "dicece":
            answer_loss = dice_ce
        if self.preset == "code":
            return mean_terms(
                [banked_loss(adapted, self, example, answer_loss) for example in batch]
            )
        clips = self._clip_method()
        return mean_terms([clips.run_clip(adapted, example, answer_loss) for example in batch])

    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        if self.preset == "video":
            return self._clip_method().validate(adapted, cases)
        return super().validate(adapted, cases)

    def _clip_method(self) -> MedSam2:
        """The training on clips that this one is a preset of; an image is a clip of one frame."""
        return MedSam2(
            parts=("encoder", "decoder", "memory"),
            clip=self.clip,
            by_truth=0.0,
            second=0.0,
            thrifty=self.thrifty,
        )

    def _prefixes(self, engine: Engine) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Prefixes of what is trained, and of what stays frozen within it."""
        if self.preset == "code":
            return (*DECODER, *BANK), (*HIGH_RESOLUTION, *POSITION_TABLES)
        frozen: tuple[str, ...] = POSITION_TABLES
        if engine.card.family == "mini":
            frozen += HIGH_RESOLUTION
        return (*ENCODER, *DECODER), frozen


def dice_ce(engine: Engine, decoded: Decoded, truth: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(O,) losses of the code: Dice with squares + cross-entropy of the first mask; IoU and
    presence are not trained.
    """
    full = engine.to_frame(decoded.logits[:, :1], size_hw)[:, 0]
    return dice_loss(full, truth, squared=True) + bce(full, truth)


# --- the bank of unrelated images --------------------------------------------------------------

Entry = dict[str, Any]
"""An image in a bank: "map" and "pointer" of its memory, "iou", "score". While it is recent also
"seen", "logits" and "tokens", from which the memory is computed with gradients. Plain values and
tensors, because a run saves it; the keys are part of the format.
"""


def banked_loss(
    adapted: Adapted, method: BioSam2, example: Example, answer_loss: AnswerLoss
) -> Terms:
    """Loss of one image whose objects attend to earlier images of their classes; it enters their
    banks.
    """
    engine = adapted.engine
    banks = _open_banks(adapted, example)
    features = on_grid(adapted.features(example), example)[example.at]
    truth = torch.from_numpy(example.truth[:, example.at]).to(engine.device)
    alone = example.rng.random() < method.alone
    maps = []
    for label in example.labels:
        entries = banks.get(label, [])
        if alone or not entries:
            maps.append(engine.unconditioned(features)[0])
        else:
            memories = [(None, restore_memory(engine, entry)) for entry in entries]
            maps.append(engine.attend(features, [Bank(memories, [], 1)])[0])
    hints = list(map(decoder_prompt, example.prompts))
    decoded = engine.decode(features, hints, multimask=False, conditioned=torch.stack(maps))
    losses = answer_loss(engine, decoded, truth, features.size_hw)
    answer = decoded.best().detach_scores().present()
    with torch.no_grad():
        for k, label in enumerate(example.labels):
            entry = make_entry(engine, features, answer.pick(k))
            add_entry(banks.setdefault(label, []), entry, method.bank, method.recent)
        masks = engine.to_frame(answer.logits[:, 0], features.size_hw) > 0
        both = (masks & truth).flatten(1).sum(1)
        sizes = masks.flatten(1).sum(1) + truth.flatten(1).sum(1)
        dice = (2 * both / sizes.clamp(min=1)).mean()
    return {"loss": losses.mean(), "dice": dice}


def _open_banks(adapted: Adapted, example: Example) -> dict[str, list[Entry]]:
    """The banks; emptied when a frame comes for the second time, which begins a new round through
    the data.
    """
    used: list[str] = adapted.memo.setdefault("seen", [])
    if example.source in used:
        used.clear()
        adapted.memo["banks"] = {}
    used.append(example.source)
    banks: dict[str, list[Entry]] = adapted.memo.setdefault("banks", {})
    return banks


def make_entry(engine: Engine, features: Features, answer: Decoded) -> Entry:
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


def restore_memory(engine: Engine, entry: Entry) -> Memory:
    """The memory of an entry; that of a recent one has gradients."""
    device = engine.device
    if "seen" not in entry:
        return Memory(
            entry["map"].to(device), entry["pointer"].to(device), entry["iou"], entry["score"]
        )
    score = torch.tensor([entry["score"]], device=device)
    iou = torch.tensor([[entry["iou"]]], device=device)
    answer = Decoded(entry["logits"].to(device), iou, score, entry["tokens"].to(device))
    image = entry["seen"].to(device)
    return engine.remember(Features((image,), (1, 1)), answer, prompted=[True])[0]


def add_entry(entries: list[Entry], new: Entry, size: int, recent: int) -> None:
    """Put an entry into a bank of at most `size`; the code's rule decides which one a full bank
    drops. Entries that are not among the newest `recent` lose their gradients.
    """
    if len(entries) >= size:
        maps = torch.stack([entry["map"].float().flatten() for entry in (*entries, new)])
        maps = torch.nn.functional.normalize(maps, dim=1)
        similarity = (maps @ maps.T).tolist()
        ious = [entry["iou"] for entry in entries]
        dropped = outdated(similarity[-1][:-1], similarity, new["iou"], ious)
        if dropped is None:
            return
        del entries[dropped]
    entries.append(new)
    for entry in entries[: len(entries) - recent]:
        for name in ("seen", "logits", "tokens"):
            entry.pop(name, None)


def legacy_pooled_dice(logits: Tensor, truth: Tensor, threshold: float = 0.5) -> float:
    """The code's figure for (B, row, column): Dice from the IoU of all pixels of a batch, so that
    it depends on B.
    """
    masks = logits > threshold
    truth = truth.bool()
    both = float((masks & truth).sum())
    either = float((masks | truth).sum())
    if not either:
        return 1.0
    iou = both / either
    return 2 * iou / (1 + iou)
