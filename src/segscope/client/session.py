"""The work of one annotator on one image."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from .client import Client, NotReachable, ServerError
from .types import Answer, MaskPart, pack

Point = tuple[float, float, int]
Box = tuple[float, float, float, float]


class Session:
    """The work of one annotator on one image. Leaving the block gives the lease back; the work is
    on the server.
    """

    def __init__(self, client: Client, opened: Mapping[str, Any]) -> None:
        self.client = client
        self.session_id = str(opened["session_id"])
        self.resumed = bool(opened["resumed"])
        self._lease = {"X-Lease": str(opened["lease"])}
        self._beats = max(1.0, float(opened["liveness_s"]) / 3)
        self._stop = threading.Event()
        threading.Thread(target=self._beat, name="segscope-heartbeat", daemon=True).start()

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
        """Give the lease back."""
        if not self._stop.is_set():
            self._stop.set()
            with contextlib.suppress(ServerError):  # it ends by itself, too
                self._json("DELETE", "")

    # --- looking ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything but pixels."""
        return self._json("GET", "/state")

    def prompts(self) -> dict[tuple[int, int], list[dict[str, Any]]]:
        """Prompts by (frame, object), as prompt files have them."""
        found: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for entry in self._json("GET", "/prompts")["objects"]:
            for prompt in entry["prompts"]:
                found.setdefault((prompt.get("frame", 0), entry["id"]), []).append(prompt)
        return found

    def masks(self, frame: int) -> list[MaskPart]:
        """Masks of a frame."""
        rows = self._json("GET", f"/masks?frame={frame}")
        return [MaskPart.of(row, base64.b64decode(row["data"])) for row in rows]

    def labels(self, frame: int | None = None) -> NDArray[Any]:
        """Label map of a frame, or of all (frame, row, column)."""
        if frame is None:
            query = ""
        else:
            query = f"?frame={frame}"
        return self.client.array(f"/v1/sessions/{self.session_id}/labels{query}")

    def review(self, count: int = 50) -> list[dict[str, Any]]:
        """Where to look next."""
        return self._json("GET", f"/review?count={count}")

    def export(
        self, format_name: str, path: str | Path, objects: Sequence[int] | None = None
    ) -> Path:
        """Write the masks to a file, exactly as shown."""
        query = {"format": format_name}
        if objects is not None:
            query["objects"] = ",".join(map(str, objects))
        _, data = self.client.ask(
            "GET", f"/v1/sessions/{self.session_id}/export?{urlencode(query)}", None, {}
        )
        Path(path).write_bytes(data)
        return Path(path)

    def store(
        self, format_name: str = "dicom-seg", root: int = 0, objects: Sequence[int] | None = None
    ) -> dict[str, str]:
        """Send the masks to a DICOMweb archive of the server, also as "rtstruct"; the UIDs they
        have there.
        """
        body = {
            "root": root,
            "format": format_name,
            "objects": None if objects is None else list(objects),
        }
        return self._json("POST", "/dicomweb", body)

    # --- commands --------------------------------------------------------------------------------

    def predict(
        self,
        frame: int = 0,
        object_id: int = 1,
        *,
        points: Sequence[Point] = (),
        boxes: Sequence[Box] = (),
        prompts: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> Answer:
        """Prompts in, masks out. Points are (x, y, 1 for here or 0 for not here)."""
        return self._answer("predict", _prompts(frame, object_id, points, boxes, prompts, options))

    def hover(
        self,
        frame: int = 0,
        object_id: int = 1,
        *,
        points: Sequence[Point] = (),
        boxes: Sequence[Box] = (),
        prompts: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> Answer:
        """What `predict` would give; nothing is kept."""
        return self._answer("hover", _prompts(frame, object_id, points, boxes, prompts, options))

    def replace(self, frame: int, object_id: int, prompts: Sequence[Mapping[str, Any]]) -> Answer:
        """Other prompts in the place of those of an object on a frame."""
        return self._answer(
            "replace", {"frame": frame, "object_id": object_id, "prompts": list(prompts)}
        )

    def choose(self, frame: int, object_id: int, index: int) -> Answer:
        """Another of the candidates."""
        return self._answer("choose", {"frame": frame, "object_id": object_id, "index": index})

    def clear(self, frame: int, object_id: int) -> Answer:
        """Forget prompts and mask of an object on a frame."""
        return self._answer("clear", {"frame": frame, "object_id": object_id})

    def set_mask(self, frame: int, object_id: int, mask: NDArray[np.bool_]) -> Answer:
        """Take a mask (row, column) of the frame's size as it is."""
        prompt = {"type": "mask", "size_hw": list(mask.shape), "bits": pack(mask)}
        return self.predict(frame, object_id, prompts=[prompt])

    def paint(
        self,
        frame: int,
        object_id: int,
        xy: Sequence[tuple[float, float]],
        width: float,
        *,
        erase: bool = False,
    ) -> Answer:
        """A stroke of a round brush."""
        strokes = [{"xy": [list(pair) for pair in xy], "width": width}]
        return self._answer(
            "paint", {"frame": frame, "object_id": object_id, "strokes": strokes, "erase": erase}
        )

    def accept(self, frames: Sequence[int], *, accepted: bool = True) -> Answer:
        """Freeze what is shown on frames, or thaw it."""
        return self._answer("accept", {"frames": list(frames), "accepted": accepted})

    def undo(self, frame: int | None = None) -> Answer:
        """Take back the latest command."""
        return self._answer("undo", {"frame": frame})

    def redo(self, frame: int | None = None) -> Answer:
        """Do again what was undone last."""
        return self._answer("redo", {"frame": frame})

    def describe(self, object_id: int, **about: Any) -> Answer:
        """Label, colour, code, locked, visible, comment of an object."""
        return Answer.of(self._json("PATCH", f"/objects/{object_id}", about))

    def remove(self, object_id: int, *, force: bool = False) -> Answer:
        """Forget an object."""
        return Answer.of(self._json("DELETE", f"/objects/{object_id}?force={str(force).lower()}"))

    def propagate(self, **options: Any) -> Iterator[MaskPart]:
        """Carry objects from frame to frame; parts come as they are found. Leaving the loop
        cancels.

        Options: objects, direction, start, within, rules; see docs/annotate.md.

        Raises:
            ServerError: it failed.
        """
        yield from self._parts(self._json("POST", "/propagate", options)["job_id"])

    def everything(
        self, frame: int = 0, *, model: str | None = None, whole: bool = False
    ) -> list[int]:
        """Find objects without prompts, where there are none yet; ids of those that were made or
        grew.

        Args:
            frame: to look at.
            model: another than the session's; one that takes no prompts finds its classes.
            whole: look at all frames; for such a model only.

        Raises:
            ServerError: it failed.
        """
        job = self._json("POST", "/everything", {"frame": frame, "model": model, "whole": whole})[
            "job_id"
        ]
        for _ in self._parts(job):
            pass
        return [
            int(number)
            for number in self.client.json("GET", f"/v1/jobs/{job}")["result"]["objects"]
        ]

    def _parts(self, job: str) -> Iterator[MaskPart]:
        """Masks of a job as they are found; leaving the loop cancels it."""
        over = False
        try:
            for header, payload in self.client.stream(f"/v1/jobs/{job}/frames"):
                if header["type"] == "mask":
                    yield MaskPart.of(header, payload)
                elif header["state"] == "failed":
                    over = True
                    raise ServerError(500, header["detail"], "JobFailed")
                else:
                    over = True
        finally:
            if not over:
                self.client.json("DELETE", f"/v1/jobs/{job}")
            self.client.close()  # of this thread, which may have been made for it

    def _answer(self, action: str, body: Mapping[str, Any]) -> Answer:
        return Answer.of(self._json("POST", f"/{action}", body))

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        return self.client.json(method, f"/v1/sessions/{self.session_id}{path}", body, self._lease)

    def _beat(self) -> None:
        while not self._stop.wait(self._beats):
            try:
                self._json("POST", "/heartbeat")
            except NotReachable:
                continue  # the server may come back
            except ServerError:
                return
            finally:
                self.client.close()  # of this thread


def _prompts(
    frame: int,
    object_id: int,
    points: Sequence[Point],
    boxes: Sequence[Box],
    prompts: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "frame": frame,
        "object_id": object_id,
        "points": [[float(x), float(y), int(here)] for x, y, here in points],
        "boxes": [[float(value) for value in box] for box in boxes],
        "prompts": list(prompts),
        **options,
    }
