"""MONAI Label's data store and active learning: images, labels, what to label next."""

from __future__ import annotations

import random
from typing import TypedDict

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from segscope.errors import UsageError
from segscope.serve.api.upload_form import UploadForm
from segscope.serve.compat.monailabel.dependencies import (
    Name,
    Service,
    Text,
    can_send,
    download_name,
    file_response,
    image_response,
    parse_params,
    receive_files,
)
from segscope.serve.compat.monailabel.label_files import FINAL, DatastoreListing, DatastoreStats
from segscope.serve.compat.monailabel.label_intake import remove_label, store_label
from segscope.serve.compat.monailabel.service import MonaiLabelService
from segscope.serve.compat.monailabel.zip_stream import stream_zip
from segscope.serve.errors import Busy, NotFound
from segscope.serve.json_object import JsonObject, text_field
from segscope.serve.project.image_records import StoredImage, properties_of
from segscope.serve.project.worklist import CaseUpdate

router = APIRouter(include_in_schema=False)
STRATEGIES = {
    "first": "the first image without a final label",
    "random": "any image without a final label",
}
LONGEST_COMMENT = 4000
LONGEST_ANNOTATOR = 200


class TrainingPair(TypedDict):
    """An image of the data store and its final label."""

    image: str
    label: str


# --- the data store ------------------------------------------------------------------------------


@router.get("/datastore", response_model=None)
@router.get("/datastore/", response_model=None)
def datastore(
    service: Service, output: Name = "all"
) -> DatastoreListing | DatastoreStats | list[TrainingPair]:
    if output == "stats":
        return service.labels.count()
    listing = service.labels.list_all()
    if output != "train":
        return listing
    return [
        {"image": image_id, "label": f"labels/{FINAL}/{image_id}"}
        for image_id, entry in listing["objects"].items()
        if FINAL in entry["labels"]
    ]


@router.put("/datastore")
@router.put("/datastore/")
@router.put("/datastore/image")
async def put_image(service: Service, request: Request, image: Name = "") -> dict[str, str]:
    """Add an image to the project; it becomes a case of the work list."""
    async with receive_files(service, request, "file") as form:
        # clients learn of malformed notes although none are stored
        parse_params(form.fields.get("params"))
        return {"image": await run_in_threadpool(service.add_image, form.files, image)}


@router.api_route("/datastore/image", methods=["GET", "HEAD"])
def get_image(service: Service, request: Request, image: Name, check_sum: Name = "") -> Response:
    """The file of an image; a DICOM series as a NIfTI file."""
    stored = service.find_image(image)
    if request.method != "HEAD":
        return image_response(service, stored)
    if check_sum and not _has_checksum(service, stored, check_sum):
        raise NotFound("the image on the server has another checksum")
    return Response()


def _has_checksum(service: Service, stored: StoredImage, check_sum: str) -> bool:
    """Whether the file of an image has a checksum, written as ALGORITHM:DIGEST."""
    algorithm, _, expected = check_sum.partition(":")
    if not stored.path.is_file() or algorithm.lower() != "sha256":
        return False
    return service.workspace.images.content_hash(stored.path) == expected.lower()


@router.delete("/datastore/image")
def delete_image(service: Service, image: Name) -> None:
    """Images stay in the project, since sessions may refer to them."""
    service.find_image(image)
    raise Busy("images cannot be deleted through MONAI Label's interface")


@router.get("/datastore/image/info", response_model=None)
def image_info(service: Service, image: Name) -> dict[str, object]:
    record = service.find_image(image).image
    return {"name": record.name, **properties_of(record)}


@router.put("/datastore/image/info")
def put_image_info(service: Service, image: Name, info: Text = None) -> JsonObject:
    """Store a comment on an image in its case of the work list."""
    image_id = service.find_image(image).image.image_id
    notes = parse_params(info)
    cases = service.workspace.cases
    case = cases.add(image_id)
    comment = str(notes.get("comment", case.comment))[:LONGEST_COMMENT]
    cases.update(case.case_id, CaseUpdate(comment=comment))
    return {}


@router.put("/datastore/label")
@router.put("/datastore/label/")
async def put_label(
    service: Service, request: Request, image: Name, tag: Name = FINAL
) -> dict[str, str]:
    """Store a label; raw bytes (OHIF's label.bin) are converted to a file that others can read.

    A final label also becomes masks of a session, and its case is done.
    """
    async with receive_files(service, request, "label") as form:
        return await run_in_threadpool(_store_label, service, image, tag or FINAL, form)


def _store_label(
    service: MonaiLabelService, image: str, tag: str, form: UploadForm
) -> dict[str, str]:
    stored = service.find_image(image)
    notes = parse_params(form.fields.get("params"))
    if not form.files:
        raise UsageError("a label is a form with one file named `label`")
    store_label(service, stored, tag, form.files[0], notes)
    image_id = stored.image.image_id
    cases = service.workspace.cases
    case = cases.add(image_id)
    if tag == FINAL:
        annotator = text_field(notes, "client_id")[:LONGEST_ANNOTATOR]
        cases.update(case.case_id, CaseUpdate(state="done", annotator=annotator))
    return {"image": image_id, "label": image_id}


@router.api_route("/datastore/label", methods=["GET", "HEAD"])
def get_label(service: Service, label: Name, tag: Name = FINAL) -> Response:
    return file_response(service.labels.get(_image_id(service, label), tag))


@router.delete("/datastore/label")
def delete_label(service: Service, label: Name, tag: Name = FINAL) -> JsonObject:
    """Move a label to the trash of the project; without its final label a case is to be done."""
    image_id = _image_id(service, label)
    remove_label(service, image_id, tag)
    cases = service.workspace.cases
    case = cases.add(image_id)
    if tag == FINAL and case.state == "done":
        cases.update(case.case_id, CaseUpdate(state="todo"))
    return {}


@router.get("/datastore/label/info")
def label_info(service: Service, label: Name, tag: Name = FINAL) -> JsonObject:
    return service.labels.info(_image_id(service, label), tag)


@router.put("/datastore/label/info")
def put_label_info(
    service: Service, label: Name, tag: Name = FINAL, info: Text = None
) -> JsonObject:
    return service.labels.update_info(_image_id(service, label), tag, parse_params(info))


def _image_id(service: Service, label: str) -> str:
    """The id of the image that a label belongs to; labels go by the names of their images."""
    return service.find_image(label).image.image_id


@router.get("/datastore/dataset")
def dataset(service: Service) -> Response:
    """A zip of all labels, and of the images that are single files."""
    headers = {"Content-Disposition": 'attachment; filename="dataset.zip"'}
    stream = stream_zip(service.labels.list_files())
    return StreamingResponse(stream, media_type="application/zip", headers=headers)


# --- active learning -----------------------------------------------------------------------------


@router.post("/activelearning/{strategy}")
def next_sample(service: Service, strategy: str, options: JsonObject | None = None) -> JsonObject:
    """The next image to label; an empty object when all that can be sent are labelled."""
    if strategy not in STRATEGIES:
        raise NotFound(f"no strategy of that name; choose one of {', '.join(STRATEGIES)}")
    unlabelled = [stored for stored in service.labels.list_unlabelled() if can_send(stored)]
    if not unlabelled:
        return {}
    stored = unlabelled[0]
    if strategy == "random":
        stored = random.choice(unlabelled)
    _, rows, columns = stored.image.shape_zyx
    sample: JsonObject = {
        "id": stored.image.image_id,
        "name": download_name(stored),
        "client_id": text_field(options or {}, "client_id"),
        "bbox": [0, 0, columns, rows],
    }
    if stored.path.is_file():
        sample["checksum"] = f"SHA256:{service.workspace.images.content_hash(stored.path)}"
    return sample


@router.get("/train")
@router.get("/train/")
def training() -> None:
    """404 means that no training is running."""
    raise NotFound("no training is running")


@router.post("/train/{model}")
@router.post("/train/")
def train(model: str = "") -> None:  # noqa: ARG001 - part of the path
    raise NotFound(
        "this server does not train models; run `segscope adapt` and serve the result with "
        "--add-model"
    )


@router.delete("/train")
@router.delete("/train/")
def stop_training() -> JsonObject:
    return {}
