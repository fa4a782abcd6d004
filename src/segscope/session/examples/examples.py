"""Examples: the accepted objects of one or several labels, from which answers learn."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError, UsageError
from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import EncodedFrames
from segscope.inference.learning.example import Example, Source
from segscope.inference.learning.head import KnownSums, SessionHead, fit_head
from segscope.inference.learning.observation import engine_key, make_example, suits_grid
from segscope.masks import LabelMap, Masks, decode_runs, encode_runs
from segscope.models.engine import Engine
from segscope.models.segmenter import refuse_segmenter
from segscope.prompts import MaskPrompt, check_prompts
from segscope.render import Renderer
from segscope.session.examples.acceptance import Acceptance, hash_mask
from segscope.session.examples.choice import choose_diverse
from segscope.session.examples.example_file import read_examples, write_examples
from segscope.session.examples.source_masks import LEAST_PIXELS, SourceMask, list_objects
from segscope.session.examples.store import ExampleStore
from segscope.session.identity import stack_identity
from segscope.stack import Stack
from segscope.wire import JsonObject

HEADS = 8  # that stay in memory


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """What the examples of a label say.

    Attributes:
        label: name, or "".
        count: examples.
        plain: mean Dice of the network's own masks on them, for their boxes.
        learned: mean Dice of the learned answers, each with its patient (or image) left out; None
            where nothing can be left out yet.
    """

    label: str
    count: int
    plain: float
    learned: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What stays in memory of an example."""

    id: str
    label: str
    is_empty: bool
    means: NDArray[np.float32]


class Examples:
    """Accepted objects from which later answers learn.

    They belong to one engine: another network's features mean something else. Several sessions may
    share them, from several threads.

    Args:
        engine: whose features are learned from.
        folder: where examples are stored; None for a folder that `close` removes.

    Example:
        >>> with Examples(engine) as examples:                            # doctest: +SKIP
        ...     for stack, mask in accepted:
        ...         examples.add(stack, mask, label="nucleus")
        ...     masks = ss.segment(new, engine, [box], examples=examples)
    """

    def __init__(self, engine: Engine, folder: Path | str | None = None) -> None:
        """Begin without examples.

        Raises:
            UsageError: a network that takes no prompts.
        """
        refuse_segmenter(engine)
        self.engine = engine
        self.store = ExampleStore(None if folder is None else Path(folder))
        self._entries: dict[Acceptance, Entry] = {}
        self._heads: OrderedDict[tuple[str, ...], SessionHead] = OrderedDict()
        self._sums: dict[str, KnownSums] = {}
        self._lock = threading.RLock()
        self._fitting = threading.Lock()

    def __enter__(self) -> Examples:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder of examples, if it was made for them."""
        self.store.close()

    def check_engine(self, engine: Engine) -> None:
        """Raise UsageError for an engine with other features."""
        if engine_key(engine) != engine_key(self.engine):
            raise UsageError(
                f"these examples are features of {self.engine.card.name}, and say nothing to "
                f"{engine.card.name} with its weights; make them again from their images and masks"
            )

    # --- what there is ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels with examples, in the order of their first example."""
        with self._lock:
            return tuple(dict.fromkeys(entry.label for entry in self._entries.values()))

    def count(self, label: str) -> int:
        """How many examples a label has."""
        with self._lock:
            return sum(entry.label == label for entry in self._entries.values())

    def find_label(self, name: str) -> str | None:
        """The label whose examples an object of this name learns from: its own, or the only one for
        an object without a name; None for no label.
        """
        labels = self.labels
        if name in labels:
            return name
        if not name and len(labels) == 1:
            return labels[0]
        return None

    def choose(
        self, label: str, counts: Callable[[Acceptance], bool] = lambda _: True
    ) -> tuple[str, ...]:
        """Ids of the examples that a head of a label learns from now; none where all of them show
        only what the label is not.

        Args:
            counts: whether an acceptance by a session still holds.
        """
        with self._lock:
            entries = [
                entry
                for acceptance, entry in self._entries.items()
                if entry.label == label and (not acceptance.object_id or counts(acceptance))
            ]
        if all(entry.is_empty for entry in entries):
            return ()
        chosen = choose_diverse([entry.means for entry in entries])
        return tuple(entries[position].id for position in chosen)

    def find_acceptances(self, ids: Iterable[str]) -> dict[str, Acceptance]:
        """The accepted mask of each example; without those that were forgotten."""
        chosen = set(ids)
        with self._lock:
            entries = self._entries.items()
            return {each.id: acceptance for acceptance, each in entries if each.id in chosen}

    def head(self, ids: Sequence[str]) -> SessionHead:
        """The head of examples.

        Raises:
            MissingExample: one of them is not in the store.
        """
        key = tuple(ids)
        with self._lock:
            if key in self._heads:
                self._heads.move_to_end(key)
                return self._heads[key]
        head = self._fit(key)
        with self._lock:
            self._heads[key] = head
            while len(self._heads) > HEADS:
                self._heads.popitem(last=False)
        return head

    def _fit(self, ids: Sequence[str]) -> SessionHead:
        """Fit the head of examples, while other threads use other heads."""
        with self._fitting:
            examples = list(map(self.store.get, ids))
            known = self._sums.setdefault(examples[0].source.label, KnownSums())
            return fit_head(examples, known)

    def summarise(self) -> list[LabelSummary]:
        """What the examples of each label say that has accepted masks."""
        chosen = {label: self.choose(label) for label in self.labels}
        return [self._summarise(label, ids) for label, ids in chosen.items() if ids]

    def _summarise(self, label: str, ids: Sequence[str]) -> LabelSummary:
        head = self.head(ids)
        return LabelSummary(label, self.count(label), head.plain_score(), head.left_out_score())

    # --- changes ---------------------------------------------------------------------------------

    def add(
        self,
        stack: Stack,
        mask: NDArray[np.bool_],
        *,
        label: str = "",
        frame: int = 0,
        group: str = "",
        window: str | JsonObject | None = None,
    ) -> None:
        """Learn from the mask of an object on an image, or on one frame of a volume or video.

        Args:
            stack: with the frame that the mask lies on.
            mask: (row, column) bool, not empty.
            label: of the object.
            frame: number of the frame.
            group: opaque id of the patient or case; default: the stack.
            window: intensities displayed, see `segscope.render.Renderer`.

        Raises:
            PromptError: the mask is empty, too thin, or of another size than the frame.
        """
        prompt = MaskPrompt(mask, frame=frame)
        if not prompt.mask.any():
            raise PromptError("an example is the mask of an object; this one is empty")
        check_prompts([prompt], stack.shape_zyx)
        if not suits_grid(prompt.mask):
            raise PromptError(
                "this mask is too thin in its box to learn from; examples are compact objects"
            )
        labelled = SourceMask(label, frame, encode_runs(prompt.mask))
        self.add_source_masks(stack, [labelled], group=group, window=window)

    def add_masks(
        self,
        stack: Stack,
        masks: Masks | LabelMap,
        *,
        label: str | None = None,
        group: str = "",
        window: str | JsonObject | None = None,
    ) -> int:
        """Learn from all objects of a segmentation, on a few frames of a volume or a video.

        Args:
            stack: the image.
            masks: of its objects, as `segscope.segment` and `segscope.read_masks` give them, or a
                label array (frame, row, column) or (row, column), 0 = background.
            label: of all objects; default: the name of each.
            group: opaque id of the patient or case; default: the stack.
            window: intensities displayed, see `segscope.render.Renderer`.

        Returns:
            how many examples were made; objects of fewer than 16 pixels and thin ones make none.

        Raises:
            PromptError: the masks are empty or of another size than the stack.
        """
        if not isinstance(masks, Masks):
            masks = Masks.from_labels(masks)
        if masks.shape_zyx != stack.shape_zyx:
            raise PromptError(
                f"masks {masks.shape_zyx} (frame, row, column) do not fit a stack "
                f"{stack.shape_zyx}; an example needs the image that its mask was made on"
            )
        labels = dict(masks.names)
        if label is not None:
            labels = dict.fromkeys(labels, label)
        listed = [mask for mask in list_objects(masks, labels) if mask.pixels >= LEAST_PIXELS]
        if not listed:
            raise PromptError(
                f"examples are masks of objects; these have none of at least {LEAST_PIXELS} pixels"
            )
        return len(self.add_source_masks(stack, listed, group=group, window=window))

    def add_source_masks(
        self,
        stack: Stack,
        masks: Iterable[SourceMask],
        *,
        group: str = "",
        window: str | JsonObject | None = None,
    ) -> list[SourceMask]:
        """Learn from masks on the frames of a stack, all but those too thin in their boxes.

        Returns:
            those that were learned from.
        """
        image = stack_identity(stack)["sha256"]
        features = EncodedFrames(self.engine, Renderer(stack, window), video=len(stack) > 1)
        learned = []
        for mask in masks:
            digest = hash_mask(mask.runs)
            acceptance = Acceptance(image, mask.frame, 0, mask.label, digest, mask.rejected)
            frame = PromptedFrame(self.engine, stack.size_hw, partial(features.get, mask.frame))
            self.accept(frame, decode_runs(mask.runs, stack.size_hw), acceptance, group=group)
            if acceptance in self:
                learned.append(mask)
        return learned

    def accept(
        self,
        frame: PromptedFrame,
        mask: NDArray[np.bool_],
        acceptance: Acceptance,
        *,
        group: str = "",
    ) -> None:
        """Learn from an accepted mask (row, column) of a frame, unless it is an example already or
        too thin for one.
        """
        if acceptance in self or not suits_grid(mask):
            return
        group = group or acceptance.image
        source = Source(acceptance.label, acceptance.image, group, acceptance.frame)
        self._insert(acceptance, make_example(frame, mask, source, rejected=acceptance.rejected))

    def restrict(self, image: str, acceptances: Iterable[Acceptance]) -> None:
        """Forget the examples of an image whose acceptance by a session no longer holds."""
        valid = set(acceptances)
        with self._lock:
            accepted = [each for each in self._entries if each.image == image and each.object_id]
            for acceptance in set(accepted) - valid:
                del self._entries[acceptance]

    def __contains__(self, acceptance: Acceptance) -> bool:
        with self._lock:
            return acceptance in self._entries

    def _insert(self, acceptance: Acceptance, example: Example) -> None:
        example_id = self.store.put(example)
        entry = Entry(example_id, example.source.label, example.is_empty, example.means)
        with self._lock:
            self._entries[acceptance] = entry

    # --- files -----------------------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write all examples to an `.examples` file, for `Examples.load` and `--like`.

        Raises:
            UsageError: there are none, or the folder of the file does not exist.
            WriteError: the file system refuses.
        """
        with self._lock:
            ids = [entry.id for entry in self._entries.values()]
        if not ids:
            raise UsageError("there are no examples to save: accept some masks first")
        write_examples(Path(path), list(map(self.store.get, ids)))

    def load(self, path: Path | str) -> None:
        """Add the examples of an `.examples` file.

        Raises:
            ReadError: it is missing, damaged, or something else.
            UsageError: its examples are of another engine.
        """
        for example in read_examples(Path(path)):
            self.insert(example)

    def insert(self, example: Example) -> None:
        """Add an example that was made before.

        Raises:
            UsageError: it is of another engine.
        """
        if example.engine != engine_key(self.engine):
            raise UsageError(
                f"these examples were made with other weights than {self.engine.card.name} has "
                "here; make them again from their images and masks"
            )
        source = example.source
        acceptance = Acceptance(source.image, source.frame, 0, source.label, example.id)
        self._insert(acceptance, example)
