"""What clients ask for when they open a session."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from segscope.memory import POLICIES
from segscope.predict.overlaps import Overlap

ShortText = Annotated[str, StringConstraints(max_length=200)]


class SessionRequest(BaseModel):
    """What a client asks for when it opens a session.

    Attributes:
        annotator: whose work it is.
        memory: policy of the past frames that tracking attends to.
        new: start a new session even if there is one.
        take_over: end the lease of another window.
        start_from: a session on the same image whose masks the new one begins with.
    """

    model_config = ConfigDict(extra="forbid")

    image_id: ShortText
    annotator: ShortText = ""
    model: ShortText | None = None
    window: ShortText | None = None
    axis: Annotated[int, Field(ge=0, le=2)] = 0
    memory: ShortText = "fifo"
    overlap: Overlap = "highest"
    new: bool = False
    take_over: bool = False
    start_from: ShortText | None = None

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, name: str) -> str:
        names = [policy.name for policy in POLICIES]
        if name not in names:
            raise ValueError(f"memory must be one of {', '.join(names)}")
        return name
