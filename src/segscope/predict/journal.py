"""Journal: the prompt log as a file, one JSON object a line, that survives a crash at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError, WriteError
from segscope.io.base import atomic
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
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


def engine_identity(engine: Engine | Segmenter) -> dict[str, Any]:
    """What tells one engine's answers from another's."""
    return {"model": engine.card.name, "weights": engine.weights_hash, **engine.settings()}


def check_header(header: Command, stack: Stack, engine: Engine, path: Path) -> None:
    """Refuse to replay a log on another stack or with other weights.

    Raises:
        UsageError: what differs.
    """
    here = stack_identity(stack)
    if header.get("stack") != here:
        raise UsageError(f"{path} was made on another image: it says {header.get('stack')}, this one is {here}")
    made_by = header.get("engine", {})
    for key in ("model", "weights", "input_size"):
        if made_by.get(key) != engine_identity(engine)[key]:
            raise UsageError(
                f"{path} was made with {key} {made_by.get(key)!r}; this engine has {engine_identity(engine)[key]!r}. "
                "Load the same model, or start a new log."
            )


def prompts_command(prompts: tuple[Prompt, ...]) -> Command:
    return {"do": "add", "prompts": [{**prompt_to_json(prompt), "object": prompt.object_id} for prompt in prompts]}


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
            raise UsageError(f"{path} exists; continue it with Interaction.resume, or choose another name")
        with atomic(path) as part:
            part.write_text(json.dumps({"segscope_log": VERSION, **header}) + "\n", encoding="utf-8")
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
                    os.truncate(self.path, whole)  # a torn line in the middle would make the log unreadable
            raise WriteError(f"cannot write the log {self.path}: {error.strerror or error}") from error


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


def effective(commands: list[Command]) -> tuple[list[Command], list[Command]]:
    """Commands that count after all undos and redos, and those that could be redone (latest undone last)."""
    done: list[Command] = []
    undone: list[Command] = []
    for command in commands:
        if command.get("do") == "undo" and done:
            undone.append(done.pop())
        elif command.get("do") == "redo" and undone:
            done.append(undone.pop())
        elif command.get("do") not in ("undo", "redo"):
            done.append(command)
            undone.clear()
    return done, undone
