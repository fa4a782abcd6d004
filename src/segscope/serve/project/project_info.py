"""What clients learn about a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LabelCode:
    """A coded meaning, as DICOM writes it."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class ProjectLabel:
    """One of the labels that objects of a project may get."""

    number: int
    name: str
    colour: str | None = None
    code: LabelCode | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ProjectLabel:
        """The label as the database stores it."""
        code = None
        if values["code"] is not None:
            code = LabelCode(**values["code"])
        return cls(values["number"], values["name"], values["colour"], code)


@dataclass(frozen=True)
class ExportChoice:
    """A format that masks can be exported to."""

    suffix: str
    note: str


@dataclass(frozen=True)
class ClientLimits:
    """Limits that clients have to respect, in bytes and seconds."""

    upload_bytes: int
    volume_bytes: int
    idle_s: float
    liveness_s: float


@dataclass(frozen=True)
class ProjectInfo:
    """A project and the server it is open on.

    Attributes:
        model: model of sessions that name none.
        windows: (width, level) of the window presets by name.
        roots: names of the folders that files may be opened from.
        dicomweb: base URLs of the DICOMweb archives.
        cases: number of cases in each state.
    """

    name: str
    version: str
    labels: list[ProjectLabel]
    model: str
    windows: dict[str, tuple[float, float]]
    exports: dict[str, ExportChoice]
    roots: list[str]
    dicomweb: list[str]
    cases: dict[str, int]
    limits: ClientLimits
