"""A server, its images and its work list."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import numpy as np

from .http import Http
from .session import RemoteSession
from .types import Array, ImageInfo, JsonObject

_LONGEST_NAME = 100


class Client:
    """A server. May be used by several threads; each has its own connection.

    Args:
        url: such as "http://127.0.0.1:8484".
        token: that the server printed when it started; None if it requires none.
        timeout_s: longest wait for a response.

    Attributes:
        http: for requests that have no method here.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 300.0) -> None:
        self.http = Http(url, token, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection of this thread."""
        self.http.close()

    # --- the server ------------------------------------------------------------------------------

    def health(self) -> JsonObject:
        """Version and uptime; requires no token."""
        health: JsonObject = self.http.json("GET", "/v1/health")
        return health

    def project(self) -> JsonObject:
        """Name, labels, window presets, export formats and limits of the project."""
        project: JsonObject = self.http.json("GET", "/v1/project")
        return project

    def models(self) -> list[JsonObject]:
        """Models that sessions may use."""
        models: list[JsonObject] = self.http.json("GET", "/v1/models")
        return models

    def cases(self, state: str | None = None) -> list[JsonObject]:
        """The work list, optionally only the cases in one state."""
        query = ""
        if state is not None:
            query = f"?state={quote(state)}"
        cases: list[JsonObject] = self.http.json("GET", f"/v1/cases{query}")
        return cases

    def next_case(self, after: int | None = None, *, by: str = "order") -> JsonObject:
        """The next case to do after another, in an order of the work list.

        Args:
            after: number of a case.
            by: "order" of the list, "uncertain", "unlike" the examples, or "easy".

        Raises:
            ServerError: no case is left to do.
        """
        query: dict[str, object] = {"by": by}
        if after is not None:
            query["after"] = after
        case: JsonObject = self.http.json("GET", f"/v1/cases/next?{urlencode(query)}")
        return case

    # --- examples --------------------------------------------------------------------------------

    def examples(self, model: str | None = None) -> JsonObject:
        """What answers learn from, label by label."""
        examples: JsonObject = self.http.json("GET", _examples_path("", model=model))
        return examples

    def forget_examples(self, label: str | None = None, *, model: str | None = None) -> JsonObject:
        """Forget the examples of a label, or all; the masks stay."""
        path = _examples_path("", model=model, label=label)
        examples: JsonObject = self.http.json("DELETE", path)
        return examples

    def rebuild_examples(self, *, model: str | None = None) -> JsonObject:
        """Learn again from every accepted mask of the project; the job that does it."""
        job: JsonObject = self.http.json("POST", _examples_path("/rebuild", model=model))
        return job

    def list_suspects(
        self, label: str | None = None, *, model: str | None = None
    ) -> list[JsonObject]:
        """Accepted masks that all other examples contradict, worst first."""
        path = _examples_path("/suspects", model=model, label=label)
        suspects: list[JsonObject] = self.http.json("GET", path)
        return suspects

    def download_examples(
        self, path: str | Path, label: str | None = None, *, model: str | None = None
    ) -> Path:
        """Write the examples of a label, or all, to a file for other projects and `--like`."""
        _, data = self.http.request("GET", _examples_path("/file", model=model, label=label))
        target = Path(path)
        target.write_bytes(data)
        return target

    def upload_examples(self, path: str | Path, *, model: str | None = None) -> JsonObject:
        """Add the examples of a file; what there is to learn from then."""
        headers = {"Content-Type": "application/octet-stream"}
        data = Path(path).read_bytes()
        _, content = self.http.request("POST", _examples_path("/file", model=model), data, headers)
        examples: JsonObject = json.loads(content)
        return examples

    # --- images ----------------------------------------------------------------------------------

    def images(self) -> list[ImageInfo]:
        """All images of the project."""
        return list(map(ImageInfo.from_json, self.http.json("GET", "/v1/images")))

    def image(self, image_id: str) -> ImageInfo:
        """One image."""
        return ImageInfo.from_json(self.http.json("GET", f"/v1/images/{quote(image_id)}"))

    def refer(self, path: str, root: int = 0, **choice: str | int | None) -> ImageInfo:
        """An image below a root of the server, by its path relative to the root.

        Args:
            path: relative to the root.
            root: number of the root.
            choice: series, volume or channel, where the path holds several images.
        """
        return self._resolve({"root": root, "path": path, **choice})

    def fetch(self, study: str, series: str | None = None, root: int = 0) -> ImageInfo:
        """An image of a DICOMweb archive of the server, by its UIDs."""
        reference = study
        if series is not None:
            reference = f"{study}/{series}"
        return self._resolve({"root": root, "dicomweb": reference})

    def _resolve(self, reference: JsonObject) -> ImageInfo:
        return ImageInfo.from_json(self.http.json("POST", "/v1/images/reference", reference))

    def studies(self, root: int = 0, **filters: str) -> list[JsonObject]:
        """Studies of a DICOMweb archive of the server.

        Args:
            root: number of the archive.
            filters: patient_id, patient_name, date, modality, limit.
        """
        path = f"/v1/dicomweb/{root}/studies?{urlencode(filters)}"
        studies: list[JsonObject] = self.http.json("GET", path)
        return studies

    def upload(self, *paths: str | Path) -> ImageInfo:
        """Upload one file, or the files of a series. Equal content has an equal `image_id`."""
        return ImageInfo.from_json(self.http.upload("/v1/images", list(map(Path, paths))))

    def upload_array(
        self,
        array: Array,
        *,
        spacing_zyx_mm: Sequence[float] | None = None,
        affine: Array | None = None,
        name: str = "image",
    ) -> ImageInfo:
        """Upload an array (row, column[, colour]) or (frame, row, column[, colour]).

        Args:
            array: numbers; colours are the last axis, three or four of them.
            spacing_zyx_mm: of a volume; without it, and without an affine, several frames are a
                video.
            affine: (4, 4) from voxel index (x, y, frame) to RAS+ millimetres.
            name: name of the image in the work list.
        """
        arrays = {"imgs": np.asarray(array)}
        if spacing_zyx_mm is not None:
            arrays["spacing"] = np.array(spacing_zyx_mm, np.float64)[::-1]
        if affine is not None:
            arrays["affine"] = np.asarray(affine, np.float64)
        with tempfile.TemporaryDirectory(prefix="segscope-") as folder:
            path = Path(folder) / f"{_file_name(name)}.npz"
            np.savez_compressed(path, allow_pickle=False, **arrays)
            return self.upload(path)

    def frame(self, image_id: str, frame: int, axis: int = 0) -> Array:
        """Stored numbers of a frame."""
        return self.http.array(f"/v1/images/{quote(image_id)}/raw/{frame}?axis={axis}")

    def volume(self, image_id: str, step: int = 1) -> Array:
        """Stored numbers of the whole stack, every `step`-th along each axis."""
        return self.http.array(f"/v1/images/{quote(image_id)}/volume?step={step}")

    # --- sessions --------------------------------------------------------------------------------

    def open(
        self, image_id: str, *, annotator: str = "", take_over: bool = False, **options: object
    ) -> RemoteSession:
        """Open the annotator's session on an image; see docs/annotate.md for the options."""
        body = {"image_id": image_id, "annotator": annotator, "take_over": take_over, **options}
        return RemoteSession(self.http, self.http.json("POST", "/v1/sessions", body))


def _examples_path(path: str, **query: str | None) -> str:
    """A path below that of the examples, with the parameters that are not None."""
    chosen = {name: value for name, value in query.items() if value is not None}
    return f"/v1/examples{path}?{urlencode(chosen)}"


def _file_name(name: str) -> str:
    """A name with the characters that every file system accepts."""
    return re.sub(r"[^\w -]", "_", name)[:_LONGEST_NAME].strip() or "image"
