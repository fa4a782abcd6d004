"""DICOMweb archives: what they hold, and results into them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import pydicom
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from segscope.io.dicom.web import WITHOUT_IMAGES
from segscope.serve.api.dependencies import Leased, Space
from segscope.serve.api.schemas import ObjectId, Request

router = APIRouter()
Root = Annotated[int, Path(ge=0, le=1000)]
Filter = Annotated[str | None, Query(max_length=64)]


class Study(BaseModel):
    uid: str
    patient_name: str
    patient_id: str
    date: str
    description: str
    modalities: list[str]


class Series(BaseModel):
    uid: str
    modality: str
    description: str
    instances: int | None
    images: bool


class Store(Request):
    """Where the masks of a session go, and as what."""

    root: Annotated[int, Field(ge=0)] = 0
    format: Literal["dicom-seg", "rtstruct"] = "dicom-seg"
    objects: list[ObjectId] | None = None


class Stored(BaseModel):
    """UIDs of what was stored."""

    study: str
    series: str
    instance: str


@router.get("/dicomweb/{root}/studies")
def studies(
    root: Root,
    space: Space,
    patient_id: Filter = None,
    patient_name: Filter = None,
    date: Annotated[
        str | None, Query(pattern=r"^[0-9]{0,8}-?[0-9]{0,8}$", description="YYYYMMDD or a range")
    ] = None,
    modality: Filter = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Study]:
    """Studies of an archive; `*` in a filter stands for anything."""
    filters = {
        "PatientID": patient_id, "PatientName": patient_name, "StudyDate": date, "ModalitiesInStudy": modality,
    }  # fmt: skip
    found = space.archives.get(root).studies(
        limit=limit, **{key: value for key, value in filters.items() if value}
    )
    return [Study(**asdict(row)) for row in found]


@router.get("/dicomweb/{root}/studies/{study}/series")
def series(root: Root, study: str, space: Space) -> list[Series]:
    """Series of a study."""
    found = space.archives.get(root).series(study)
    return [Series(**asdict(row), images=row.modality not in WITHOUT_IMAGES) for row in found]


@router.post("/sessions/{session_id}/dicomweb", status_code=201)
def store(session_id: Leased, body: Store, space: Space) -> Stored:
    """Send the masks to an archive, exactly as shown."""
    archive = space.archives.get(body.root)
    with space.export(session_id, body.format, body.objects) as (path, _):
        archive.store([path])
        header = pydicom.dcmread(path, stop_before_pixels=True)
    return Stored(
        study=header.StudyInstanceUID,
        series=header.SeriesInstanceUID,
        instance=header.SOPInstanceUID,
    )
