"""Journal: the prompt log as a file, one JSON object a line, that survives a crash at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError, WriteError
from segscope.files import atomic
from segscope.models.engine import Engine
from segscope.models.identity import engine_identity
from segscope.prompts import Prompt
from segscope.stack import Stack
from segscope.wire import prompt_from_json, prompt_to_json

VERSION = 1
Command = dict[str, Any]


def stack_identity(stack: Stack) -> dict[str, Any]:
    """What tells a stack from another: shape, type and a hash of its first, middle and last frame."""
    digest = hashlib.sha256()
    for index in sorted({0, len(stack) // 2, len(stack) - 1}):
        digest.update(np.ascontiguousarray(stack[index]).tobytes())
    return {
        "shape": list(stack.source.shape),
        "dtype": str(np.dtype(stack.source.dtype)),
        "axis": stack.axis,
        "sha256": digest.hexdigest()[:16],
    }


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a log.

    Attributes:
        command: what was asked for.
        kept: what it led to, as the log says (`kept.py`); None where the log does not.
        maker: identity of the engine that did it.
        era: how often the engine had changed before.
        foreign: whether another engine than the present one did it.
    """

    command: Command
    kept: Command | None
    maker: Command
    era: int = 0
    foreign: bool = False


def check_stack(header: Command, stack: Stack, path: Path) -> None:
    """Refuse to replay a log on another stack.

    Raises:
        UsageError: what differs.
    """
    here = stack_identity(stack)
    if header.get("stack") != here:
        raise UsageError(
            f"{path} was made on another image: it says {header.get('stack')}, this one is {here}"
        )


def differs(maker: Command, engine: Engine) -> str:
    """How the engine that made something differs from this one, or ""."""
    here = engine_identity(engine)
    for key in ("model", "weights", "input_size"):
        if maker.get(key) != here[key]:
            return f"made with {key} {maker.get(key)!r}; this engine has {here[key]!r}"
    return ""


def prompts_command(prompts: tuple[Prompt, ...]) -> Command:
    return {
        "do": "add",
        "prompts": [{**prompt_to_json(prompt), "object": prompt.object_id} for prompt in prompts],
    }


def command_prompts(command: Command) -> tuple[Prompt, ...]:
    return tuple(prompt_from_json(item, item["object"]) for item in command["prompts"])


class Journal:
    """An append-only log file. Each line is on disk before `append` returns."""

    def __init__(self, path: Path, header: Command) -> None:
        """Start a new log.

        Raises:
            UsageError: the file exists already, or its folder does not.
        """
        if path.exists():
            raise UsageError(
                f"{path} exists; continue it with Interaction.resume, or choose another name"
            )
        with atomic(path) as part:
            part.write_text(
                json.dumps({"segscope_log": VERSION, **header}) + "\n", encoding="utf-8"
            )
        self.path = path

    @classmethod
    def continued(cls, path: Path, good_bytes: int) -> Journal:
        """Go on with a log whose first `good_bytes` are whole lines; a torn end is cut off."""
        os.truncate(path, good_bytes)
        journal = cls.__new__(cls)
        journal.path = path
        return journal

    def append(self, command: Command) -> None:
        """Add one line and wait until it is on disk.

        Raises:
            WriteError: the file system refuses.
        """
        whole: int | None = None
        try:
            with self.path.open("ab") as file:
                whole = file.tell()
                file.write(json.dumps(command).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if whole is not None:
                with contextlib.suppress(OSError):
                    os.truncate(
                        self.path, whole
                    )  # a torn line in the middle would make the log unreadable
            raise WriteError(
                f"cannot write the log {self.path}: {error.strerror or error}"
            ) from error


def read_journal(path: Path) -> tuple[Command, list[Command], int]:
    """Header, commands, and the length in bytes of the whole lines.

    A last line without its end was being written when the program died; it is left out.

    Raises:
        ReadError: not a log, or damaged before its last line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot read the log {path}: {error.strerror or error}") from error
    good = data.rfind(b"\n") + 1
    lines: list[Command] = []
    for number, line in enumerate(data[:good].splitlines(), start=1):
        try:
            item = json.loads(line)
        except ValueError as error:
            raise ReadError(f"{path} is damaged at line {number}: {error}") from error
        if not isinstance(item, dict):
            raise ReadError(f"{path} is damaged at line {number}: not an object")
        lines.append(item)
    if not lines or lines[0].get("segscope_log") != VERSION:
        raise ReadError(f"{path} is not a segscope log of version {VERSION}")
    return lines[0], lines[1:], good


def steps(header: Command, lines: Sequence[Command]) -> tuple[list[Step], list[Step], Command, int]:
    """Steps that count after all undos and redos, those that could be redone (latest undone last),
    engine and era.
    """
    done: list[Step] = []
    undone: list[Step] = []
    maker = header.get("engine", {})
    era = 0
    for line in lines:
        maker = line.get("engine", maker)
        era = era + ("engine" in line)
        if line.get("do") == "undo" and done:
            undone.append(done.pop())
        elif line.get("do") == "redo" and undone:
            done.append(undone.pop())
        elif line.get("do") not in ("undo", "redo"):
            command = {key: value for key, value in line.items() if key not in ("kept", "engine")}
            done.append(Step(command, line.get("kept"), maker or {}, era))
            undone.clear()
    return done, undone, maker, era
