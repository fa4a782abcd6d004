"""What CVAT asks a Nuclio server for: a list of functions, and their invocation.

CVAT shows each model that answers prompts as an interactor, and each one that finds its classes
without prompts as a detector. Points are in pixels of the picture, counted from its upper left
corner, as everywhere in segscope.
"""

from __future__ import annotations

import json
from typing import Annotated, TypedDict

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field, JsonValue

from segscope.masks import Masks
from segscope.prompts import Box, Point, Prompt
from segscope.serve.answers import ServedModel
from segscope.serve.compat.pictures import Pictures
from segscope.serve.errors import NotFound
from segscope.serve.json_object import JsonObject

router = APIRouter(include_in_schema=False)
PREFIX = "segscope-"  # of the names of functions


def get_pictures(request: Request) -> Pictures:
    """The pictures of the running server."""
    pictures: Pictures = request.app.state.cvat
    return pictures


Service = Annotated[Pictures, Depends(get_pictures)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class FunctionMetadata(TypedDict):
    """Name and annotations of a function; all annotations are texts."""

    name: str
    annotations: dict[str, str]


class Function(TypedDict):
    """A model as Nuclio describes its functions."""

    metadata: FunctionMetadata
    status: dict[str, str]
    spec: dict[str, str]


class Invocation(BaseModel):
    """The prompts of one object.

    Attributes:
        image: PNG or JPEG in base64.
        pos_points, neg_points: clicks (x, y) on the object and beside it.
        obj_bbox: the upper left and the lower right corner of a box, or neither.
    """

    image: str
    pos_points: list[Pair] = []
    neg_points: list[Pair] = []
    obj_bbox: list[Pair] | None = None

    def prompts(self) -> list[Prompt]:
        """The prompts, of object 1 on frame 0."""
        prompts: list[Prompt] = []
        if self.obj_bbox and len(self.obj_bbox) == 2:
            (x0, y0), (x1, y1) = self.obj_bbox
            prompts.append(Box((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))))
        prompts += [Point(x, y) for x, y in self.pos_points]
        prompts += [Point(x, y, positive=False) for x, y in self.neg_points]
        return prompts


@router.get("/api/functions", response_model=None)
def functions(service: Service) -> dict[str, Function]:
    """All models that need no download, by the names of their functions."""
    models = service.workspace.engines.list_models()
    return {f"{PREFIX}{model.name}": _describe(model) for model in models if model.available}


@router.get("/api/functions/{name}", response_model=None)
def function(service: Service, name: str) -> Function:
    """One of these models."""
    known = functions(service)
    if name not in known:
        raise NotFound(f"no function of that name; there are {', '.join(known)}")
    return known[name]


@router.post("/api/function_invocations")
def invoke(
    service: Service,
    body: Invocation,
    name: Annotated[str, Header(alias="x-nuclio-function-name")] = "",
) -> Response:
    """The mask of the object that the prompts mean, as rows of 0 and 1 of the whole picture; or the
    masks of the classes that a detector finds.
    """
    annotations = function(service, name)["metadata"]["annotations"]
    model = name.removeprefix(PREFIX)
    result: object
    if annotations["type"] == "detector":
        result = _detections(service.find_everything(model, body.image))
    else:
        answer = service.answer(model, body.image, body.prompts())
        result = {"mask": answer.mask.astype(int).tolist()}
    return Response(json.dumps(result), media_type="application/json")


def _detections(masks: Masks) -> list[JsonObject]:
    """The masks of classes; each as its pixels inside a box, and the box with its last pixels."""
    detections: list[JsonObject] = []
    for object_id in masks.object_ids:
        mask = masks.mask(0, object_id)
        if not mask.any():
            continue
        x0, y0, x1, y1 = map(int, Box.around(mask).xyxy)
        pixels: list[JsonValue] = mask[y0:y1, x0:x1].astype(int).ravel().tolist()
        detections.append(
            {
                "label": masks.names[object_id],
                "confidence": str(masks.scores.get((0, object_id), 1.0)),
                "type": "mask",
                "points": [x0, y0, x1, y0, x1, y1, x0, y1],
                "mask": [*pixels, x0, y0, x1 - 1, y1 - 1],
            }
        )
    return detections


def _describe(model: ServedModel) -> Function:
    annotations = {"name": f"segscope: {model.name}", "version": "2", "animated_gif": ""}
    if model.prompts:
        annotations |= {
            "type": "interactor",
            "spec": "",
            "min_pos_points": "0",
            "min_neg_points": "0",
            "startswith_box": "true",
            "startswith_box_optional": "true",
            "help_message": "Draw a box, or click on the object; further clicks correct the mask",
        }
    else:
        labels = [
            {"id": number, "name": name, "type": "mask"}
            for number, name in enumerate(model.classes)
        ]
        annotations |= {"type": "detector", "spec": json.dumps(labels), "help_message": ""}
    return {
        "metadata": {"name": f"{PREFIX}{model.name}", "annotations": annotations},
        "status": {"state": "ready"},
        "spec": {"description": model.note},
    }
