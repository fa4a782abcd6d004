"""Store of examples: one file an example, named by its id, in a folder that may be lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from segscope.errors import ReadError, SegscopeError
from segscope.inference.learning.example import Example
from segscope.session.examples.example_file import SUFFIX, read_examples, write_examples


class MissingExample(SegscopeError):
    """An example that a command names is not in the store."""


class ExampleStore:
    """Examples on disk, so that few of them take memory.

    Args:
        folder: where they are; None for one that is removed with the store.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if folder is None:
            self._scratch = tempfile.TemporaryDirectory(
                prefix="segscope-examples-", ignore_cleanup_errors=True
            )
            folder = Path(self._scratch.name)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def put(self, example: Example) -> str:
        """Store an example; its id."""
        path = self.path(example.id)
        if not path.exists():
            write_examples(path, [example])
        return example.id

    def get(self, example_id: str) -> Example:
        """The example of an id.

        Raises:
            MissingExample: it is not there, or damaged.
        """
        path = self.path(example_id)
        try:
            (example,) = read_examples(path)
        except (ReadError, ValueError) as error:
            raise MissingExample(
                f"example {example_id}, from which an answer was learned, is missing or damaged"
            ) from error
        if example.id != example_id:
            raise MissingExample(f"example {example_id} was changed after it was stored")
        return example

    def discard(self, example_id: str) -> None:
        """Remove the file of an example, so that it can be stored again."""
        self.path(example_id).unlink(missing_ok=True)

    def holds(self, example_id: str) -> bool:
        """Whether the file of an example is there."""
        return self.path(example_id).exists()

    def close(self) -> None:
        """Remove the folder, if it belongs to the store."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def path(self, example_id: str) -> Path:
        """The file of an example.

        Raises:
            MissingExample: this is no id.
        """
        if not example_id.isalnum():
            raise MissingExample(f"{example_id!r} is no id of an example")
        return self.folder / f"{example_id}{SUFFIX}"
