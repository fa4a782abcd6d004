"""Index of a folder of examples: which acceptance each example stands for, in order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from segscope.errors import ReadError
from segscope.files import atomic
from segscope.session.examples.acceptance import Acceptance
from segscope.wire import JsonObject

NAME = "index.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class IndexedExample:
    """An example in the store.

    Attributes:
        id: of the example.
        is_empty: whether it shows only what its label is not.
    """

    id: str
    is_empty: bool


@dataclass
class ExampleIndex:
    """What a folder of examples holds.

    Attributes:
        examples: by acceptance, in the order in which they were accepted.
        forgotten: acceptances that are not to be learned from, although they hold.
        marks: by image, what its examples were made of: any JSON.
    """

    examples: dict[Acceptance, IndexedExample] = field(default_factory=dict)
    forgotten: set[Acceptance] = field(default_factory=set)
    marks: dict[str, JsonObject] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write it to a folder, completely or not at all.

        Raises:
            WriteError: the file system refuses.
        """
        examples = [
            {**asdict(acceptance), "id": example.id, "is_empty": example.is_empty}
            for acceptance, example in self.examples.items()
        ]
        document = {
            "version": VERSION,
            "examples": examples,
            "forgotten": [asdict(each) for each in sorted(self.forgotten, key=repr)],
            "marks": self.marks,
        }
        with atomic(folder / NAME) as part:
            part.write_text(json.dumps(document), encoding="utf-8")


def read_index(folder: Path) -> ExampleIndex:
    """The index of a folder; an empty one where there is none.

    Raises:
        ReadError: it is damaged, or of another version.
    """
    path = folder / NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise ReadError(f"{path} is of version {document['version']}, expected {VERSION}")
        examples = dict(map(_parse_example, document["examples"]))
        forgotten = {Acceptance(**item) for item in document["forgotten"]}
        return ExampleIndex(examples, forgotten, dict(document["marks"]))
    except FileNotFoundError:
        return ExampleIndex()
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError(f"{path} is damaged: {error}") from error


def _parse_example(item: Mapping[str, object]) -> tuple[Acceptance, IndexedExample]:
    values = dict(item)
    example = IndexedExample(str(values.pop("id")), bool(values.pop("is_empty")))
    return Acceptance(**values), example  # type: ignore[arg-type] # JSON has the types of `asdict`
