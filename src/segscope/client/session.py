"""The session of one annotator on one image."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from .http import Http, NotReachable, ServerError
from .types import Array, JsonObject, MaskUpdate, OpenedSession, SessionUpdate, pack_mask

Click = tuple[float, float, int]
"""x, y, and 1 for a positive or 0 for a negative click."""
BoxCorners = tuple[float, float, float, float]
"""x0, y0, x1, y1."""
PromptJson = Mapping[str, Any]
"""A prompt as prompt files have it."""
_BEATS_PER_TIMEOUT = 3


class RemoteSession:
    """The session of one annotator on one image, as a context manager that releases its lease.

    The work is stored on the server after every command.
    """

    def __init__(self, http: Http, opened: OpenedSession) -> None:
        self.session_id = opened["session_id"]
        self.resumed = opened["resumed"]
        self._http = http
        self._lease = {"X-Lease": opened["lease"]}
        self._heartbeat_s = max(1.0, opened["liveness_s"] / _BEATS_PER_TIMEOUT)
        self._closed = threading.Event()
        threading.Thread(
            target=self._send_heartbeats, name="segscope-heartbeat", daemon=True
        ).start()

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
        """Release the lease."""
        if not self._closed.is_set():
            self._closed.set()
            with contextlib.suppress(ServerError):  # the lease ends by itself, too
                self._json("DELETE", "")

    # --- reading ---------------------------------------------------------------------------------

    def state(self) -> JsonObject:
        """Everything about the session but pixels."""
        state: JsonObject = self._json("GET", "/state")
        return state

    def prompts(self) -> dict[tuple[int, int], list[JsonObject]]:
        """Prompts by (frame, object), as prompt files have them."""
        prompts: dict[tuple[int, int], list[JsonObject]] = {}
        for entry in self._json("GET", "/prompts")["objects"]:
            for prompt in entry["prompts"]:
                key = (prompt.get("frame", 0), entry["id"])
                prompts.setdefault(key, []).append(prompt)
        return prompts

    def masks(self, frame: int) -> list[MaskUpdate]:
        """Masks of a frame."""
        return list(map(MaskUpdate.from_json, self._json("GET", f"/masks?frame={frame}")))

    def labels(self, frame: int | None = None) -> Array:
        """Label map of a frame, or of all frames (frame, row, column)."""
        query = ""
        if frame is not None:
            query = f"?frame={frame}"
        return self._http.array(self._path(f"/labels{query}"))

    def list_doubts(self, count: int = 50) -> list[JsonObject]:
        """The masks to review next, most doubtful first."""
        queue: list[JsonObject] = self._json("GET", f"/review?count={count}")
        return queue

    def export(
        self, format_name: str, path: str | Path, objects: Sequence[int] | None = None
    ) -> Path:
        """Write the masks to a file, exactly as displayed."""
        query = {"format": format_name}
        if objects is not None:
            query["objects"] = ",".join(map(str, objects))
        _, data = self._http.request("GET", self._path(f"/export?{urlencode(query)}"))
        target = Path(path)
        target.write_bytes(data)
        return target

    def store(
        self, format_name: str = "dicom-seg", root: int = 0, objects: Sequence[int] | None = None
    ) -> dict[str, str]:
        """Store the masks in a DICOMweb archive of the server, also as "rtstruct".

        Returns:
            the UIDs of the stored study, series and instance.
        """
        numbers = None
        if objects is not None:
            numbers = list(objects)
        body = {"root": root, "format": format_name, "objects": numbers}
        uids: dict[str, str] = self._json("POST", "/dicomweb", body)
        return uids

    # --- commands --------------------------------------------------------------------------------

    def predict(
        self,
        frame: int = 0,
        object_id: int = 1,
        *,
        points: Sequence[Click] = (),
        boxes: Sequence[BoxCorners] = (),
        prompts: Sequence[PromptJson] = (),
        **options: object,
    ) -> SessionUpdate:
        """Add prompts for an object on a frame."""
        body = _prompt_fields(points, boxes, prompts)
        return self._command("predict", frame=frame, object_id=object_id, **body, **options)

    def hover(
        self,
        frame: int = 0,
        object_id: int = 1,
        *,
        points: Sequence[Click] = (),
        boxes: Sequence[BoxCorners] = (),
        prompts: Sequence[PromptJson] = (),
        **options: object,
    ) -> SessionUpdate:
        """What `predict` would return; the session does not change."""
        body = _prompt_fields(points, boxes, prompts)
        return self._command("hover", frame=frame, object_id=object_id, **body, **options)

    def replace(self, frame: int, object_id: int, prompts: Sequence[PromptJson]) -> SessionUpdate:
        """Replace the prompts of an object on a frame."""
        return self._command("replace", frame=frame, object_id=object_id, prompts=list(prompts))

    def choose(self, frame: int, object_id: int, index: int) -> SessionUpdate:
        """Choose another of the candidate masks."""
        return self._command("choose", frame=frame, object_id=object_id, index=index)

    def clear(self, frame: int, object_id: int) -> SessionUpdate:
        """Delete the prompts and the mask of an object on a frame."""
        return self._command("clear", frame=frame, object_id=object_id)

    def set_mask(self, frame: int, object_id: int, mask: NDArray[np.bool_]) -> SessionUpdate:
        """Set the mask (row, column) of an object on a frame."""
        prompt = {"type": "mask", "size_hw": list(mask.shape), "bits": pack_mask(mask)}
        return self.predict(frame, object_id, prompts=[prompt])

    def paint(
        self,
        frame: int,
        object_id: int,
        xy: Sequence[tuple[float, float]],
        width: float,
        *,
        erase: bool = False,
    ) -> SessionUpdate:
        """Paint, or erase, a stroke of a round brush."""
        stroke = {"xy": list(map(list, xy)), "width": width}
        return self._command(
            "paint", frame=frame, object_id=object_id, strokes=[stroke], erase=erase
        )

    def accept(
        self,
        frames: Sequence[int],
        object_ids: Sequence[int] | None = None,
        *,
        accepted: bool = True,
    ) -> SessionUpdate:
        """Freeze the masks on frames, or unfreeze them.

        Args:
            frames: numbers of the frames.
            object_ids: whose masks, which count as reviewed; None for all, among which suggestions
                are accepted in bulk.
            accepted: False unfreezes them.
        """
        chosen = None
        if object_ids is not None:
            chosen = list(object_ids)
        return self._command("accept", frames=list(frames), object_ids=chosen, accepted=accepted)

    def accept_suggestions(
        self,
        above: float,
        *,
        frames: Sequence[int] | None = None,
        label: str | None = None,
    ) -> SessionUpdate:
        """Accept all suggestions of at least a confidence; they teach after `review` only."""
        chosen = None
        if frames is not None:
            chosen = list(frames)
        return self._command("accept_suggestions", above=above, frames=chosen, label=label)

    def reject(self, object_ids: Sequence[int]) -> SessionUpdate:
        """Remove objects whose masks are wrong; they become negative examples of their labels."""
        return self._command("reject", object_ids=list(object_ids))

    def review(self, object_ids: Sequence[int]) -> SessionUpdate:
        """State that a person has looked at objects accepted in bulk; they teach from now on."""
        return self._command("review", object_ids=list(object_ids))

    def learn(self, learns: bool = True) -> JsonObject:
        """Let the answers of this session learn from examples, or not."""
        learning: JsonObject = self._json("PUT", "/learning", {"learns": learns})
        return learning

    def undo(self, frame: int | None = None) -> SessionUpdate:
        """Undo the latest command."""
        return self._command("undo", frame=frame)

    def redo(self, frame: int | None = None) -> SessionUpdate:
        """Redo the command that was undone last."""
        return self._command("redo", frame=frame)

    def describe(self, object_id: int, **fields: object) -> SessionUpdate:
        """Change the label, colour, code, locked, visible or comment of an object."""
        return SessionUpdate.from_json(self._json("PATCH", f"/objects/{object_id}", fields))

    def remove(self, object_id: int, *, force: bool = False) -> SessionUpdate:
        """Delete an object."""
        query = urlencode({"force": str(force).lower()})
        return SessionUpdate.from_json(self._json("DELETE", f"/objects/{object_id}?{query}"))

    # --- jobs ------------------------------------------------------------------------------------

    def propagate(self, **options: object) -> Iterator[MaskUpdate]:
        """Track objects from frame to frame; updates arrive as frames are done.

        Leaving the loop cancels the rest. Options: objects, direction, start, within, rules; see
        docs/annotate.md.

        Raises:
            ServerError: the propagation failed.
        """
        yield from self._follow_job(self._json("POST", "/propagate", options)["job_id"])

    def everything(
        self, frame: int = 0, *, model: str | None = None, whole: bool = False
    ) -> list[int]:
        """Segment everything on a frame without prompts, where there are no objects yet.

        Args:
            frame: the frame to segment.
            model: another model than the session's; one without prompts finds its classes.
            whole: segment all frames; only for such a model.

        Returns:
            ids of the objects that were created or grew.

        Raises:
            ServerError: it failed.
        """
        body = {"frame": frame, "model": model, "whole": whole}
        return self._list_objects(self._json("POST", "/everything", body)["job_id"])

    def find_all(
        self, frame: int = 0, *, labels: Sequence[str] | None = None, whole: bool = False
    ) -> list[int]:
        """Find all objects like the accepted ones; they wait as suggestions.

        Args:
            frame: the frame to search.
            labels: of the objects; None for all with accepted objects.
            whole: search all frames.

        Returns:
            ids of the suggestions.

        Raises:
            ServerError: it failed, or nothing is accepted yet.
        """
        chosen = None
        if labels is not None:
            chosen = list(labels)
        body = {"frame": frame, "labels": chosen, "whole": whole}
        return self._list_objects(self._json("POST", "/find_all", body)["job_id"])

    def _list_objects(self, job_id: str) -> list[int]:
        """Ids of the objects of a job, after its end."""
        for _ in self._follow_job(job_id):
            pass
        result = self._http.json("GET", f"/v1/jobs/{job_id}")["result"]
        return list(map(int, result["objects"]))

    def _follow_job(self, job_id: str) -> Iterator[MaskUpdate]:
        """Updates of a job as they arrive; leaving the loop cancels it."""
        has_ended = False
        try:
            for header, payload in self._http.stream(f"/v1/jobs/{job_id}/frames"):
                if header["type"] == "mask":
                    yield MaskUpdate.from_packet(header, payload)
                    continue
                has_ended = True
                if header["state"] == "failed":
                    raise ServerError(500, header["detail"], "JobFailed")
        finally:
            if not has_ended:
                self._http.json("DELETE", f"/v1/jobs/{job_id}")
            self._http.close()  # the connection of this thread, which may exist for this job only

    # --- requests --------------------------------------------------------------------------------

    def _command(self, action: str, **body: object) -> SessionUpdate:
        return SessionUpdate.from_json(self._json("POST", f"/{action}", body))

    def _json(self, method: str, path: str, body: object = None) -> Any:
        return self._http.json(method, self._path(path), body, self._lease)

    def _path(self, path: str) -> str:
        return f"/v1/sessions/{self.session_id}{path}"

    def _send_heartbeats(self) -> None:
        while not self._closed.wait(self._heartbeat_s):
            try:
                self._json("POST", "/heartbeat")
            except NotReachable:
                continue  # the server may come back
            except ServerError:
                return
            finally:
                self._http.close()  # the connection of this thread


def _prompt_fields(
    points: Sequence[Click], boxes: Sequence[BoxCorners], prompts: Sequence[PromptJson]
) -> JsonObject:
    return {
        "points": [[float(x), float(y), int(positive)] for x, y, positive in points],
        "boxes": [list(map(float, box)) for box in boxes],
        "prompts": list(prompts),
    }
