"""What requests and answers look like: the types behind `/v1/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from segscope.memory import POLICIES

Short = Annotated[str, StringConstraints(max_length=200)]
Long = Annotated[str, StringConstraints(max_length=4000)]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
ObjectId = Annotated[int, Field(ge=1, le=65535)]
Frame = Annotated[int, Field(ge=0, le=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Pair = tuple[Number, Number]
Corners = tuple[Number, Number, Number, Number]
Encoded = Literal["bits", "rle", "png"]
PolicyName = Annotated[
    str, StringConstraints(pattern=f"^({'|'.join(entry.name for entry in POLICIES)})$")
]


class Request(BaseModel):
    """A body of a request: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str
    kind: str


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str
    uptime_s: float


class Login(Request):
    token: Annotated[str, StringConstraints(max_length=500)]


class Code(Request):
    """A coded meaning, as DICOM writes it."""

    scheme: Short = "SCT"
    value: Short
    meaning: Short


class Label(Request):
    """One of the project's labels."""

    number: ObjectId
    name: Short
    colour: Colour | None = None
    code: Code | None = None


class ProjectChange(Request):
    name: Short | None = None
    labels: Annotated[list[Label], Field(max_length=1000)] | None = None


class Collect(Request):
    """Which cases become a data set."""

    states: Annotated[list[Literal["todo", "done", "skip", "flag"]], Field(min_length=1)] = ["done"]


class Project(BaseModel):
    name: str
    version: str
    labels: list[dict[str, Any]]
    model: str
    windows: dict[str, list[float]]
    exports: dict[str, dict[str, str]]
    roots: list[str]
    dicomweb: list[str]
    cases: dict[str, int]
    limits: dict[str, float]


class Model(BaseModel):
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


class Image(BaseModel):
    image_id: str
    name: str
    origin: Literal["root", "upload"]
    kind: Literal["image", "volume", "video"]
    modality: str | None
    shape_zyx: tuple[int, int, int]
    channels: int
    dtype: str
    spacing_zyx_mm: list[float] | None
    affine: list[list[float]] | None
    times_s: list[float] | None
    window: dict[str, Any]
    bytes: int
    notes: list[str]


class Reference(Request):
    """An image by its `path` below a root of the server, or `dicomweb`: STUDY/SERIES or STUDY of a
    DICOMweb root.
    """

    root: Annotated[int, Field(ge=0)] = 0
    path: Annotated[str, StringConstraints(min_length=1, max_length=4000)] | None = None
    dicomweb: Annotated[str, StringConstraints(min_length=1, max_length=130)] | None = None
    series: Short | None = None
    volume: Annotated[int, Field(ge=0)] | None = None
    channel: Annotated[int, Field(ge=0)] | None = None


class Entry(BaseModel):
    name: str
    path: str
    kind: Literal["folder", "image"]


class SessionWanted(Request):
    image_id: Short
    annotator: Short = ""
    model: Short | None = None
    window: Short | None = None
    axis: Literal[0, 1, 2] = 0
    memory: PolicyName = "fifo"
    overlap: Literal["highest", "keep"] = "highest"
    new: bool = False
    take_over: bool = False
    start_from: Short | None = None


class SessionOpened(BaseModel):
    session_id: str
    lease: str
    idle_s: float
    liveness_s: float
    resumed: bool


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


class Object(BaseModel):
    object_id: int
    label: str
    colour: str
    code: dict[str, str] | None
    locked: bool
    visible: bool
    comment: str
    pixels: int
    millilitres: float | None = None
    frames: list[tuple[int, int, float, str, bool]] | None = None


class Network(BaseModel):
    """Another network made some of what is shown; `model` answers now."""

    detail: str
    model: str
    weights: str
    steps: int
    anew: int


class State(Session):
    frames: int
    size_hw: tuple[int, int]
    window: dict[str, Any]
    can_undo: int
    can_redo: int
    network: Network | None
    saved: bool
    job: dict[str, Any] | None
    interrupted: dict[str, Any] | None
    reviewed: tuple[int, int]
    objects: list[Object]
    flags: list[dict[str, Any]]


class Heartbeat(BaseModel):
    idle_left_s: float


class Job(BaseModel):
    job_id: str
    kind: str
    session_id: str
    state: Literal["queued", "running", "done", "cancelled", "failed"]
    done: int
    total: int
    detail: str
    result: dict[str, Any]


class MaskPart(BaseModel):
    """Replaces the object's mask inside `bbox`, and nothing outside it."""

    frame: int
    object_id: int
    bbox: tuple[int, int, int, int] | None
    encoding: Encoded
    data: str
    area: int
    score: float | None = None
    candidate: int | None = None


class Candidate(BaseModel):
    index: int
    score: float


class Answer(BaseModel):
    """What a command led to."""

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


class Doubt(BaseModel):
    frame: int
    object_id: int
    doubt: float
    why: str


# --- cases ---------------------------------------------------------------------------------------


class Case(BaseModel):
    case_id: int
    image_id: str
    name: str
    state: Literal["todo", "done", "skip", "flag"]
    comment: str
    annotator: str
    updated: float
    seconds: float


class CaseNew(Request):
    """An image of the project by its id, or one below a root."""

    image_id: Short | None = None
    reference: Reference | None = None


class CaseChange(Request):
    state: Literal["todo", "done", "skip", "flag"] | None = None
    comment: Long | None = None
    annotator: Short | None = None
