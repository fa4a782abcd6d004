"""KnowSAM: two small students learn from few labelled and many unlabelled images, taught by an
adapted base.

"Learnable Prompting SAM-induced Knowledge Distillation for Semi-supervised Medical Image
Segmentation" (arXiv 2412.13742). Students of different make learn from each other; their fusion
says where they are sure and prompts the teacher, whose softened answers they learn as well; late in
training certain cells of labelled and unlabelled images change places. The result is students and
fusion only: it needs neither prompts nor the base.

Chosen otherwise than the public code: losses hold for any number of classes and for each image by
itself, both students learn from each other, the fused logits come plain, adapters begin as nothing,
AdamW trains all (the code has SGD for students), and since runs are far shorter than 50,000
iterations, the teacher's weight and that of sureness rise first (`warm`). `distil` and the other
weights at 0 leave a part out; `KnowSam.supervised()` leaves out all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example, reduced_rgb
from segscope.adapt.data.training_set import Gathered
from segscope.adapt.method import Adapted, Method, Terms
from segscope.adapt.methods.knowsam.losses import (
    certain_cells,
    consistency,
    distil,
    doubt,
    mix,
    ramp,
    supervised,
)
from segscope.adapt.methods.knowsam.students import SHRINK, STUDENTS, Students, check_side, entropy
from segscope.adapt.methods.knowsam.teacher import Teacher, modules, put
from segscope.adapt.networks.no_base import MissingBase
from segscope.adapt.networks.parameter_groups import network
from segscope.adapt.networks.sam_inputs import resize
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.validation.frames import validate as usual
from segscope.errors import UsageError
from segscope.metrics.overlap import dice
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card

ROOT = "students."
RAMP = 50_000
"""Iterations over which the published weight of consistency rises; here they stand for the whole
run.
"""

LOOKS = 16
"""Frames at which teacher and students are judged one by one."""


@dataclass(frozen=True)
class KnowSam(Method):
    """Train two students and their fusion, and the teacher with them.

    Attributes:
        side: of the students' square input, a multiple of 16.
        students: two names of `STUDENTS`.
        width: of the students' finest layers.
        without_truth: unlabelled images of a batch. As many as labelled ones are meant: half of
            the weight is theirs.
        distil: weight of the teacher's answers; 0 for no teacher.
        pseudo: weight of the teacher's classes, taken as the truth of images that have none.
            Softened answers of all pixels alike teach small things slowly, and only each student,
            not their fusion; the paper has pseudo-labels in mixed images alone.
        temperature: that they are softened by.
        confidence: whether pixels of which the teacher is unsure teach less (the paper weights all
            alike).
        entropy: weight of being sure.
        consistency: weight of the students' agreement at the end; it rises over the run.
        warm: share of the run over which the weights of teacher and sureness rise; as long as
            teacher and students know nothing, both teach that all is background.
        mix_from: share of the run after which cells change places; 1 for never.
        holes: whether boxes are blacked out in what the students see.
        encoder_ratio: inner width of the adapters in the encoder as a share; 0 for none, so that
            features are kept.
        prompt_width: of the layers that predict prompts; that of the embedding, 256, is published.
        teacher_side: of the teacher's input, for SAM, whose tables are resized then; 0 for the
            base's own.
        teacher_every: the teacher learns in every so many-th step only.
        teacher_rate: learning rate of the teacher as a share of the students'.
        published_head: fused logits pass norm and activation, as in the public code.
        resample: "smooth", or "nearest" as published.
    """

    name: ClassVar[str] = "knowsam"
    about: ClassVar[str] = "two small students, taught by an adapted base; no prompts"
    when: ClassVar[str] = (
        "Few labelled patients and many unlabelled ones; the result is small and runs alone."
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
                f"students are two of {', '.join(STUDENTS)}, got {', '.join(self.students)}"
            )
        if (
            min(
                self.without_truth,
                self.distil,
                self.pseudo,
                self.entropy,
                self.consistency,
                self.encoder_ratio,
            )
            < 0
        ):
            raise UsageError("numbers of images, weights and ratios are 0 or more")
        if not 0 <= self.warm <= 1:
            raise UsageError(f"warm is a share of the run, 0 to 1, got {self.warm:g}")
        if min(self.width, self.prompt_width, self.teacher_every) < 1:
            raise UsageError("widths and teacher_every are 1 or more")
        if min(self.temperature, self.teacher_rate) <= 0:
            raise UsageError("the temperature and the teacher's rate are above 0")
        if self.resample not in ("smooth", "nearest"):
            raise UsageError(f"resample is smooth or nearest, got {self.resample!r}")

    @classmethod
    def default_for(cls, card: Card) -> KnowSam:
        if card.family == "mini":
            # who adapts `mini` has no GPU: students cost an eighth, the teacher's features are
            # kept, and steps are few.
            # So the teacher learns fast and its classes stand for truth, mixing, which takes as
            # long again, stays out,
            # and being sure counts little; at the published temperature steps would go into the
            # size of logits
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
        return cls(side=max(2 * SHRINK, min(256, card.input_size) // SHRINK * SHRINK))

    @classmethod
    def supervised(cls, **changes: Any) -> KnowSam:
        """The same students, from labelled images alone: what the rest has to beat."""
        nothing: dict[str, Any] = dict.fromkeys(("distil", "pseudo", "entropy", "consistency"), 0.0)
        return cls(**{**changes, **nothing, "without_truth": 0, "mix_from": 1.0})

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        return TrainingSettings(
            steps=min(4000, max(800, 12 * frames)), rate=1e-3, decay=1e-4, batch=4, average=0.98
        )

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
            raise UsageError(
                "a network without prompts needs the names of the classes that it shall tell apart"
            )
        root = network(engine)
        students = self._students(classes)
        teaching = self.distil > 0 and not isinstance(engine, MissingBase)
        if teaching:
            if self.teacher_side:
                self._resize(engine)
            made = self._modules(engine, classes)
            put(engine, made)
        else:
            made = {}
        root.add_module(ROOT[:-1], students.to(engine.device).eval())
        parts = [(ROOT[:-1], students), *made.items()]
        trained = {
            f"{path}.{name}": item for path, part in parts for name, item in part.named_parameters()
        }
        statistics = {
            f"{path}.{name}": item for path, part in parts for name, item in part.named_buffers()
        }
        return Adapted(
            self,
            engine,
            root,
            trained,
            statistics,
            rates={"": self.teacher_rate, ROOT: 1.0},
            train_mode=tuple(part for _, part in parts),
            result=Student(engine, students, self, tuple(classes)),
        )

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        with torch.device("meta"):
            parts = [
                self._students(classes),
                *(self._modules(engine, classes).values() if self.distil else ()),
            ]
        return sum(item.numel() for part in parts for item in part.parameters())

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        """Features of frames squashed to the teacher's square."""
        side = adapted.engine.input_size
        frames = (
            (reduced_rgb(example.rgb, side) * 255)
            .round()
            .to(torch.uint8)
            .permute(0, 2, 3, 1)
            .numpy()
        )
        return [adapted.engine.encode(np.ascontiguousarray(frame)) for frame in frames]

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        student = _student(adapted)
        images = torch.cat([student.pixels(example.rgb[example.at]) for example in batch])
        classes = torch.stack([self._classes(example) for example in batch]).to(images.device)
        seen = torch.stack(
            [self._holes(image, each) for image, each in zip(images, batch, strict=True)]
        )
        known = [k for k, example in enumerate(batch) if example.labelled]
        rest = [k for k, example in enumerate(batch) if not example.labelled]
        share = (2.0 if self.unlabelled else 1.0) / len(batch)  # half of a batch has a truth
        answers = student.students(seen)
        teacher, taught = self._taught(adapted, batch, answers[2], classes, known)
        parts = {"students": self._semi(adapted, answers, teacher)}
        parts["supervised"] = share * _told(answers, known, classes[known]).sum()
        if self.pseudo and teacher is not None:
            guessed = _told(answers, rest, teacher[rest].argmax(1))
            parts["pseudo"] = self.pseudo * self._trust(adapted) * share * guessed.sum()
        if taught is not None:
            parts["teacher"] = share * taught.sum()
        pairs = min(len(known), len(rest))
        if pairs and self.mix_from < 1 and adapted.progress >= self.mix_from:
            if teacher is not None:
                sure = teacher
            else:
                sure = answers[2]
            pseudo = torch.where(_at(known, len(batch), classes), classes, sure.detach().argmax(1))
            mixed = self._mixed(adapted, images, pseudo, answers[2], known[:pairs], rest[:pairs])
            parts["mixed"] = mixed.sum() / len(batch)
        loss = torch.stack(list(parts.values())).sum()
        return {"loss": loss, **{name: item.detach() for name, item in parts.items()}}

    def validate(self, adapted: Adapted, cases: Gathered) -> dict[str, float]:
        return usual(adapted, cases) | quality(adapted, cases)

    # --- parts of the loss -----------------------------------------------------------------------

    def _semi(
        self, adapted: Adapted, answers: tuple[Tensor, Tensor, Tensor], teacher: Tensor | None
    ) -> Tensor:
        """What needs no truth, of both students: teacher, sureness, agreement."""
        one, other, _ = answers
        found = one.new_zeros(len(one), dtype=torch.float32)
        trust = self._trust(adapted)
        sure = trust * self.entropy
        weight = self.consistency * ramp(adapted.progress * RAMP, RAMP)
        for own, their in ((one, other), (other, one)):
            if teacher is not None:
                taught = distil(own, teacher, self.temperature, confidence=self.confidence)
                found = found + 0.5 * trust * self.distil * taught
            found = found + 0.5 * (sure * doubt(own) + weight * consistency(own, their))
        return found.mean()

    def _trust(self, adapted: Adapted) -> float:
        """0 to 1, how far the run is into its warm-up."""
        if self.warm:
            return min(1.0, adapted.progress / self.warm)
        return 1.0

    def _taught(
        self,
        adapted: Adapted,
        batch: Sequence[Example],
        fused: Tensor,
        classes: Tensor,
        known: list[int],
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
                losses = supervised(logits[known], classes[known])
        return logits.detach(), losses

    def _mixed(
        self,
        adapted: Adapted,
        images: Tensor,
        classes: Tensor,
        fused: Tensor,
        known: list[int],
        rest: list[int],
    ) -> Tensor:
        """Losses of pairs whose certain cells have changed places."""
        inside = certain_cells(entropy(fused.detach().float().softmax(1)))
        halves = [
            mix(inside[here], images[here], classes[here], images[there], classes[there])
            for here, there in ((known, rest), (rest, known))
        ]
        shown, truth = (torch.cat(items) for items in zip(*halves, strict=True))
        answers = _student(adapted).students(shown)
        one, other, m = answers
        weight = self.consistency * ramp(adapted.progress * RAMP, RAMP)
        sure = self._trust(adapted) * self.entropy
        losses = _told(answers, slice(None), truth)
        guess = m.detach().argmax(1)
        half = slice(len(known), None)
        late = torch.zeros_like(losses)
        for own, their in ((one, other), (other, one)):
            losses = losses + 0.5 * (sure * doubt(own) + weight * consistency(own, their))
            late[half] = late[half] + 0.5 * weight * supervised(own[half], guess[half])
        return losses + late

    def _classes(self, example: Example) -> Tensor:
        """(side, side) numbers of classes; background where there is no truth."""
        numbers = torch.from_numpy(example.classes[example.at]) * int(example.labelled)
        return F.interpolate(
            numbers[None, None].float(), (self.side, self.side), mode="nearest-exact"
        )[0, 0].long()

    def _holes(self, image: Tensor, example: Example) -> Tensor:
        """A image (channel, side, side) with boxes blacked out, more of them where there is no
        truth.
        """
        chance, least, most = (0.5, 5, 8) if example.labelled else (0.7, 10, 20)
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

    def _students(self, classes: Sequence[str]) -> Students:
        kinds = (self.students[0], self.students[1])
        return Students(len(classes) + 1, kinds, self.width, published_head=self.published_head)

    def _modules(self, engine: Engine, classes: Sequence[str]) -> dict[str, nn.Module]:
        return modules(engine, len(classes) + 1, self.encoder_ratio, self.prompt_width)

    def _resize(self, engine: Any) -> None:
        if engine.card.family != "sam":
            raise UsageError(
                "teacher_side is for SAM; load a base of another family with the side that it shall have"
            )
        resize(engine, self.teacher_side)


class Student:
    """Students and fusion as a `segscope.models.segmenter.Segmenter`."""

    def __init__(
        self, engine: Engine, students: Students, method: KnowSam, classes: tuple[str, ...]
    ) -> None:
        self.students = students
        self.method = method
        self.classes = classes
        self.card = replace(engine.card, prompts=(), memory=False, zoom=False)
        self.device = engine.device
        self.dtype = torch.float32
        self.input_size = method.side
        self.weights_hash = engine.weights_hash

    def pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(1, 3, side, side) float32, 0 to 1."""
        side = self.input_size
        if self.method.resample == "smooth":
            return reduced_rgb(rgb[None], side).to(self.device)
        values = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 255
        return F.interpolate(values, (side, side), mode="nearest-exact").to(self.device)

    @torch.no_grad()
    def predict(self, rgb: NDArray[np.uint8]) -> Tensor:
        fused = self.students(self.pixels(rgb))[2].float()
        return F.interpolate(fused, rgb.shape[:2], mode="bilinear", align_corners=False)[0]

    def settings(self) -> dict[str, Any]:
        return {
            "family": "students",
            "input_size": self.input_size,
            "classes": list(self.classes),
            "dtype": "float32",
            "device": self.device.type,
            "torch": torch.__version__,
        }


@torch.no_grad()
def quality(adapted: Adapted, cases: Gathered, most: int = LOOKS) -> dict[str, float]:
    """Dice of teacher and students one by one, over the classes of evenly spaced frames: are
    pseudo-labels any good?
    """
    student = _student(adapted)
    scores: dict[str, list[float]] = {"u": [], "v": []}
    for k in (
        np.linspace(0, len(cases.items) - 1, min(most, len(cases.items)))
        .round()
        .astype(int)
        .tolist()
    ):
        item = cases.items[k]
        scan = cases.scans[item.case]
        rgb = scan.rgb[item.frame]
        size = scan.planes.shape[-2:]
        truth = cases.class_map(scan.planes[:, item.frame : item.frame + 1], scan.names)[0]
        one, other, fused = student.students(student.pixels(rgb))
        found = {"u": one, "v": other}
        if hasattr(adapted.root, "knowsam_prompts"):
            side = adapted.engine.input_size
            square = (
                (reduced_rgb(rgb[None], side)[0] * 255)
                .round()
                .to(torch.uint8)
                .permute(1, 2, 0)
                .numpy()
            )
            found["teacher"] = Teacher(adapted.engine)([adapted.engine.encode(square)], fused)
        for name, logits in found.items():
            named = (
                F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[0]
                .argmax(0)
                .cpu()
                .numpy()
            )
            each = [dice(named == c, truth == c) for c in range(1, logits.shape[1])]
            scores.setdefault(name, []).extend(score for score in each if not np.isnan(score))
    return {f"dice {name}": float(np.mean(found)) for name, found in scores.items() if found}


def _told(
    answers: tuple[Tensor, Tensor, Tensor], places: list[int] | slice, classes: Tensor
) -> Tensor:
    """(B,) losses of images at some places of a batch: both students', each half, and their
    fusion's.
    """
    one, other, fused = (supervised(logits[places], classes) for logits in answers)
    return 0.5 * (one + other) + fused


def _at(places: list[int], count: int, like: Tensor) -> Tensor:
    """(count, 1, 1) bool, true at places."""
    found = torch.zeros(count, 1, 1, dtype=torch.bool, device=like.device)
    found[places] = True
    return found


def _student(adapted: Adapted) -> Student:
    assert isinstance(adapted.result, Student)
    return adapted.result
