"""Answers about sessions: built once in `serve.sessions`, sent unchanged by `serve.api`."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from pydantic import BaseModel

from segscope.serve.project.image_records import DisplayRange
from segscope.wire import JsonObject

Encoding = Literal["bits", "rle", "png"]
JobState = Literal["queued", "running", "done", "cancelled", "failed"]
Bbox = tuple[int, int, int, int]


class ObjectCode(BaseModel):
    """A coded meaning, as DICOM writes it."""

    scheme: str
    value: str
    meaning: str


class ObjectInfo(BaseModel):
    """An object of a session.

    Attributes:
        millilitres: volume, where pixels are voxels.
        suggested: found with examples, and waiting to be accepted; it is not exported.
        unreviewed: nobody has looked at it; it teaches nothing.
        frames: (frame, pixels, score, prompted | confirmed | tracked, accepted).
    """

    object_id: int
    label: str
    colour: str
    code: ObjectCode | None
    locked: bool
    visible: bool
    comment: str
    pixels: int
    suggested: bool = False
    unreviewed: bool = False
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


class EncodedPatch(BaseModel):
    """Replaces the object's mask inside `bbox`, and nothing outside it."""

    frame: int
    object_id: int
    bbox: Bbox | None
    encoding: Encoding
    data: str
    area: int
    score: float | None = None
    candidate: int | None = None


class CandidateScore(BaseModel):
    index: int
    score: float


class CommandAnswer(BaseModel):
    """The result of a command.

    Attributes:
        learned: number of examples that the answer was learned from; 0 for the network's own, which
            is candidate 1 elsewhere.
    """

    seq: int | None = None
    frame: int | None = None
    object_id: int | None = None
    score: float | None = None
    object_score: float | None = None
    note: str = ""
    learned: int = 0
    chosen: int = 0
    candidates: list[CandidateScore] = []
    candidate_masks: list[EncodedPatch] = []
    changes: list[EncodedPatch] = []
    stale: list[int] = []
    commands: int = 0
    can_undo: int = 0
    can_redo: int = 0
    job: str | None = None
    objects: list[ObjectInfo] = []
    removed: list[int] = []
    timing_ms: dict[str, float] = {}


class SessionInfo(BaseModel):
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


class NetworkChange(BaseModel):
    """Another network computed some of the masks; `model` answers now.

    Attributes:
        steps: commands that another network answered.
        anew: those whose masks the log does not hold, so that they were computed again.
    """

    detail: str
    model: str
    weights: str
    steps: int
    anew: int


class JobStatus(BaseModel):
    """A job, and how far it is. `result` depends on its kind."""

    job_id: str
    kind: str
    session_id: str
    state: JobState
    done: int
    total: int
    detail: str
    result: JsonObject


class CaseClicks(BaseModel):
    """How many prompts an accepted object of a label took on an image, on average."""

    image_id: str
    name: str
    prompts: float


class LabelExamples(BaseModel):
    """What the examples of a label say.

    Attributes:
        count, rejected: accepted examples, and negative ones.
        images: how many images they come from.
        plain: mean Dice of the network's own masks on them, for their boxes; None before a head is
            prepared.
        learned: mean Dice of the learned answers, each with its patient or image left out; None
            where nothing can be left out yet.
        clicks: of the latest ten cases, oldest first; only in the answer about the project.
    """

    label: str
    count: int
    rejected: int
    images: int
    plain: float | None
    learned: float | None
    clicks: list[CaseClicks] = []


class LearningState(BaseModel):
    """Whether a session learns, and from what."""

    learns: bool
    updating: bool
    labels: list[LabelExamples]


class ProjectExamples(BaseModel):
    """The examples of a project for one model.

    Attributes:
        updating: whether examples or heads are being made.
        pending: accepted masks that are still to be encoded.
        imported: examples from files.
    """

    model: str
    updating: bool
    pending: int
    imported: int
    labels: list[LabelExamples]


class SuspectMask(BaseModel):
    """An accepted mask that all other examples contradict.

    Attributes:
        image_id, name, session_id: None for an example of a file.
        score: Dice of what the other examples say about it.
        usual: median of the others' scores.
    """

    image_id: str | None
    name: str | None
    session_id: str | None
    frame: int
    object_id: int
    label: str
    score: float
    usual: float


class FlaggedFrame(BaseModel):
    frame: int
    comment: str


class SessionDetails(SessionInfo):
    """A session, but for its masks. `notes`: commands that were lost, until acknowledged."""

    frames: int
    size_hw: tuple[int, int]
    window: DisplayRange
    can_undo: int
    can_redo: int
    network: NetworkChange | None
    notes: list[str]
    saved: bool
    job: JobStatus | None
    interrupted: JsonObject | None
    reviewed: tuple[int, int]
    learning: LearningState
    objects: list[ObjectInfo]
    flags: list[FlaggedFrame]


class ServedModel(BaseModel):
    """A model that sessions may use. `available`: using it downloads nothing."""

    name: str
    family: str | None
    prompts: list[str]
    classes: list[str]
    memory: bool | None
    licence: str | None
    note: str
    parameters_million: float | None
    default: bool
    loaded: bool
    device: str | None
    available: bool


class Doubt(BaseModel):
    """A mask to review: `doubt` is 0 to 1, `why` the measure that it rests on."""

    frame: int
    object_id: int
    doubt: float
    why: str
