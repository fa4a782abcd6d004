"""What the lines of a log add up to: the commands that count, and the record of the masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segscope.predict.state import ObjectState
from segscope.prompts import Prompt
from segscope.session.command_log import CommandLog
from segscope.session.commands import Add, Propagate, Redo, Replace, SessionCommand, Undo
from segscope.session.examples.session_examples import ExampleIds
from segscope.session.log_lines import LogHeader, LogLine
from segscope.session.mask_delta import MaskDelta
from segscope.session.suggestions import Suggest
from segscope.wire import JsonObject, prompts_to_json


@dataclass(frozen=True, slots=True)
class LoggedCommand:
    """A command of a log.

    Attributes:
        command: what was done.
        delta: what it changed; None where the log does not say.
        engine: identity of the engine that did it.
        time, annotator: when, and who.
        era: how often the engine had changed before.
        from_other_engine: whether another engine than the present one did it.
    """

    command: SessionCommand
    delta: MaskDelta | None
    engine: JsonObject
    time: str
    annotator: str
    era: int = 0
    from_other_engine: bool = False

    def line(self, new_engine: JsonObject | None) -> LogLine:
        """The line of a log; `new_engine` where another engine did the commands before."""
        return LogLine(self.command, self.time, self.annotator, self.delta, new_engine)


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the lines of a log add up to.

    Attributes:
        done: commands that were not undone, in order.
        undone: commands that could be redone, the latest undone last.
        engine: identity of the latest engine.
        era: how often it changed.
    """

    done: list[LoggedCommand]
    undone: list[LoggedCommand]
    engine: JsonObject
    era: int


def fold_lines(header: LogHeader, lines: Sequence[LogLine]) -> Timeline:
    """Follow all undos and redos of a log."""
    done: list[LoggedCommand] = []
    undone: list[LoggedCommand] = []
    engine = header.engine
    era = 0
    for line in lines:
        if line.engine is not None:
            engine = line.engine
            era += 1
        match line.entry:
            case Undo() if done:
                undone.append(done.pop())
            case Redo() if undone:
                done.append(undone.pop())
            case SessionCommand():
                done.append(
                    LoggedCommand(line.entry, line.delta, engine, line.time, line.annotator, era)
                )
                undone.clear()
    return Timeline(done, undone, engine, era)


def write_log(path: Path, header: LogHeader, done: Sequence[LoggedCommand]) -> None:
    """Write commands that are done to a new log.

    Raises:
        UsageError: the file exists already, or its folder does not.
        WriteError: the file system refuses.
    """
    engine = header.engine
    era = 0
    if done:
        engine = done[0].engine
        era = done[0].era
    lines = []
    for logged in done:
        new_engine = None
        if logged.era != era:
            new_engine = logged.engine
            era = logged.era
        lines.append(logged.line(new_engine))
    CommandLog.create(path, replace(header, engine=engine)).append(*lines)


def make_record(
    header: LogHeader, objects: Mapping[int, ObjectState], commands: Iterable[SessionCommand]
) -> JsonObject:
    """Versions, weights, window, prompts, commands, and notes about single masks."""
    prompts: list[Prompt] = []
    names: dict[int, str] = {}
    notes: dict[str, str] = {}
    for object_id, obj in objects.items():
        names[object_id] = obj.name
        for prompts_on_frame in obj.prompts.values():
            prompts += prompts_on_frame
        for frame, result in obj.answers.items():
            if result.note and not result.note.startswith("stopped"):
                notes[f"{object_id}@{frame}"] = result.note
    commands = list(commands)
    record: JsonObject = {
        "version": header.version,
        "stack": header.image,
        "engine": header.engine,
        "window": header.window,
        "memory": header.memory,
        "overlap": header.overlap,
        "prompts": prompts_to_json(prompts, names),
        # added prompts are listed under "prompts" already
        "commands": [item.to_json() for item in commands if not isinstance(item, Add | Suggest)],
        "notes": notes,
    }
    examples = _list_examples(commands)
    if examples:
        record["examples"] = examples
    return record


def _list_examples(commands: Sequence[SessionCommand]) -> dict[str, list[str]]:
    """Ids of all examples that the masks of each object may have been learned from."""
    ids: dict[str, dict[str, None]] = {}
    for command in commands:
        for object_id, chosen in _examples_by_object(command).items():
            ids.setdefault(str(object_id), {}).update(dict.fromkeys(chosen))
    return {object_id: list(chosen) for object_id, chosen in ids.items()}


def _examples_by_object(command: SessionCommand) -> ExampleIds:
    match command:
        case Add() | Replace() | Propagate():
            return command.examples
        case Suggest():
            examples = command.examples
            return {key: examples.get(label, ()) for key, label in command.labels.items()}
    return {}
