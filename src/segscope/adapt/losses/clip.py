"""Clips to loss: objects prompted on one frame are tracked through the others, with gradients
through memory.

Follows the training of "SAM 2" (arXiv 2408.00714, section 4.2) in its simplest form: one prompted
frame, the others are tracked one by one from the memories of those before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.clip_memory import ClipMemory
from segscope.adapt.losses.interactive import USUAL, Weights, answer_loss
from segscope.adapt.method import Adapted, Terms, mean_terms
from segscope.inference.prompted_masks import decoder_prompt
from segscope.models.engine import Decoded, Engine, Features, stack_decoded


def clip_loss(adapted: Adapted, batch: Sequence[Example], weights: Weights = USUAL) -> Terms:
    """Mean loss of clips: the prompted frame and all others alike."""
    parts = [
        _one_clip(adapted.engine, on_grid(adapted.features(example), example), example, weights)
        for example in batch
    ]
    return mean_terms(parts)


def order(frames: int, at: int) -> list[tuple[int, int]]:
    """(frame, direction) of a clip prompted at `at`: on to the end, then back to the start."""
    onward = [(frame, 1) for frame in range(at + 1, frames)]
    back = [(frame, -1) for frame in range(at - 1, -1, -1)]
    return onward + back


def _one_clip(
    engine: Engine, features: Sequence[Features], example: Example, weights: Weights
) -> Terms:
    truth = torch.from_numpy(example.truth).to(engine.device)
    at = example.at
    memory = ClipMemory(engine, len(features))
    losses: list[Tensor] = []
    prompted: list[Tensor] = []
    answers = []
    for k, prompts in enumerate(example.prompts):
        prompt = decoder_prompt(prompts)
        # as users are answered, so that the masks they get are those that are trained
        several = engine.multimask(prompt.clicks, tracking=False) and prompt.previous is None
        decoded = engine.decode(features[at], [prompt], multimask=several)
        loss, dice = _judge(engine, decoded, truth[k : k + 1, at], features[at], weights)
        losses += loss
        prompted.append(dice)
        answers.append(decoded.best())
    scores = [torch.stack(prompted).mean()]
    memory.anchor(features[at], at, stack_decoded(answers))
    for frame, direction in order(len(features), at):
        decoded, _ = memory.track(features[frame], frame, direction)
        loss, dice = _judge(engine, decoded, truth[:, frame], features[frame], weights)
        losses += loss
        scores.append(dice)
        memory.store(features[frame], frame, decoded.best(), direction)
    return {"loss": torch.stack(losses).mean(), "dice": torch.stack(scores).mean()}


def _judge(
    engine: Engine,
    decoded: Decoded,
    truth: Tensor,
    features: Features,
    weights: Weights,
) -> tuple[list[Tensor], Tensor]:
    """Losses of the objects, and the mean Dice of the best masks."""
    loss, masks, _ = answer_loss(engine, decoded, truth, features.size_hw, weights)
    both = (masks & truth).flatten(1).sum(1).float()
    sizes = (masks.flatten(1).sum(1) + truth.flatten(1).sum(1)).float()
    dice = torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0)
    return list(loss), dice.mean()
