"""Method: one way of adapting a network to a data set. This page is the contract; each method is
one file beside it.

A method is a frozen dataclass: its fields are its settings (plain values: numbers, words, tuples of
them), its class attributes say what it is, and three functions say what it does:

    attach(engine, classes) -> Adapted   puts modules into the engine's network IN PLACE and says
    what trains loss(adapted, batch) -> Terms        the differentiable loss of a list of examples
    parameters(engine) -> int            how many numbers attach will train, from widths and counts
    alone

All the rest has defaults. What the trainer promises:

  * `engine` is freshly loaded in float32, in evaluation mode, and asks for no gradients. `attach`
    runs under a seed of its own, so new tensors may be drawn with torch's generator; the same call
    re-creates a saved adaptation, into which the saved tensors are then loaded, so what `attach`
    makes may depend on nothing but settings, engine and classes.
  * Parameters are named by their path from `adapted.root` (the engine's network unless the method
    says otherwise). Exactly `adapted.trained` asks for gradients, is optimised, averaged and saved;
    all else stays bit by bit as it was. Buffers that training changes (statistics of batch norms)
    stand in `adapted.statistics` and are saved as well.
  * Modules stay in evaluation mode, so dropout is off and batch norms keep their statistics; those
    in `adapted.noisy` are switched to training mode for steps only.
  * `loss` gets `Example`s (see `segscope.adapt.data.sampler`): a image or a clip as the network
    shall see it, truth, drawn prompts, and a generator of its own for all further chance. It
    returns the MEAN over the examples, so that any split of a batch over accumulation and processes
    gives the same gradient. torch's own generator is seeded at every step. Keep no state between
    steps, or keep it in `adapted.memo` (tensors and plain values), which is saved and restored.
  * `adapted.features(example)` encodes the frames of an example. Where `frozen_encoder` is true
    they are computed without gradients, and kept and reused between steps; it may be true only if
    no trained tensor takes part in `engine.encode`. (In SAM 2 `mask_decoder.conv_s0` and `conv_s1`
    do.)
  * With `identity` the adapted network gives the base's logits exactly before the first step.
  * Prompt-free methods set `promptable = False`; `attach` puts a
    `segscope.models.segmenter.Segmenter` into `Adapted.result`, examples hold whole frames with
    class maps, and validation is the mean Dice of the classes.

To add a method: write its file, add its class to `METHODS` in `segscope/adapt/__init__.py`, and
`tests/adapt/test_methods.py` runs it with every family that it names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card
from segscope.models.segmenter import Segmenter

if TYPE_CHECKING:
    from segscope.adapt.data.sampler import Example
    from segscope.adapt.data.training_set import Gathered
    from segscope.adapt.training.feature_cache import FeatureStore
    from segscope.adapt.training.settings import Settings

Dims = Literal["2d", "3d", "video"]
Terms = dict[str, Tensor]
"""Parts of a loss by name; "loss" is the whole, whose gradient is taken, the others are for the
curves.
"""


@dataclass(eq=False)
class Adapted:
    """A network with a method attached.

    Attributes:
        method: what was attached.
        engine: the base engine, changed in place.
        root: module from which parameters are named; `engine.model` unless the method made its own.
        trained: what is optimised and saved, by path from `root`.
        statistics: buffers that training changes, by path from `root`; saved, not optimised.
        rates: factors of the learning rate by the beginning of a name; the longest that fits
            counts, 1 without one.
        noisy: modules in training mode during steps.
        result: what `segscope.load` gives: an engine, or a Segmenter.
        memo: state that a method carries from step to step.
        store: kept features of frozen encoders; None computes them anew each time.
        prompts: (weight, plan) pairs of the run, whose first prompts are validated; the trainer
            sets them.
        progress: share of the run that is done, 0 to below 1; the trainer sets it before each step.
            1 outside of steps, so that a probe measures what a late step costs.
    """

    method: Method
    engine: Engine
    root: nn.Module
    trained: dict[str, nn.Parameter]
    statistics: dict[str, Tensor] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    noisy: tuple[nn.Module, ...] = ()
    result: Engine | Segmenter | None = None
    memo: dict[str, Any] = field(default_factory=dict)
    store: FeatureStore | None = None
    prompts: tuple[tuple[float, str], ...] = ((1.0, "box.jitter:share=0.1"),)
    progress: float = 1.0

    def features(self, example: Example) -> list[Features]:
        """Features of each frame of an example; without gradients where the encoder is frozen."""
        if not self.method.frozen_encoder:
            return self.method.encode(self, example)
        found = None if self.store is None or example.key is None else self.store.get(example.key)
        if found is None:
            # packed layers, which run where there are no gradients, take no autocast numbers on a
            # CPU
            exact = (
                torch.autocast("cpu", enabled=False)
                if self.engine.device.type == "cpu"
                else nullcontext()
            )
            with torch.no_grad(), exact:
                found = self.method.encode(self, example)
            if self.store is not None and example.key is not None:
                self.store.put(example.key, found)
        return found

    @property
    def model(self) -> Engine | Segmenter:
        """What the adaptation is used as."""
        if self.result is None:
            return self.engine
        return self.result

    def tensors(self) -> dict[str, Tensor]:
        """What a saved adaptation holds."""
        return {**self.trained, **self.statistics}

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Take values for every trained tensor and statistic, by name, in place."""
        for name, held in self.tensors().items():
            held.copy_(tensors[name])

    def rate(self, name: str) -> float:
        """Factor of the learning rate of a parameter."""
        fitting = [prefix for prefix in self.rates if name.startswith(prefix)]
        if fitting:
            return self.rates[max(fitting, key=len)]
        return 1.0


@dataclass(frozen=True)
class Method:
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
        identity: whether it begins as its base, exactly.
        standalone: whether the result works without the base. It is then loaded by `attach` on a
            `segscope.adapt.networks.no_base.Absent`, which must make exactly what `deployed` keeps.
        frames: frames of one example.
        unlabelled: examples without truth in a batch, beside those with.
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

    # --- what a method must say ------------------------------------------------------------------

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        """Put the method's modules into an engine's network and let the right parameters train.

        Args:
            engine: fresh; changed in place.
            classes: names of the data set's classes, in order; prompt-free methods make an output
                for each.
        """
        raise NotImplementedError

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        """How many numbers `attach` will train on a fresh engine."""
        raise NotImplementedError

    # --- what it may say -------------------------------------------------------------------------

    @classmethod
    def suited(cls, card: Card) -> Method:
        """Settings that suit a base."""
        return cls()

    def settings(self, card: Card, frames: int) -> Settings:
        """How to train it: rate, batch, steps ... for a base and a number of training frames."""
        from segscope.adapt.training.settings import Settings

        return Settings(steps=min(2000, max(200, 12 * frames)))

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

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        """Loss of some examples: by default what prompts and corrections on single frames give."""
        from segscope.adapt.losses.interactive import prompted_loss

        return prompted_loss(adapted, batch)

    def validate(self, adapted: Adapted, cases: Gathered) -> dict[str, float]:
        """Figures on validation cases; "dice" decides which weights are kept."""
        from segscope.adapt.validation.frames import validate

        return validate(adapted, cases)

    def merge(self, adapted: Adapted) -> Engine:
        """The engine as a plain network of its family, without the method's modules.

        Raises:
            UsageError: the method adds what no plain network holds.
        """
        raise UsageError(
            f"{self.name} cannot be merged into its base: it adds modules that a plain network lacks"
        )

    def deployed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Those of the trained tensors that a saved adaptation holds: all, but for teachers and the
        like.
        """
        return tensors

    # --- as files --------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Settings as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Method:
        """The method of settings as `as_dict` gives them, or as JSON gives those back.

        Raises:
            UsageError: settings that the method does not have.
        """
        known = {item.name for item in dataclasses.fields(cls)}
        strange = sorted(set(values) - known)
        if strange:
            raise UsageError(
                f"{cls.name} has no setting {', '.join(strange)}; it has {', '.join(sorted(known))}"
            )
        return cls(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.items()
            }
        )


def release(
    root: nn.Module, prefixes: Iterable[str], but: Iterable[str] = ()
) -> dict[str, nn.Parameter]:
    """Let parameters ask for gradients.

    Args:
        root: from which they are named.
        prefixes: beginnings of their names.
        but: beginnings of names that stay frozen all the same.

    Returns:
        The parameters by name.
    """
    chosen = tuple(prefixes)
    left = tuple(but)
    found = {
        name: item
        for name, item in root.named_parameters()
        if name.startswith(chosen) and not name.startswith(left)
    }
    for item in found.values():
        item.requires_grad_(True)
    return found


def count(root: nn.Module, prefixes: Iterable[str], but: Iterable[str] = ()) -> int:
    """Numbers in the parameters that `release` would let train."""
    chosen = tuple(prefixes)
    left = tuple(but)
    return sum(
        item.numel()
        for name, item in root.named_parameters()
        if name.startswith(chosen) and not name.startswith(left)
    )


def network(engine: Engine) -> Any:
    """The network inside an engine."""
    return engine.model  # type: ignore[attr-defined]
