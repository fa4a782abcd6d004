"""Entries: what a line of the log can say, and what commands have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from segscope.masks import FrameMask
from segscope.prompts import Prompt
from segscope.session.state import SessionState
from segscope.wire import JsonObject


class LogEntry:
    """What a line of the log can say.

    Attributes:
        word: its name in the log.
    """

    word: ClassVar[str]

    def to_json(self) -> JsonObject:
        """The entry as the log has it."""
        return {"do": self.word}

    @classmethod
    def from_json(cls, _item: JsonObject) -> Self:
        """The entry of `to_json`."""
        return cls()


@dataclass(frozen=True)
class Undo(LogEntry):
    """Undo the latest command."""

    word = "undo"


@dataclass(frozen=True)
class Redo(LogEntry):
    """Redo the command that was undone last."""

    word = "redo"


@dataclass(frozen=True)
class SessionCommand(LogEntry, ABC):
    """An entry that changes the state of a session."""

    @property
    def places(self) -> frozenset[tuple[int, int]]:
        """(frame, object) of the masks that it replaces."""
        return frozenset()

    @property
    def object_ids(self) -> frozenset[int]:
        """Objects that it may change."""
        return frozenset(object_id for _, object_id in self.places)

    @property
    def frames(self) -> frozenset[int]:
        """Frames that it is about, so that a client is sent their masks first."""
        return frozenset(frame for frame, _ in self.places)

    @property
    def prompts_by_object(self) -> Mapping[int, Sequence[Prompt]]:
        """The prompts that it brings."""
        return {}

    def learn(self, _state: SessionState) -> Self:
        """The command with the examples that its answers learn from in this state."""
        return self

    def check(self, state: SessionState) -> None:
        """Refuse what cannot be done; nothing is changed then.

        Raises:
            PromptError, UsageError: what is wrong with it in this state.
        """

    @abstractmethod
    def apply(self, state: SessionState) -> FrameMask | None:
        """Do it, on objects that are not shared; the answer to its last prompt, if it has any."""

    def to_json(self) -> JsonObject:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"do": self.word, **values}

    @classmethod
    def from_json(cls, item: JsonObject) -> Self:
        return cls(**{part.name: item[part.name] for part in fields(cls)})


@dataclass(frozen=True)
class ObjectCommand(SessionCommand):
    """A command on one object."""

    object_id: int

    @property
    def object_ids(self) -> frozenset[int]:
        return frozenset({self.object_id})


def run(command: SessionCommand, state: SessionState) -> FrameMask | None:
    """Do a command, with its own copy of the objects that it changes."""
    state.unshare(command.object_ids)
    return command.apply(state)
