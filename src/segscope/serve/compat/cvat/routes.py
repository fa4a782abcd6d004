"""What CVAT asks a Nuclio server for: a list of functions, and their invocation.

CVAT shows each model that answers prompts as an interactor. Points are in pixels of the picture,
counted from its upper left corner, as everywhere in segscope.
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field

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


@router.get("/api/functions")
def functions(service: Service) -> dict[str, JsonObject]:
    """All models that answer prompts, by the names of their functions."""
    models = service.workspace.engines.list_models()
    return {
        f"{PREFIX}{model.name}": _describe(model)
        for model in models
        if model.available and model.prompts
    }


@router.get("/api/functions/{name}")
def function(service: Service, name: str) -> JsonObject:
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
    """The mask of the object that the prompts mean, as rows of 0 and 1 of the whole picture."""
    function(service, name)
    answer = service.answer(name.removeprefix(PREFIX), body.image, body.prompts())
    content = json.dumps({"mask": answer.mask.astype(int).tolist()})
    return Response(content, media_type="application/json")


def _describe(model: ServedModel) -> JsonObject:
    """A model as Nuclio describes its functions; all annotations are texts."""
    annotations: JsonObject = {
        "name": f"segscope: {model.name}",
        "type": "interactor",
        "version": "2",
        "spec": "",
        "min_pos_points": "0",
        "min_neg_points": "0",
        "startswith_box": "true",
        "startswith_box_optional": "true",
        "help_message": "Draw a box, or click on the object; further clicks correct the mask",
        "animated_gif": "",
    }
    return {
        "metadata": {"name": f"{PREFIX}{model.name}", "annotations": annotations},
        "status": {"state": "ready"},
        "spec": {"description": model.note},
    }
