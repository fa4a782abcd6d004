"""Bodies of requests about the project, and what the routes share with `/v1/openapi.json`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Short = Annotated[str, StringConstraints(max_length=200)]
Long = Annotated[str, StringConstraints(max_length=4000)]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
ObjectId = Annotated[int, Field(ge=1, le=65535)]
Frame = Annotated[int, Field(ge=0, le=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Pair = tuple[Number, Number]
Corners = tuple[Number, Number, Number, Number]


class RequestBody(BaseModel):
    """The body of a request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str
    kind: str


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str
    uptime_s: float


class Login(RequestBody):
    token: Annotated[str, StringConstraints(max_length=500)]


class CodedMeaning(RequestBody):
    """A coded meaning, as DICOM writes it."""

    scheme: Short = "SCT"
    value: Short
    meaning: Short


class Label(RequestBody):
    """One of the project's labels."""

    number: ObjectId
    name: Short
    colour: Colour | None = None
    code: CodedMeaning | None = None


class ProjectChange(RequestBody):
    name: Short | None = None
    labels: Annotated[list[Label], Field(max_length=1000)] | None = None


class Collect(RequestBody):
    """Which cases become a data set."""

    states: Annotated[list[Literal["todo", "done", "skip", "flag"]], Field(min_length=1)] = ["done"]


class Reference(RequestBody):
    """An image by its `path` below a root of the server, or `dicomweb`: STUDY/SERIES or STUDY of a
    DICOMweb root.
    """

    root: Annotated[int, Field(ge=0)] = 0
    path: Annotated[str, StringConstraints(min_length=1, max_length=4000)] | None = None
    dicomweb: Annotated[str, StringConstraints(min_length=1, max_length=130)] | None = None
    series: Short | None = None
    volume: Annotated[int, Field(ge=0)] | None = None
    channel: Annotated[int, Field(ge=0)] | None = None


# --- cases ---------------------------------------------------------------------------------------


class CaseNew(RequestBody):
    """An image of the project by its id, or one below a root."""

    image_id: Short | None = None
    reference: Reference | None = None


class CaseChange(RequestBody):
    state: Literal["todo", "done", "skip", "flag"] | None = None
    comment: Long | None = None
    annotator: Short | None = None
