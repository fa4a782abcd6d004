"""Frames that share their positions, to volumes: by the attributes that tell volumes apart.

An attribute that is constant within each volume takes the same values at every position: echo,
b-value, phase. Others, such as the time of acquisition, only order the frames of a position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import ReadError, list_first
from segscope.io.dicom.order_keys import DIMENSION, VECTORS
from segscope.io.dicom.records import Frame
from segscope.io.dicom.slices import SlicePosition

FILE_ORDER = "the order in the file"

_ORDERING = (
    "TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime",
    "NominalCardiacTriggerDelayTime", "EchoTime", "DiffusionBValue", "FrameReferenceTime",
    "AcquisitionNumber", "ImageType", "AcquisitionTime", "ContentTime", "InstanceNumber",
)  # fmt: skip
"""Elements that may order the frames of a position, the most meaningful first."""

_CONSTANT = (
    "FrameType", "ComplexImageComponent", "ImageType", "DiffusionBValue",
    "DiffusionGradientOrientation", "EchoTime", "EchoNumbers", "FlipAngle", "InversionTime", "KVP",
    "StackID", "TemporalPositionIndex", "TemporalPositionIdentifier",
    "NominalCardiacTriggerDelayTime", "AcquisitionNumber", *VECTORS,
)  # fmt: skip
"""Attributes that may be constant within a volume, the most meaningful first; the dimensions of a
multi-frame file follow.
"""

_Rank = tuple[bool, float | str]
_Ranks = tuple[_Rank, ...]


@dataclass(frozen=True)
class SplitFrames:
    """The frames of each position in the order of their volumes.

    Attributes:
        positions: frames by position and volume.
        names: elements that tell the volumes apart, or `FILE_ORDER`.
        notes: what a user should know about it.
    """

    positions: list[list[Frame]]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """What the volumes differ in, with the first values."""
        names = " and ".join(self.names)
        if self.names == (FILE_ORDER,):
            return f"they differ in {names} only"
        values = []
        for frame in self.positions[0]:
            parts = (_format_value(frame.order.get(name)) for name in self.names)
            values.append(" ".join(parts))
        return f"they differ in {names}: {list_first(values, 8)}"


def _format_value(value: float | str | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.9g}"
    return value


def split_volumes(path: Path, positions: Sequence[SlicePosition]) -> SplitFrames:
    """Which frame of each position belongs to which volume.

    Args:
        path: named in messages.
        positions: each with the same number of frames.

    Raises:
        ReadError: nothing tells the frames apart, or only their order, while attributes say that
            this order differs between positions.
    """
    constant = _find_constant(positions)
    ordering = _find_ordering(positions)
    if ordering is not None:
        ordered = [_sort_frames(position.frames, (ordering,)) for position in positions]
        if _is_consistent(ordered, constant):
            if ordering != FILE_ORDER:
                return SplitFrames(ordered, (ordering,))
            if _tells_apart(positions, constant):
                return SplitFrames(ordered, constant)
            if len(positions) == 1:
                return SplitFrames(ordered, (FILE_ORDER,))
            note = "only the order of the frames in the file tells which volume they belong to"
            return SplitFrames(ordered, (FILE_ORDER,), (note,))
    if _tells_apart(positions, constant):
        return _sort_positions(positions, constant)
    if ordering not in (None, FILE_ORDER, "InstanceNumber"):
        return _sort_positions(positions, (*constant, str(ordering)))
    raise ReadError(_describe_ambiguity(path, positions, constant, ordering))


def _find_ordering(positions: Sequence[SlicePosition]) -> str | None:
    """The first element with another value for each frame of a position."""
    for name in (*_ORDERING, FILE_ORDER):
        if all(_has_distinct_ranks(position.frames, (name,)) for position in positions):
            return name
    return None


def _find_constant(positions: Sequence[SlicePosition]) -> tuple[str, ...]:
    """Attributes that together take the same values at every position, and tell frames apart."""
    frames = positions[0].frames
    dimensions = [name for name in frames[0].order if name.startswith(DIMENSION)]
    chosen: tuple[str, ...] = ()
    kinds = 1
    for name in (*_CONSTANT, *dimensions):
        extended = (*chosen, name)
        values = _count_ranks(frames, extended)
        if len(values) <= kinds:
            continue
        if all(_count_ranks(position.frames, extended) == values for position in positions):
            chosen = extended
            kinds = len(values)
    return chosen


def _count_ranks(frames: Sequence[Frame], names: Sequence[str]) -> Counter[_Ranks]:
    return Counter(_rank_all(frames, names))


def _rank_all(frames: Sequence[Frame], names: Sequence[str]) -> list[_Ranks]:
    return [_rank(frame, names) for frame in frames]


def _rank(frame: Frame, names: Sequence[str]) -> _Ranks:
    """Sorts a frame by the values of some elements; those without a value come first."""
    return tuple(_rank_by(frame, name) for name in names)


def _rank_by(frame: Frame, name: str) -> _Rank:
    if name == FILE_ORDER:
        return (True, f"{float(frame.order.get('InstanceNumber', 0)):020.3f} {frame.index:09d}")
    value = frame.order.get(name)
    return (value is not None, 0 if value is None else value)


def _has_distinct_ranks(frames: Sequence[Frame], names: Sequence[str]) -> bool:
    ranks = set(_rank_all(frames, names))
    has_values = all(has_value for rank in ranks for has_value, _ in rank)
    return has_values and len(ranks) == len(frames)


def _tells_apart(positions: Sequence[SlicePosition], names: Sequence[str]) -> bool:
    frames = positions[0].frames
    return len(set(_rank_all(frames, names))) == len(frames)


def _is_consistent(ordered: Sequence[Sequence[Frame]], names: Sequence[str]) -> bool:
    """Whether attributes come in the same order at every position."""
    first = _rank_all(ordered[0], names)
    return all(_rank_all(frames, names) == first for frames in ordered)


def _sort_frames(frames: Sequence[Frame], names: Sequence[str]) -> list[Frame]:
    return sorted(frames, key=lambda frame: _rank(frame, names))


def _sort_positions(positions: Sequence[SlicePosition], names: tuple[str, ...]) -> SplitFrames:
    return SplitFrames([_sort_frames(position.frames, names) for position in positions], names)


def _describe_ambiguity(
    path: Path,
    positions: Sequence[SlicePosition],
    constant: Sequence[str],
    ordering: str | None,
) -> str:
    count = len(positions[0].frames)
    start = f"{path} holds {count} slices at each of {len(positions)} positions"
    if ordering is None:
        names = ", ".join(frame.file.path.name for frame in positions[0].frames[:3])
        return (
            f"{start}, and nothing in the files tells them apart ({names}); "
            "remove the doubled files"
        )
    return (
        f"{start}. {' and '.join(constant)} do not tell all of them apart, and come in another "
        f"order at some positions, so {ordering} does not tell which volume a slice belongs to. "
        "Convert the series with a tool that knows its scanner (for instance dcm2niix), or export "
        "the volumes one by one."
    )
