"""Clips to loss: objects prompted on one frame are tracked through the others, with gradients
through memory.

Follows the training of "SAM 2" (arXiv 2408.00714, section 4.2) in its simplest form: one prompted
frame, the others are tracked one by one from the memories of those before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.interactive import USUAL, Weights, answer_loss, best_of, hint_of
from segscope.adapt.method import Adapted, Terms
from segscope.models.engine import NO_HINT, Bank, Decoded, Engine, Features, Memory


def clip_loss(adapted: Adapted, batch: Sequence[Example], weights: Weights = USUAL) -> Terms:
    """Mean loss of clips: the prompted frame and all others alike."""
    parts = [
        _clip(adapted.engine, on_grid(adapted.features(example), example), example, weights)
        for example in batch
    ]
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


def order(frames: int, at: int) -> list[tuple[int, int]]:
    """(frame, the frame it is tracked from) of a clip prompted at `at`: on to the end, then back to
    the start.
    """
    return [(k, k - 1) for k in range(at + 1, frames)] + [(k, k + 1) for k in range(at - 1, -1, -1)]


def _clip(
    engine: Engine, features: Sequence[Features], example: Example, weights: Weights
) -> Terms:
    truth = torch.from_numpy(example.truth).to(engine.device)
    hints = [hint_of(prompts) for prompts in example.prompts]
    first = engine.decode(features[example.at], hints, multimask=False)
    losses, here = _judged(engine, first, truth[:, example.at], features[example.at], weights)
    answers = {example.at: _plain(best_of(first))}
    memories = {
        example.at: engine.remember(
            features[example.at], answers[example.at], prompted=[True] * len(hints)
        )
    }
    dice = [here]
    for frame, before in order(len(features), example.at):
        banks = [
            _bank(engine, k, frame, example.at, memories, len(features), forward=before < frame)
            for k in range(len(hints))
        ]
        seen = engine.attend(features[frame], banks)
        last = [answers[before].logits[k, 0].detach() for k in range(len(hints))]
        asked = [
            replace(NO_HINT, last=one) if engine.uses_previous_logits else NO_HINT for one in last
        ]
        many = engine.multimask(0, tracking=True)
        found = engine.decode(features[frame], asked, multimask=many, conditioned=seen)
        loss, score = _judged(engine, found, truth[:, frame], features[frame], weights)
        losses += loss
        dice.append(score)
        answers[frame] = _plain(best_of(found))
        memories[frame] = engine.remember(
            features[frame], answers[frame], prompted=[False] * len(hints)
        )
    return {"loss": torch.stack(losses).mean(), "dice": torch.stack(dice).mean()}


def _bank(
    engine: Engine,
    k: int,
    frame: int,
    at: int,
    memories: dict[int, list[Memory]],
    length: int,
    *,
    forward: bool,
) -> Bank:
    """What one object's tracking attends to: the prompted frame, and the latest of those tracked on
    the same side.
    """
    if forward:
        step = 1
    else:
        step = -1
    maps = [(0, memories[at][k])]
    pointers = [((frame - at) * step, memories[at][k])]
    for distance in range(1, length):
        past = frame - distance * step
        if past == at or past not in memories or (past - at) * step < 0:
            continue
        if distance < engine.memory_frames:
            maps.append((distance, memories[past][k]))
        if len(pointers) < engine.pointer_limit:
            pointers.append((distance, memories[past][k]))
    return Bank(maps, pointers, min(length, engine.pointer_limit))


def _plain(answer: Decoded) -> Decoded:
    """An answer whose scores, which memory keeps as bare numbers, carry no gradient."""
    score = None
    if answer.object_score is not None:
        score = answer.object_score.detach()
    return replace(answer, iou=answer.iou.detach(), object_score=score)


def _judged(
    engine: Engine, decoded: Decoded, truth: Tensor, features: Features, weights: Weights
) -> tuple[list[Tensor], Tensor]:
    """Losses of the objects, and the mean Dice of the masks answered with."""
    loss, found, _ = answer_loss(engine, decoded, truth, features.size_hw, weights)
    both = (found & truth).flatten(1).sum(1).float()
    sizes = (found.flatten(1).sum(1) + truth.flatten(1).sum(1)).float()
    return list(loss), torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0).mean()
