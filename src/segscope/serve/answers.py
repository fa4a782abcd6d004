"""Answers about sessions: made once in `serve.sessions`, sent as they are by `serve.api`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from pydantic import BaseModel

Encoding = Literal["bits", "rle", "png"]
JobState = Literal["queued", "running", "done", "cancelled", "failed"]
Bbox = tuple[int, int, int, int]


class Code(BaseModel):
    """A coded meaning, as DICOM writes it."""

    scheme: str
    value: str
    meaning: str


class Object(BaseModel):
    """An object of a session.

    Attributes:
        millilitres: volume, where pixels are voxels.
        frames: (frame, pixels, score, prompted | confirmed | tracked, accepted).
    """

    object_id: int
    label: str
    colour: str
    code: Code | None
    locked: bool
    visible: bool
    comment: str
    pixels: int
    millilitres: float | None = None
    frames: list[tuple[int, int, float, str, bool]] | None = None


class PatchHeader(TypedDict):
    """A part of a mask without its pixels, as it is sent in front of them."""

    frame: int
    object_id: int
    bbox: list[int] | None
    encoding: Encoding
    area: int
    score: float | None
    candidate: NotRequired[int]


class MaskPart(BaseModel):
    """Replaces the object's mask inside `bbox`, and nothing outside it."""

    frame: int
    object_id: int
    bbox: Bbox | None
    encoding: Encoding
    data: str
    area: int
    score: float | None = None
    candidate: int | None = None


class Candidate(BaseModel):
    index: int
    score: float


class Answer(BaseModel):
    """The result of a command."""

    seq: int | None = None
    frame: int | None = None
    object_id: int | None = None
    score: float | None = None
    object_score: float | None = None
    note: str = ""
    chosen: int = 0
    candidates: list[Candidate] = []
    candidate_masks: list[MaskPart] = []
    changes: list[MaskPart] = []
    stale: list[int] = []
    commands: int = 0
    can_undo: int = 0
    can_redo: int = 0
    job: str | None = None
    objects: list[Object] = []
    removed: list[int] = []
    timing_ms: dict[str, float] = {}


class Session(BaseModel):
    session_id: str
    image_id: str
    annotator: str
    model: str
    axis: int
    commands: int
    seconds: float
    created: float
    updated: float
    in_use: bool
    open: bool
    opening: list[int] | None


class SessionOpened(BaseModel):
    session_id: str
    lease: str
    idle_s: float
    liveness_s: float
    resumed: bool


class Heartbeat(BaseModel):
    idle_left_s: float


class Network(BaseModel):
    """Another network made some of the masks; `model` answers now."""

    detail: str
    model: str
    weights: str
    steps: int
    anew: int


class Job(BaseModel):
    """A job, and how far it is. `result` depends on its kind."""

    job_id: str
    kind: str
    session_id: str
    state: JobState
    done: int
    total: int
    detail: str
    result: dict[str, Any]


class Window(BaseModel):
    """The intensities that frames are displayed with."""

    how: str
    low: float | list[float]
    high: float | list[float]


class Flag(BaseModel):
    frame: int
    comment: str


class State(Session):
    frames: int
    size_hw: tuple[int, int]
    window: Window
    can_undo: int
    can_redo: int
    network: Network | None
    saved: bool
    job: Job | None
    interrupted: dict[str, Any] | None
    reviewed: tuple[int, int]
    objects: list[Object]
    flags: list[Flag]


class Doubt(BaseModel):
    """A mask to review: `doubt` is 0 to 1, `why` names its reason."""

    frame: int
    object_id: int
    doubt: float
    why: str
