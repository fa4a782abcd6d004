"""A server with `mini` on synthetic scans, and a client of it in the process of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient
from support.server_process import TOKEN

import segscope as ss
from segscope.serve.app import create_app
from segscope.serve.project.workspace import Workspace
from segscope.serve.security import Guard
from segscope.serve.settings import ServerSettings

BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def engine() -> Any:
    torch.set_num_threads(1)
    return ss.load("mini", device="cpu")


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with two bright blocks, an image, and a folder of frames."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    volume = rng.integers(-60, 60, (80, 60, 7)).astype(np.int16)  # x, y, z
    volume[20:40, 20:40, 1:6] += 300
    volume[55:70, 10:25, :] += 200
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.7, 0.8, 2.5, 1.0])), folder / "ct.nii.gz")
    image = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8)
    image[10:30, 20:50] += 150
    Image.fromarray(image).save(folder / "cells.png")
    (folder / "clip").mkdir()
    for number in range(3):
        Image.fromarray(np.roll(image, 4 * number, axis=1)).save(folder / "clip" / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def _tidy_scans(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of a session share the scans; what one of them adds is gone before the next."""
    yield
    if "scans" in request.fixturenames:
        for added in request.getfixturevalue("scans").glob("pair*.png"):
            added.unlink()


@dataclass
class Server:
    """A server and a client of it."""

    workspace: Workspace
    app: Guard
    http: TestClient
    image_id: str = ""
    session_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def image(self, name: str = "ct.nii.gz") -> str:
        answer = self.http.post("/v1/images/reference", json={"root": 0, "path": name})
        assert answer.status_code == 201, answer.text
        self.image_id = answer.json()["image_id"]
        return self.image_id

    def open(self, name: str = "ct.nii.gz", **wanted: Any) -> str:
        answer = self.http.post("/v1/sessions", json={"image_id": self.image(name), **wanted})
        assert answer.status_code == 201, answer.text
        self.session_id = answer.json()["session_id"]
        self.headers["X-Lease"] = answer.json()["lease"]
        return self.session_id

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """A request below the session; its JSON."""
        answer = self.http.request(
            method, f"/v1/sessions/{self.session_id}{path}", json=body, headers=self.headers
        )
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def do(self, action: str, status: int = 200, **body: Any) -> Any:
        return self.ask("POST", f"/{action}", body, status)

    def propagate(self, **body: Any) -> Any:
        """Start a propagation and wait for its end."""
        job = self.do("propagate", 202, **body)["job_id"]
        assert self.workspace.jobs.get(job).wait(60)
        return self.http.get(f"/v1/jobs/{job}").json()

    def labels(self) -> Any:
        answer = self.http.get(f"/v1/sessions/{self.session_id}/labels")
        import json

        about = json.loads(answer.headers["X-Array"])
        return np.frombuffer(answer.content, about["dtype"]).reshape(about["shape"])

    def socket(self) -> Any:
        return self.http.websocket_connect(
            f"ws://127.0.0.1:8000/v1/sessions/{self.session_id}/live"
        )


@pytest.fixture
def serve(tmp_path: Path, scans: Path, engine: Any) -> Iterator[Callable[..., Server]]:
    """Start a server; again on the same project to see what a restart makes of it."""
    running: list[TestClient] = []

    def start(**changes: Any) -> Server:
        for client in running:
            client.__exit__(None, None, None)
        running.clear()
        settings = ServerSettings(
            tmp_path / "project", (scans,), token=TOKEN, device="cpu", prefetch=False
        )
        settings = replace(settings, **changes)
        workspace = Workspace(settings)
        workspace.engines._loaded["mini"] = engine
        app = create_app(workspace)
        client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
        if settings.token is not None:
            client.headers["Authorization"] = f"Bearer {settings.token}"
        client.__enter__()
        running.append(client)
        return Server(workspace, app, client)

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    return serve()
