"""DICOMweb archives: their studies and series, and masks sent to them."""

from __future__ import annotations

from typing import Annotated, Literal

import pydicom
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from segscope.io.dicom.web import WITHOUT_IMAGES, ArchiveStudy
from segscope.serve.api.dependencies import Leased, ServedWorkspace
from segscope.serve.api.schemas import ObjectId, RequestBody

router = APIRouter()
Root = Annotated[int, Path(ge=0, le=1000)]
Filter = Annotated[str | None, Query(max_length=64)]


class ArchivedSeries(BaseModel):
    """A series of an archive; `images`: whether it can be opened."""

    uid: str
    modality: str
    description: str
    instances: int | None
    images: bool


class StoreRequest(RequestBody):
    """The archive that the masks of a session are sent to, and their format."""

    root: Annotated[int, Field(ge=0)] = 0
    format: Literal["dicom-seg", "rtstruct"] = "dicom-seg"
    objects: list[ObjectId] | None = None


class StoredInstance(BaseModel):
    """UIDs of the stored instance."""

    study: str
    series: str
    instance: str


@router.get("/dicomweb/{root}/studies")
def studies(
    root: Root,
    workspace: ServedWorkspace,
    patient_id: Filter = None,
    patient_name: Filter = None,
    date: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{0,8}-?[0-9]{0,8}$", description="YYYYMMDD or a range"),
    ] = None,
    modality: Filter = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[ArchiveStudy]:
    """Studies of an archive; `*` in a filter stands for anything."""
    filters = {
        "PatientID": patient_id,
        "PatientName": patient_name,
        "StudyDate": date,
        "ModalitiesInStudy": modality,
    }
    chosen = {key: value for key, value in filters.items() if value}
    with workspace.archives.use(root) as archive:
        return archive.studies(limit=limit, **chosen)


@router.get("/dicomweb/{root}/studies/{study}/series")
def series(root: Root, study: str, workspace: ServedWorkspace) -> list[ArchivedSeries]:
    """Series of a study."""
    with workspace.archives.use(root) as archive:
        rows = archive.series(study)
    return [
        ArchivedSeries(
            uid=item.uid,
            modality=item.modality,
            description=item.description,
            instances=item.instances,
            images=item.modality not in WITHOUT_IMAGES,
        )
        for item in rows
    ]


@router.post("/sessions/{session_id}/dicomweb", status_code=201)
def store(session_id: Leased, body: StoreRequest, workspace: ServedWorkspace) -> StoredInstance:
    """Send the masks to an archive, exactly as displayed."""
    with (
        workspace.archives.use(body.root) as archive,
        workspace.session_service.export(session_id, body.format, body.objects) as file,
    ):
        archive.store([file.path])
        header = pydicom.dcmread(file.path, stop_before_pixels=True)
    return StoredInstance(
        study=header.StudyInstanceUID,
        series=header.SeriesInstanceUID,
        instance=header.SOPInstanceUID,
    )
