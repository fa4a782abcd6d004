"""What QuPath's extension for SAM can do on a workspace: pictures in, outlines out."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from segscope.errors import PromptError, UsageError
from segscope.predict import everything
from segscope.serve.compat.pictures import Pictures, decode_base64, run_through
from segscope.serve.compat.qupath.features import make_feature
from segscope.serve.compat.qupath.schemas import (
    AutomaticMaskRequest,
    ModelChoice,
    PromptRequest,
    VideoRequest,
)
from segscope.serve.errors import NotFound, TooLarge
from segscope.serve.json_object import JsonObject
from segscope.serve.project.safe_paths import safe_name
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.device_queue import Urgency
from segscope.session import Interaction
from segscope.stack import Stack

WEIGHTS = "segscope:"  # the scheme of the URLs by which clients choose models of this server
VIDEOS = 4  # folders of uploaded frames that wait for their request
_MODELS = {
    "vit_h": "sam-vit-h",
    "vit_l": "sam-vit-l",
    "vit_b": "sam-vit-b",
    "sam2_l": "sam2.1-large",
    "sam2_bp": "sam2.1-base+",
    "sam2_s": "sam2.1-small",
    "sam2_t": "sam2.1-tiny",
    "sam3": "sam3-tracker",
}
Features = list[JsonObject]


class QuPathService:
    """Answers of the networks of a workspace as GeoJSON."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._pictures = Pictures(workspace)
        self._videos: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    # --- models ----------------------------------------------------------------------------------

    def list_models(self) -> list[str]:
        """Names of the models that answer prompts and need no download."""
        models = self.workspace.engines.list_models()
        return [model.name for model in models if model.available and model.prompts]

    def model_of(self, choice: ModelChoice) -> str:
        """The model that a client chose by its weights or by its type; else the server's default.

        Raises:
            UsageError: it names weights elsewhere.
        """
        url = choice.checkpoint_url or ""
        if url and not url.startswith(WEIGHTS):
            raise UsageError(
                "this server downloads no weights; choose weights of its list, or start it with "
                "--add-model NAME=PATH"
            )
        name = url.removeprefix(WEIGHTS) or _MODELS.get(choice.type, "")
        if url or name in self.list_models():
            return name
        return self.workspace.engines.default

    # --- images ----------------------------------------------------------------------------------

    def segment(self, request: PromptRequest) -> Features:
        """The outline of one object; with `multimask_output`, those of all candidates."""
        model = self.model_of(request)
        answer = self._pictures.answer(model, request.b64img, request.prompts())
        masks = [(answer.mask, answer.score)]
        if request.multimask_output:
            masks += [(logits > 0, score) for logits, score in answer.candidates]
        features: Features = []
        for number, (mask, score) in enumerate(masks):
            properties = _properties(number, model) | {"quality": float(score)}
            feature = make_feature(mask, properties)
            if feature is not None:
                features.append(feature)
        return features

    def segment_everything(self, request: AutomaticMaskRequest) -> Features:
        """The outlines of everything on a picture."""
        model = self.model_of(request)
        with self._pictures.open(model, request.b64img) as (interaction, queue):
            engine = interaction.engine
            with queue.turn(Urgency.TRACK):
                masks = everything(
                    interaction.stack,
                    engine,
                    grid=request.grid(engine),
                    progress=lambda _done, _total: queue.give_way(Urgency.TRACK),
                )
        features: Features = []
        for object_id in masks.object_ids:
            quality = float(masks.scores.get((0, object_id), 1.0))
            properties = _properties(object_id - 1, model) | {"quality": quality}
            feature = make_feature(masks.mask(0, object_id), properties)
            if feature is not None:
                features.append(feature)
        return features

    # --- sequences -------------------------------------------------------------------------------

    def add_frame(self, dirname: str, name: str, file: Path) -> None:
        """Store a frame until its sequence is tracked; the sequences uploaded last are kept.

        Raises:
            TooLarge: the sequence has more frames than an upload may have files.
        """
        with self._lock:
            folder = self._videos.get(dirname)
            if folder is None:
                folder = self.workspace.images.uploads.incoming()
            self._videos[dirname] = folder
            self._videos.move_to_end(dirname)
            while len(self._videos) > VIDEOS:
                _, oldest = self._videos.popitem(last=False)
                shutil.rmtree(oldest, ignore_errors=True)
            most = self.workspace.settings.limits.zip_members
            if sum(1 for _ in folder.iterdir()) >= most:
                raise TooLarge(f"a sequence may have at most {most} frames")
            shutil.move(file, folder / safe_name(name))

    def track(self, request: VideoRequest) -> Features:
        """The outlines of objects on all frames of a sequence, forward from the first prompt."""
        model = self.model_of(request)
        prompts = request.prompts()
        if not prompts:
            raise PromptError("nothing to track: prompt at least one object")
        engine = self.workspace.engines.get(model)
        queue = self.workspace.engines.device_queue(engine)
        with self._frames(request) as stack, closing(Interaction(stack, engine)) as interaction:
            with queue.turn(Urgency.TRACK):
                interaction.add(*prompts)
            start = request.start_frame_idx
            if start is None:
                start = min(prompt.frame for prompt in prompts)
            last = len(stack) - 1
            if request.max_frame_num_to_track is not None:
                last = min(last, start + request.max_frame_num_to_track)
            if last > start:
                frames = interaction.propagate("forward", start=start, within=(start, last))
                run_through(frames, queue)
            masks = interaction.masks()
        features: Features = []
        for frame, object_id in sorted(masks.runs):
            plane: JsonObject = {**request.plane(frame)}
            feature = make_feature(
                masks.mask(frame, object_id), _properties(object_id - 1, model), plane
            )
            if feature is not None:
                features.append(feature)
        return features

    @contextmanager
    def _frames(self, request: VideoRequest) -> Iterator[Stack]:
        """The frames of a sequence; those that were uploaded are removed after the block."""
        if request.b64imgs:
            yield self._pictures.read(list(map(decode_base64, request.b64imgs)))
            return
        with self._lock:
            folder = self._videos.pop(request.dirname or "", None)
        if folder is None:
            raise NotFound("no frames were uploaded under that name; upload them first")
        try:
            yield self._pictures.read_folder(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _properties(number: int, model: str) -> JsonObject:
    return {"object_idx": number, "label": "object", "sam_model": model}
