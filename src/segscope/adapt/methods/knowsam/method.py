"""KnowSAM: two small students learn from few labelled and many unlabelled images, taught by an
adapted base.

"Learnable Prompting SAM-induced Knowledge Distillation for Semi-supervised Medical Image
Segmentation" (arXiv 2412.13742). Students of different architecture learn from each other; their
fusion shows where they are certain and prompts the teacher, whose softened probabilities they learn
as well; late in training certain cells of labelled and unlabelled images are swapped. The result
consists of students and fusion only: it needs neither prompts nor the base.

Differences from the public code: losses hold for any number of classes and for each image by
itself, both students learn from each other, the fused logits are used directly, adapters start at
zero, and AdamW trains everything (the code uses SGD for students). Since runs are far shorter than
50,000 iterations, the weights of teacher and entropy rise first (`warm`). `distil` and the other
weights at 0 switch a part off; `KnowSam.supervised()` switches off all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example
from segscope.adapt.data.training_set import Split
from segscope.adapt.method import Adapted, Method, Terms
from segscope.adapt.methods.knowsam.losses import (
    certain_cells,
    consistency,
    distil,
    mean_entropy,
    ramp_up,
    supervised,
    swap_cells,
)
from segscope.adapt.methods.knowsam.segmenter import (
    StudentSegmenter,
    judge_parts,
    segmenter_of,
    squash_bytes,
)
from segscope.adapt.methods.knowsam.students import SHRINK, STUDENTS, Students, check_side, entropy
from segscope.adapt.methods.knowsam.teacher import Teacher, insert_modules, make_modules
from segscope.adapt.networks.no_base import MissingBase
from segscope.adapt.networks.parameter_groups import network
from segscope.adapt.networks.sam_inputs import resize
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.validation.frames import validate
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card

ROOT = "students."
RAMP = 50_000
"""Iterations over which the published weight of consistency rises; here they stand for the whole
run.
"""

LABELLED_HOLES = (0.5, 5, 8)
UNLABELLED_HOLES = (0.7, 10, 20)
"""Chance that boxes of an image are blacked out, and how many at least and at most."""

Answers = tuple[Tensor, Tensor, Tensor]
"""Logits of both students, and fused ones."""


@dataclass(frozen=True)
class KnowSam(Method):
    """Train two students and their fusion, and the teacher with them.

    Attributes:
        side: of the students' square input, a multiple of 16.
        students: two names of `STUDENTS`.
        width: of the students' finest layers.
        without_truth: unlabelled images in a batch. The weights assume as many as labelled ones:
            half of the total weight is theirs.
        distil: weight of the teacher's probabilities; 0 for no teacher.
        pseudo: weight of the teacher's classes as the truth of images that have none. Softened
            probabilities, equally weighted over all pixels, teach small objects slowly, and teach
            the students but not their fusion; the paper uses pseudo-labels in swapped images only.
        temperature: by which probabilities are softened.
        confidence: whether pixels of which the teacher is uncertain count less (the paper weights
            all equally).
        entropy: weight of the entropy loss.
        consistency: final weight of the students' agreement; it rises over the run.
        warm: share of the run over which the weights of teacher and entropy rise; as long as
            teacher and students know nothing, both teach that everything is background.
        mix_from: share of the run after which cells are swapped; 1 for never.
        holes: whether boxes are blacked out in the students' input.
        encoder_ratio: inner width of the adapters in the encoder as a share; 0 for none, so that
            features are cached.
        prompt_width: of the layers that predict prompts; the published one is that of the
            embedding, 256.
        teacher_side: of the teacher's input, for SAM, whose tables are resized; 0 for the base's
            own.
        teacher_every: the teacher learns in every n-th step only.
        teacher_rate: learning rate of the teacher as a share of the students'.
        published_head: fused logits pass norm and activation, as in the public code.
        resample: "smooth", or "nearest" as published.
    """

    name: ClassVar[str] = "knowsam"
    about: ClassVar[str] = "two small students, taught by an adapted base; no prompts"
    when: ClassVar[str] = (
        "Few labelled patients and many unlabelled ones; the result is small and runs alone. On "
        "mini the defaults are not the paper's: pseudo-labels, no mixing, a frozen encoder."
    )
    paper: ClassVar[str] = "arXiv:2412.13742"
    promptable: ClassVar[bool] = False
    identity: ClassVar[bool] = False
    standalone: ClassVar[bool] = True

    side: int = 256
    students: tuple[str, ...] = ("unet", "vnet")
    width: int = 16
    without_truth: int = 4
    distil: float = 1.0
    pseudo: float = 0.0
    temperature: float = 10.0
    confidence: bool = True
    entropy: float = 0.9
    consistency: float = 1.0
    warm: float = 0.4
    mix_from: float = 0.24
    holes: bool = True
    encoder_ratio: float = 0.25
    prompt_width: int = 64
    teacher_side: int = 0
    teacher_every: int = 1
    teacher_rate: float = 0.1
    published_head: bool = False
    resample: str = "smooth"

    def __post_init__(self) -> None:
        check_side(self.side)
        if len(self.students) != 2 or set(self.students) - set(STUDENTS):
            raise UsageError(
                f"students must be two of {', '.join(STUDENTS)}, got {', '.join(self.students)}"
            )
        weights = (self.distil, self.pseudo, self.entropy, self.consistency)
        if min(self.without_truth, self.encoder_ratio, *weights) < 0:
            raise UsageError("numbers of images, weights and ratios must be 0 or more")
        if not 0 <= self.warm <= 1:
            raise UsageError(f"warm is a share of the run, 0 to 1, got {self.warm:g}")
        if min(self.width, self.prompt_width, self.teacher_every) < 1:
            raise UsageError("width, prompt_width and teacher_every must be 1 or more")
        if min(self.temperature, self.teacher_rate) <= 0:
            raise UsageError("temperature and teacher_rate must be above 0")
        if self.resample not in ("smooth", "nearest"):
            raise UsageError(f"resample is smooth or nearest, got {self.resample!r}")

    @classmethod
    def default_for(cls, card: Card) -> KnowSam:
        if card.family != "mini":
            side = min(256, card.input_size) // SHRINK * SHRINK
            return cls(side=max(2 * SHRINK, side))
        # Whoever adapts `mini` has no GPU: the students are small, the teacher's features are
        # cached, and steps are few. So the teacher learns fast and its classes replace truth.
        # Swapping, which doubles the time of a step, is off, and entropy counts little; at the
        # published temperature steps would only scale the logits.
        return cls(
            side=128,
            width=8,
            pseudo=1.0,
            temperature=2.0,
            entropy=0.1,
            consistency=0.1,
            warm=0.2,
            mix_from=1.0,
            encoder_ratio=0.0,
            teacher_rate=1.0,
        )

    @classmethod
    def supervised(cls, **changes: Any) -> KnowSam:
        """The same students, trained on labelled images alone: the baseline for everything else."""
        nothing: dict[str, Any] = dict.fromkeys(("distil", "pseudo", "entropy", "consistency"), 0.0)
        return cls(**{**changes, **nothing, "without_truth": 0, "mix_from": 1.0})

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        steps = min(4000, max(800, 12 * frames))
        return TrainingSettings(steps=steps, rate=1e-3, decay=1e-4, batch=4, average=0.98)

    @property
    def frozen_encoder(self) -> bool:
        return self.encoder_ratio == 0 or not self.distil

    @property
    def unlabelled(self) -> int:
        return self.without_truth

    def deployed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: item for name, item in tensors.items() if name.startswith(ROOT)}

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        if not classes:
            raise UsageError("a prompt-free network needs the names of the classes to distinguish")
        root = network(engine)
        students = self.make_students(classes)
        added: dict[str, nn.Module] = {}
        if self.distil > 0 and not isinstance(engine, MissingBase):
            if self.teacher_side:
                self._resize(engine)
            added = self._make_modules(engine, classes)
            insert_modules(engine, added)
        root.add_module(ROOT[:-1], students.to(engine.device).eval())
        parts = {ROOT[:-1]: students, **added}
        trained: dict[str, nn.Parameter] = {}
        statistics: dict[str, Tensor] = {}
        for path, part in parts.items():
            trained |= {f"{path}.{name}": item for name, item in part.named_parameters()}
            statistics |= {f"{path}.{name}": item for name, item in part.named_buffers()}
        smooth = self.resample == "smooth"
        return Adapted(
            self,
            engine,
            root,
            trained,
            statistics,
            rates={"": self.teacher_rate, ROOT: 1.0},
            train_mode=tuple(parts.values()),
            result=StudentSegmenter(
                engine, students, tuple(classes), side=self.side, smooth=smooth
            ),
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        with torch.device("meta"):
            parts: list[nn.Module] = [self.make_students(classes)]
            if self.distil:
                parts += self._make_modules(engine, classes).values()
        every = chain.from_iterable(part.parameters() for part in parts)
        return sum(map(Tensor.numel, every))

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        """Features of frames squashed to the teacher's square."""
        frames = squash_bytes(example.rgb, adapted.engine.input_size)
        return list(map(adapted.engine.encode, frames))

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        segmenter = segmenter_of(adapted)
        images = torch.cat([segmenter.pixels(example.rgb[example.at]) for example in batch])
        classes = torch.stack(list(map(self.class_map, batch))).to(images.device)
        inputs = torch.stack(
            [self._black_out(image, each) for image, each in zip(images, batch, strict=True)]
        )
        labelled = [k for k, example in enumerate(batch) if example.labelled]
        rest = [k for k, example in enumerate(batch) if not example.labelled]
        share = self._labelled_share / len(batch)
        answers = segmenter.students(inputs)
        teacher, taught = self.teach(adapted, batch, answers[2], classes, labelled)
        parts = {"students": self._unsupervised(adapted, answers, teacher)}
        parts["supervised"] = share * _supervise(answers, labelled, classes[labelled]).sum()
        if self.pseudo and teacher is not None:
            guessed = _supervise(answers, rest, teacher[rest].argmax(1))
            parts["pseudo"] = self.pseudo * self._warm_up(adapted) * share * guessed.sum()
        if taught is not None:
            parts["teacher"] = share * taught.sum()
        pairs = min(len(labelled), len(rest))
        if pairs and self.mix_from < 1 and adapted.progress >= self.mix_from:
            source = answers[2] if teacher is None else teacher
            pseudo = source.detach().argmax(1)
            pseudo[labelled] = classes[labelled]
            swapped = (labelled[:pairs], rest[:pairs])
            mixed = self._swap(adapted, images, pseudo, answers[2], swapped)
            parts["mixed"] = mixed.sum() / len(batch)
        loss = torch.stack(list(parts.values())).sum()
        return {"loss": loss, **{name: item.detach() for name, item in parts.items()}}

    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        scores = validate(adapted, cases)
        return replace(scores, figures={**scores.figures, **judge_parts(adapted, cases)})

    # --- parts of the loss -----------------------------------------------------------------------

    @property
    def _labelled_share(self) -> float:
        """Weight of a labelled image; with unlabelled ones, half of a batch has a truth."""
        if self.unlabelled:
            return 2.0
        return 1.0

    def _unsupervised(self, adapted: Adapted, answers: Answers, teacher: Tensor | None) -> Tensor:
        """The loss of both students that needs no truth: teacher, entropy, agreement."""
        one, other, _ = answers
        total = one.new_zeros(len(one), dtype=torch.float32)
        trust = self._warm_up(adapted)
        for own, their in ((one, other), (other, one)):
            if teacher is not None:
                taught = distil(own, teacher, self.temperature, confidence=self.confidence)
                total = total + 0.5 * trust * self.distil * taught
            total = total + 0.5 * self._agree(adapted, own, their)
        return total.mean()

    def _agree(self, adapted: Adapted, own: Tensor, their: Tensor) -> Tensor:
        """Losses of one student's entropy and of its agreement with the other."""
        certain = self._warm_up(adapted) * self.entropy
        agreement = self.consistency * ramp_up(adapted.progress * RAMP, RAMP)
        return certain * mean_entropy(own) + agreement * consistency(own, their)

    def _warm_up(self, adapted: Adapted) -> float:
        """0 to 1, how far the run is into its warm-up."""
        if self.warm:
            return min(1.0, adapted.progress / self.warm)
        return 1.0

    def teach(
        self,
        adapted: Adapted,
        batch: Sequence[Example],
        fused: Tensor,
        classes: Tensor,
        labelled: list[int],
    ) -> tuple[Tensor | None, Tensor | None]:
        """The teacher's logits, and its losses on labelled images in steps in which it learns."""
        if not self.distil:
            return None, None
        learns = True
        if self.teacher_every > 1:
            count = int(adapted.memo.get("calls", 0))
            adapted.memo["calls"] = count + 1
            learns = count % self.teacher_every == 0
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            features = [adapted.features(example)[example.at] for example in batch]
            logits = Teacher(adapted.engine)(features, fused)
            losses = None
            if learns:
                losses = supervised(logits[labelled], classes[labelled])
        return logits.detach(), losses

    def _swap(
        self,
        adapted: Adapted,
        images: Tensor,
        classes: Tensor,
        fused: Tensor,
        pairs: tuple[list[int], list[int]],
    ) -> Tensor:
        """Losses of pairs of labelled and unlabelled images whose certain cells are swapped."""
        labelled, rest = pairs
        inside = certain_cells(entropy(fused.detach().float().softmax(1)))
        halves = [
            swap_cells(inside[here], images[here], classes[here], images[there], classes[there])
            for here, there in ((labelled, rest), (rest, labelled))
        ]
        inputs, truth = map(torch.cat, zip(*halves, strict=True))
        answers = segmenter_of(adapted).students(inputs)
        one, other, mixed = answers
        weight = self.consistency * ramp_up(adapted.progress * RAMP, RAMP)
        losses = _supervise(answers, slice(None), truth)
        guess = mixed.detach().argmax(1)
        half = slice(len(labelled), None)
        late = torch.zeros_like(losses)
        for own, their in ((one, other), (other, one)):
            losses = losses + 0.5 * self._agree(adapted, own, their)
            late[half] = late[half] + 0.5 * weight * supervised(own[half], guess[half])
        return losses + late

    def class_map(self, example: Example) -> Tensor:
        """(side, side) class numbers; background where there is no truth."""
        numbers = torch.from_numpy(example.classes[example.at]) * int(example.labelled)
        size = (self.side, self.side)
        resized = F.interpolate(numbers[None, None].float(), size, mode="nearest-exact")
        return resized[0, 0].long()

    def _black_out(self, image: Tensor, example: Example) -> Tensor:
        """An image (channel, side, side) with blacked-out boxes, more of them where there is no
        truth.
        """
        chance, least, most = UNLABELLED_HOLES
        if example.labelled:
            chance, least, most = LABELLED_HOLES
        if not self.holes or example.rng.random() >= chance:
            return image
        image = image.clone()
        longest = max(2, self.side // 16)
        for _ in range(int(example.rng.integers(least, most + 1))):
            high, wide = example.rng.integers(1, longest + 1, 2).tolist()
            y = int(example.rng.integers(self.side - high))
            x = int(example.rng.integers(self.side - wide))
            image[:, y : y + high, x : x + wide] = 0
        return image

    def make_students(self, classes: Sequence[str]) -> Students:
        """The students and their fusion, not trained."""
        kinds = (self.students[0], self.students[1])
        return Students(len(classes) + 1, kinds, self.width, published_head=self.published_head)

    def _make_modules(self, engine: Engine, classes: Sequence[str]) -> dict[str, nn.Module]:
        return make_modules(engine, len(classes) + 1, self.encoder_ratio, self.prompt_width)

    def _resize(self, engine: Any) -> None:
        if engine.card.family != "sam":
            raise UsageError(
                "teacher_side is for SAM; load a base of another family at the side that it needs"
            )
        resize(engine, self.teacher_side)


def _supervise(answers: Answers, places: list[int] | slice, classes: Tensor) -> Tensor:
    """(B,) losses of some images of a batch: half of each student's, and their fusion's."""
    one, other, fused = (supervised(logits[places], classes) for logits in answers)
    return 0.5 * (one + other) + fused
