"""Method: one way of adapting a network to a data set. This module is the contract; each method is
one file, or one folder, in `methods/`.

A method is a frozen dataclass. Its fields are its settings (plain values: numbers, strings, tuples
of them), its class attributes describe it, and these functions define what it does:

    attach(engine, classes) -> Adapted       adds modules to the engine's network IN PLACE and
                                             selects what is trained
    parameters(engine, classes) -> int       how many parameters `attach` will train, computed from
                                             widths and counts alone
    loss(adapted, batch) -> Terms            the differentiable loss of a list of examples
    validate(adapted, cases) -> Scores       Dice of each patient of the validation cases

`segscope.adapt.prompted_method.PromptedMethod` implements the last two for methods whose result is
prompted; everything else has defaults. The contract with the trainer:

  * `engine` is freshly loaded in float32, in evaluation mode, and requires no gradients. `attach`
    runs with its own random seed, so new tensors may be drawn with torch's generator. The same call
    rebuilds a saved adaptation, into which the saved tensors are then loaded, so what `attach`
    builds may depend only on settings, engine and classes.
  * Parameters are named by their path from `adapted.root` (the engine's network unless the method
    chooses another module). Exactly `adapted.trained` requires gradients, is optimised, averaged
    and saved; everything else stays bit-identical. Buffers that training changes (statistics of
    batch norms) are listed in `adapted.statistics` and are saved as well.
  * Modules stay in evaluation mode, so dropout is off and batch norms keep their statistics; only
    those in `adapted.train_mode` are switched to training mode, and only during steps.
  * `loss` receives `Example`s (see `segscope.adapt.data.sampler`): an image or a clip as the
    network will see it, the truth, drawn prompts, and a random generator of its own. It
    returns the MEAN over the examples, so that any split of a batch over accumulation and processes
    gives the same gradient. torch's own generator is seeded at every step. Keep no state between
    steps, or keep it in `adapted.memo` (tensors and plain values), which is saved and restored.
  * `adapted.features(example)` encodes the frames of an example. Where `frozen_encoder` is true,
    features are computed without gradients, cached and reused between steps; it may be true only if
    no trained tensor takes part in `engine.encode`. (In SAM 2 `mask_decoder.conv_s0` and `conv_s1`
    do.)
  * With `identity` the adapted network gives exactly the logits of its base before the first step.
  * Prompt-free methods set `promptable = False`; `attach` puts a
    `segscope.models.segmenter.Segmenter` into `Adapted.result`, examples hold whole frames with
    class maps, and validation is the mean Dice of the classes of a patient.

To add a method: write its file and add its class to `METHODS` in `segscope/adapt/__init__.py`;
`tests/adapt/test_method.py` then runs it with every family that it names.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example
from segscope.adapt.data.training_set import Split
from segscope.adapt.training.feature_cache import FeatureCache
from segscope.adapt.training.settings import BOXES, TrainingSettings
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card
from segscope.models.segmenter import Segmenter

Dims = Literal["2d", "3d", "video"]
Terms = dict[str, Tensor]
"""Terms of a loss by name. "loss" is the total, whose gradient is taken; the others are plotted
only.
"""


def mean_terms(parts: Sequence[Terms]) -> Terms:
    """The mean of each term over examples."""
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


@dataclass(eq=False)
class Adapted:
    """A network with a method attached.

    Attributes:
        method: the attached method.
        engine: the base engine, changed in place.
        root: module from which parameters are named; `engine.model` unless the method has its own.
        trained: parameters that are optimised and saved, by path from `root`.
        statistics: buffers that training changes, by path from `root`; saved, not optimised.
        rates: factors of the learning rate by name prefix; the longest matching prefix applies,
            1 without one.
        train_mode: modules that are in training mode during steps.
        result: what `segscope.load` returns: an engine, or a Segmenter.
        memo: state that a method carries from step to step.
        store: cached features of a frozen encoder; None computes them every time.
        prompts: (weight, plan) pairs of the run, whose first prompts are validated; the trainer
            sets them.
        progress: completed share of the run, 0 to below 1; the trainer sets it before each step.
            1 outside of steps, so that a probe measures what a late step costs.
    """

    method: Method
    engine: Engine
    root: nn.Module
    trained: dict[str, nn.Parameter]
    statistics: dict[str, Tensor] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    train_mode: tuple[nn.Module, ...] = ()
    result: Engine | Segmenter | None = None
    memo: dict[str, Any] = field(default_factory=dict)
    store: FeatureCache | None = None
    prompts: tuple[tuple[float, str], ...] = BOXES
    progress: float = 1.0

    def features(self, example: Example) -> list[Features]:
        """Features of each frame of an example; without gradients where the encoder is frozen."""
        if not self.method.frozen_encoder:
            return self.method.encode(self, example)
        if self.store is None or example.key is None:
            return self._encode_frozen(example)
        return self.store.get_or_add(example.key, lambda: self._encode_frozen(example))

    @property
    def frozen_store(self) -> FeatureCache | None:
        """The store, where the encoder does not change and features stay valid between steps."""
        if self.method.frozen_encoder:
            return self.store
        return None

    def _encode_frozen(self, example: Example) -> list[Features]:
        # packed layers, which run where there are no gradients, do not accept autocast values on
        # a CPU
        precision: AbstractContextManager[Any] = nullcontext()
        if self.engine.device.type == "cpu":
            precision = torch.autocast("cpu", enabled=False)
        with torch.no_grad(), precision:
            return self.method.encode(self, example)

    @property
    def model(self) -> Engine | Segmenter:
        """What the adaptation is used as."""
        if self.result is None:
            return self.engine
        return self.result

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a saved adaptation."""
        return {**self.trained, **self.statistics}

    def copy_tensors(self) -> dict[str, Tensor]:
        """Detached copies of `tensors`."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors().items()}

    @torch.no_grad()
    def fill(self, values: Mapping[str, Tensor]) -> None:
        """Copy values into every trained tensor and statistic, by name, in place."""
        for name, tensor in self.tensors().items():
            tensor.copy_(values[name])

    def rate(self, name: str) -> float:
        """Factor of the learning rate of a parameter."""
        matching = list(filter(name.startswith, self.rates))
        if not matching:
            return 1.0
        return self.rates[max(matching, key=len)]


@dataclass(frozen=True)
class Method(ABC):
    """Base of all methods; see the head of this module.

    Attributes:
        name: what users type.
        about: what it trains, in a few words.
        when: when to choose it, one sentence.
        paper: arXiv id or DOI; empty where it is common practice.
        dims: what it learns from: images and single slices ("2d"), slices with neighbours ("3d"),
            clips ("video").
        families: which bases it can adapt.
        promptable: whether the result answers prompts.
        identity: whether it starts exactly as its base.
        standalone: whether the result works without the base. It is then loaded by `attach` on a
            `segscope.adapt.networks.no_base.MissingBase`, which must build exactly what `deployed`
            keeps.
        frames: frames of one example.
        unlabelled: examples without truth in a batch, in addition to those with truth.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    when: ClassVar[str]
    paper: ClassVar[str] = ""
    dims: ClassVar[tuple[Dims, ...]] = ("2d",)
    families: ClassVar[tuple[str, ...]] = ("sam", "sam2", "edgetam", "mini")
    promptable: ClassVar[bool] = True
    identity: ClassVar[bool] = True
    standalone: ClassVar[bool] = False

    # --- what a method must define ---------------------------------------------------------------

    @abstractmethod
    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        """Add the method's modules to an engine's network and make the right parameters trainable.

        Args:
            engine: freshly loaded; changed in place.
            classes: names of the data set's classes, in order; prompt-free methods have an output
                for each.
        """

    @abstractmethod
    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        """How many parameters `attach` will train on a fresh engine."""

    @abstractmethod
    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        """Mean loss of some examples."""

    @abstractmethod
    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        """Scores of validation cases; the mean Dice of patients decides which weights are saved."""

    # --- what it may define ----------------------------------------------------------------------

    @classmethod
    def default_for(cls, card: Card) -> Method:
        """Default settings for a base."""
        return cls()

    def with_settings(self, changes: Mapping[str, object]) -> Method:
        """A copy with other settings, by name; methods with presets expand them."""
        return dataclasses.replace(self, **changes)

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        """Training settings (rate, batch, steps ...) for a base and a number of training frames."""
        return TrainingSettings(steps=min(2000, max(200, 12 * frames)))

    @property
    def frozen_encoder(self) -> bool:
        """Whether no trained tensor takes part in `encode`."""
        return False

    @property
    def frames(self) -> int:
        return 1

    @property
    def unlabelled(self) -> int:
        return 0

    def encode(self, adapted: Adapted, example: Example) -> list[Features]:
        """Features of each frame of an example."""
        video = len(example.rgb) > 1
        return [adapted.engine.encode(frame, video=video) for frame in example.rgb]

    def merge(self, adapted: Adapted) -> Engine:
        """The engine as a plain network of its family, without the method's modules.

        Raises:
            UsageError: the method adds modules that no plain network has.
        """
        raise UsageError(
            f"{self.name} cannot be merged into its base: it adds modules that a plain "
            "network lacks"
        )

    def deployed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The trained tensors that a saved adaptation holds: all, except teachers and the like."""
        return tensors

    # --- as files --------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Method:
        """The method with settings from `as_dict`, also after a round trip through JSON.

        Raises:
            UsageError: settings that the method does not have.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(
                f"{cls.name} has no setting {', '.join(unknown)}; "
                f"its settings are {', '.join(sorted(known))}"
            )
        return cls(**{key: _as_tuple(value) for key, value in values.items()})


def _as_tuple(value: Any) -> Any:
    """A setting as the dataclass has it; JSON turns tuples into lists."""
    if isinstance(value, list):
        return tuple(value)
    return value
