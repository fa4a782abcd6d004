"""StoredExamples: examples in a folder that outlives the program, for several sessions at once."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from segscope.errors import ReadError, UsageError
from segscope.inference.learning.example import Example
from segscope.inference.learning.head import SessionHead
from segscope.models.engine import Engine
from segscope.session.examples.acceptance import Acceptance
from segscope.session.examples.example_file import read_means, write_examples
from segscope.session.examples.example_index import ExampleIndex, IndexedExample, read_index
from segscope.session.examples.examples import Entry, Examples
from segscope.session.examples.store import MissingExample
from segscope.wire import JsonObject

log = logging.getLogger("segscope.session")

PREPARED = 4  # latest heads of each label that stay at hand, so that undo finds the one before


class StoredExamples(Examples):
    """Examples with an index beside them, whose heads are prepared in the background.

    An answer never fits a head: it gets the latest prepared one whose examples all count. What is
    lost of the folder is left out, and can be made again from images and masks.

    Args:
        engine: whose features are learned from.
        folder: of the examples and their index.

    Raises:
        WriteError: the folder cannot be written.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        super().__init__(engine, folder)
        self._prepared: dict[str, OrderedDict[tuple[str, ...], SessionHead]] = {}
        self._is_loading = False
        self._index = self._read_index()

    def _read_index(self) -> ExampleIndex:
        """The index without examples that are lost."""
        try:
            index = read_index(self.store.folder)
        except ReadError as error:
            log.warning("the index of examples is made again: %s", error)
            return ExampleIndex()
        lost = []
        for acceptance, example in index.examples.items():
            try:
                means = read_means(self.store.path(example.id))
            except ReadError:
                lost.append(acceptance)
                continue
            self._entries[acceptance] = Entry(example.id, acceptance.label, example.is_empty, means)
        for acceptance in lost:
            self.store.discard(index.examples.pop(acceptance).id)
            index.marks.pop(acceptance.image, None)
        return index

    # --- heads -----------------------------------------------------------------------------------

    def choose(
        self, label: str, counts: Callable[[Acceptance], bool] = lambda _: True
    ) -> tuple[str, ...]:
        """Ids of the examples of the latest prepared head of a label whose examples all count; none
        where no such head is prepared.
        """
        with self._lock:
            valid = {
                entry.id
                for acceptance, entry in self._entries.items()
                if entry.label == label and (not acceptance.object_id or counts(acceptance))
            }
            for ids in reversed(self._prepared.get(label, OrderedDict())):
                if valid.issuperset(ids):
                    return ids
        return ()

    def prepare(self, label: str) -> bool:
        """Fit the head of all present examples of a label; whether answers learn from another one
        now.

        Examples that are lost are left out, and their images lose their marks.
        """
        while True:
            ids = super().choose(label)
            if not ids:
                return False
            with self._lock:
                prepared = self._prepared.setdefault(label, OrderedDict())
                if ids in prepared:
                    is_new = next(reversed(prepared)) != ids
                    prepared.move_to_end(ids)
                    return is_new
            try:
                head = self._fit(ids)
            except MissingExample:
                self._drop([each for each in ids if not self._is_readable(each)])
                continue
            with self._lock:
                prepared[ids] = head
                while len(prepared) > PREPARED:
                    prepared.popitem(last=False)
            return True

    def _is_readable(self, example_id: str) -> bool:
        try:
            self.store.get(example_id)
        except MissingExample:
            return False
        return True

    def _drop(self, ids: Sequence[str]) -> None:
        """Leave out examples that are lost."""
        with self._lock:
            lost = [key for key, entry in self._entries.items() if entry.id in ids]
            for acceptance in lost:
                del self._entries[acceptance]
                self.store.discard(self._index.examples.pop(acceptance).id)
                self._index.marks.pop(acceptance.image, None)
        self._write()

    def head(self, ids: Sequence[str]) -> SessionHead:
        key = tuple(ids)
        with self._lock:
            for prepared in self._prepared.values():
                if key in prepared:
                    return prepared[key]
        return super().head(key)

    # --- changes ---------------------------------------------------------------------------------

    def __contains__(self, acceptance: Acceptance) -> bool:
        with self._lock:
            return acceptance in self._entries or acceptance in self._index.forgotten

    def restrict(self, image: str, acceptances: Iterable[Acceptance]) -> None:
        valid = set(acceptances)
        with self._lock:
            super().restrict(image, valid)
            gone = self._index.examples.keys() - self._entries.keys()
            for acceptance in gone:
                del self._index.examples[acceptance]
            renewed = {each for each in self._index.forgotten if each.image == image} - valid
            self._index.forgotten -= renewed
        if gone or renewed:
            self._write()

    def forget(self, label: str | None = None) -> None:
        """Forget the examples of a label, or all; they do not come back while their acceptances
        hold, unless `recall` is called.
        """
        with self._lock:
            gone = [key for key, entry in self._entries.items() if label in (None, entry.label)]
            for acceptance in gone:
                del self._entries[acceptance]
                del self._index.examples[acceptance]
            self._index.forgotten |= {each for each in gone if each.object_id}
        self._write()

    def recall(self) -> None:
        """Let forgotten acceptances count again, and all images be read again."""
        with self._lock:
            self._index.forgotten.clear()
            self._index.marks.clear()
        self._write()

    def _insert(self, acceptance: Acceptance, example: Example) -> None:
        super()._insert(acceptance, example)
        with self._lock:
            self._index.examples[acceptance] = IndexedExample(example.id, example.is_empty)
        self._write()

    # --- files -----------------------------------------------------------------------------------

    def load(self, path: Path | str) -> None:
        with self._lock:
            self._is_loading = True
            try:
                super().load(path)
            finally:
                self._is_loading = False
                self._write()

    def save_label(self, path: Path, label: str | None) -> None:
        """Write the examples of a label, or all, to an `.examples` file.

        Raises:
            UsageError: there are none.
            WriteError: the file system refuses.
        """
        with self._lock:
            entries = list(self._entries.values())
        ids = [entry.id for entry in entries if label in (None, entry.label)]
        if not ids:
            raise UsageError("there are no examples to save: accept some masks first")
        write_examples(path, list(map(self.store.get, ids)))

    # --- marks -----------------------------------------------------------------------------------

    def mark_of(self, image: str) -> JsonObject | None:
        """What the examples of an image were made of, as it was marked."""
        with self._lock:
            return self._index.marks.get(image)

    def mark(self, image: str, value: JsonObject) -> None:
        """Note what the examples of an image were made of."""
        with self._lock:
            self._index.marks.pop(image, None)
            self._index.marks[image] = value
        self._write()

    def remove_image(self, image: str) -> None:
        """Forget everything about an image."""
        self.restrict(image, ())
        with self._lock:
            mark = self._index.marks.pop(image, None)
        if mark is not None:
            self._write()

    def marks(self) -> dict[str, JsonObject]:
        """The marks by image, the latest last."""
        with self._lock:
            return dict(self._index.marks)

    def count_by_label(self) -> dict[str, tuple[int, int]]:
        """How many accepted and rejected examples each label has."""
        counts: dict[str, tuple[int, int]] = {}
        with self._lock:
            for entry in self._entries.values():
                accepted, rejected = counts.get(entry.label, (0, 0))
                counts[entry.label] = (
                    accepted + (not entry.is_empty),
                    rejected + entry.is_empty,
                )
        return counts

    def list_ids(self, label: str) -> tuple[str, ...]:
        """Ids of all examples of a label, in order."""
        with self._lock:
            return tuple(entry.id for entry in self._entries.values() if entry.label == label)

    def list_acceptances(self) -> list[Acceptance]:
        """What the present examples stand for, in order."""
        with self._lock:
            return list(self._entries)

    def _write(self) -> None:
        with self._lock:
            if not self._is_loading:
                self._index.write(self.store.folder)
