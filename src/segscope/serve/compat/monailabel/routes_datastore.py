"""MONAI Label's data store and what it asks of it: images, labels, what to label next."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Request, Response, UploadFile

from segscope.serve.compat.monailabel.dependencies import At, Name, Text, file_answer, said, saved
from segscope.serve.compat.monailabel.label_files import FINAL
from segscope.serve.compat.monailabel.service import labels_of
from segscope.serve.errors import Busy, NotFound

router = APIRouter(include_in_schema=False)
STRATEGIES = {
    "first": "the first image without a final label",
    "random": "any image without a final label",
}

# --- the data store ------------------------------------------------------------------------------


@router.get("/datastore")
@router.get("/datastore/")
def datastore(at: At, output: Name = "all") -> Any:
    if output == "stats":
        return at.labels.counts()
    listing = at.labels.listing({})
    if output == "train":
        pairs = [
            (key, tag)
            for key, entry in listing["objects"].items()
            for tag in entry["labels"]
            if tag == FINAL
        ]
        return [{"image": key, "label": f"labels/{tag}/{key}"} for key, tag in pairs]
    return listing


@router.put("/datastore")
@router.put("/datastore/")
@router.put("/datastore/image")
def put_image(
    at: At,
    file: Annotated[UploadFile, File()],
    image: Name = "",
    params: Text = None,
) -> dict[str, Any]:
    """Take an image for good; it becomes a case of the work list."""
    said(params)
    with saved(at, [file]) as found:
        return {"image": at.keep(found, image)}


@router.api_route("/datastore/image", methods=["GET", "HEAD"])
def get_image(at: At, request: Request, image: Name, check_sum: Name = "") -> Response:
    path = Path(at.image(image)["path"])
    if request.method == "HEAD" and check_sum:
        algorithm, _, wanted = check_sum.partition(":")
        known = path.is_file() and algorithm.lower() == "sha256"
        if not known or hashlib.sha256(path.read_bytes()).hexdigest() != wanted.lower():
            raise NotFound("the image is another one")
    return file_answer(path)


@router.delete("/datastore/image")
def delete_image(at: At, image: Name) -> dict[str, Any]:
    """Images of a project stay: work may hang on them."""
    at.image(image)
    raise Busy("images are not removed through this door; delete them in the project")


@router.get("/datastore/image/info")
def image_info(at: At, image: Name) -> dict[str, Any]:
    row = at.image(image)
    return {"name": row["name"], **row["meta"]}


@router.put("/datastore/image/info")
def put_image_info(at: At, image: Name, info: Text = None) -> dict[str, Any]:
    """Notes on images go to the work list's comment."""
    row = at.image(image)
    notes = said(info)
    case = at.workspace.cases.add(row["id"])
    at.workspace.cases.change(
        case["case_id"], comment=str(notes.get("comment", case["comment"]))[:4000]
    )
    return {}


@router.put("/datastore/label")
@router.put("/datastore/label/")
def put_label(
    at: At,
    image: Name,
    label: Annotated[UploadFile, File()],
    tag: Name = FINAL,
    params: Text = None,
) -> dict[str, Any]:
    """Keep a label; raw bytes (OHIF's label.bin) become a file that others can read."""
    row = at.image(image)
    notes = said(params)
    name = label.filename or "label.nrrd"
    data = label.file.read()
    if name.endswith(".bin"):
        z, y, x = row["meta"]["shape_zyx"]
        name, data = at.written(labels_of(data, (z, y, x)), row, {"result_extension": ".nrrd"})
    at.labels.save(row, tag or FINAL, name, data, {"params": notes, "name": name})
    case = at.workspace.cases.add(row["id"])
    if (tag or FINAL) == FINAL:
        at.workspace.cases.change(
            case["case_id"], state="done", annotator=str(notes.get("client_id") or "")[:200]
        )
    return {"image": row["id"], "label": row["id"]}


@router.api_route("/datastore/label", methods=["GET", "HEAD"])
def get_label(at: At, label: Name, tag: Name = FINAL) -> Response:
    return file_answer(at.labels.file(at.image(label)["id"], tag))


@router.delete("/datastore/label")
def delete_label(at: At, label: Name, tag: Name = FINAL) -> dict[str, Any]:
    at.labels.remove(at.image(label)["id"], tag)
    return {}


@router.get("/datastore/label/info")
def label_info(at: At, label: Name, tag: Name = FINAL) -> dict[str, Any]:
    return at.labels.info(at.image(label)["id"], tag)


@router.put("/datastore/label/info")
def put_label_info(at: At, label: Name, tag: Name = FINAL, info: Text = None) -> dict[str, Any]:
    return at.labels.info(at.image(label)["id"], tag, said(info))


@router.get("/datastore/dataset")
def dataset(at: At) -> Response:
    data = at.labels.archive(at.workspace.settings.limits.volume_bytes)
    headers = {"Content-Disposition": 'attachment; filename="dataset.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


# --- what to do next -----------------------------------------------------------------------------


@router.post("/activelearning/{strategy}")
def next_sample(at: At, strategy: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
    """The next image to label; empty when all are."""
    if strategy not in STRATEGIES:
        raise NotFound(f"no strategy of that name; there are {', '.join(STRATEGIES)}")
    rows = at.labels.unlabelled()
    if not rows:
        return {}
    if strategy == "random":
        row = random.choice(rows)
    else:
        row = rows[0]
    path = Path(row["path"])
    if path.is_file():
        checksum = {"checksum": f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}"}
    else:
        checksum = {}
    shape = row["meta"]["shape_zyx"]
    client = str((asked or {}).get("client_id") or "")
    return {
        "id": row["id"],
        "name": row["name"],
        "client_id": client,
        "bbox": [0, 0, shape[2], shape[1]],
        **checksum,
    }


@router.get("/train")
@router.get("/train/")
def training() -> None:
    """404: nothing is trained here."""
    raise NotFound("no training is running")


@router.post("/train/{model}")
@router.post("/train/")
def train(model: str = "") -> None:  # noqa: ARG001
    raise NotFound(
        "this server trains nothing; `segscope adapt` does, and its result can be served with --add-model"
    )


@router.delete("/train")
@router.delete("/train/")
def stop_training() -> dict[str, Any]:
    return {}
