"""`segscope serve` and `segscope annotate`: what they refuse, where they keep the work, what they take in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segscope.cli.annotate import project_of
from segscope.cli.app import main
from segscope.serve.project.image_records import ReadChoice
from segscope.serve.project.ingest import find_images, ingest
from segscope.serve.project.page_token import PageToken
from segscope.serve.project.workspace import Workspace
from segscope.serve.server import ListenAddress, open_listener
from segscope.serve.settings import Settings


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--host", "0.0.0.0", "--no-token"], "loopback"),
        (["serve", "--no-token", "--token", "x"], "either"),
        (["serve", "--facade", "nothing"], "monailabel"),
        (["serve", "--add-model", "x"], "NAME=PATH"),
        (["serve", "--add-model", "x=/nowhere/at/all"], "no such file"),
        (["serve", "--root", "/nowhere/at/all", "--project", "PROJECT"], "not a folder"),
        (["serve", "--port", "70000"], "65535"),
        (["annotate", "/nowhere/at/all"], "does not exist"),
        (["annotate"], "PATH"),
    ],
)
def test_wrong_use(ends: Callable[..., str], tmp_path: Path, argv: list[str], said: str) -> None:
    assert said in ends([word.replace("PROJECT", str(tmp_path / "p")) for word in argv])


def test_nothing_to_annotate(ends: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("no image")
    assert "nothing to annotate" in ends(["annotate", str(tmp_path / "data"), "--no-browser"])


def test_the_work_lies_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    assert project_of([folder]) == tmp_path / "scans.segscope"
    assert project_of([folder, tmp_path]).parent.name == "projects"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert project_of([folder]).parent.name == "projects"


def test_help_imports_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from segscope.cli.app import main; main(['serve', '--help']); main(['annotate', '--help']);"
        "print('heavy:', sorted({'torch', 'fastapi', 'numpy', 'uvicorn'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert said.splitlines()[-1] == "heavy: []"


def test_every_image_becomes_a_case(inputs: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(inputs.folder, data)
    second = data / "series" / "second.dcm"
    other = data / "more" / "deep"
    other.mkdir(parents=True)
    shutil.copy(data / "good.png", other / "good.png")
    (data / "broken.png").write_bytes(b"no image")
    (data / ".hidden").mkdir()
    (data / "old.segscope").mkdir()
    shutil.copy(data / "good.png", data / "old.segscope" / "x.png")
    assert not second.exists()
    found = [path.relative_to(data).as_posix() for path in find_images(data)]
    assert found == [
        "broken.png",
        "good.png",
        "more/deep/good.png",
        "series",
        "volume.nii.gz",
        "volume.npy",
    ]
    with Workspace(Settings(tmp_path / "project", (data,), device="cpu")) as workspace:
        report = ingest(workspace.images, workspace.cases, [data], lambda *_: None)
        names = [case.name for case in workspace.cases.list_cases()]
        assert names == ["good.png", "series", "volume.nii.gz", "volume.npy"]
        assert report.cases == 5  # one image is there twice
        assert [path.name for path, _ in report.skipped] == ["broken.png"]
        ingest(workspace.images, workspace.cases, [data], lambda *_: None)
        assert len(workspace.cases.list_cases()) == 4


def test_each_series_of_a_folder_is_a_case(inputs: Any, tmp_path: Path) -> None:
    import pydicom

    data = tmp_path / "study"
    shutil.copytree(inputs.series, data)
    for file in sorted(data.iterdir()):
        slice_ = pydicom.dcmread(file)
        slice_.SeriesInstanceUID += ".7"
        slice_.SOPInstanceUID += ".7"
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.save_as(file.with_name(f"b{file.name}"))
    with Workspace(Settings(tmp_path / "project", (data,), device="cpu")) as workspace:
        report = ingest(workspace.images, workspace.cases, [data], lambda *_: None)
        assert report.cases == 2
        assert len({case.image_id for case in workspace.cases.list_cases()}) == 2
        second = workspace.images.add(data, ReadChoice(series="2"))
        assert second.shape_zyx[0] == 3


def test_annotate_serves_the_page_and_goes_on_where_it_was(inputs: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(inputs.png, data)
    argv = [
        sys.executable,
        "-m",
        "segscope",
        "annotate",
        str(data),
        "--no-browser",
        "--json",
        "--device",
        "cpu",
    ]
    seen, doors = [], []
    for end in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            assert line
            said += line
        told = json.loads(said)
        assert told["page"] == f"{told['url']}#token={told['token']}"
        request = urllib.request.Request(
            f"{told['url']}v1/cases", headers={"Authorization": f"Bearer {told['token']}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            seen.append(json.load(answer))
        doors.append((told["url"], told["token"]))
        process.send_signal(end)
        _, complaint = process.communicate(timeout=60)
        assert "Traceback" not in complaint
    assert doors[0] == doors[1]  # a page that is open finds the server again
    assert stat.S_IMODE((tmp_path / "data.segscope" / "page_token.json").stat().st_mode) == 0o600
    assert seen[0] == seen[1]
    assert seen[0][0]["name"] == "good.png"
    assert (tmp_path / "data.segscope" / "project.sqlite").is_file()
    assert main(["serve", "--help"]) == 0


@pytest.mark.parametrize("harm", ["missing", "damaged", "short", "open"])
def test_a_token_that_others_may_know_is_not_used(tmp_path: Path, harm: str) -> None:
    first = PageToken.load(tmp_path)
    assert len(first.token) == 32
    first.save(tmp_path)
    assert PageToken.load(tmp_path) == first
    path = tmp_path / "page_token.json"
    if harm == "missing":
        path.unlink()
    elif harm == "open":
        path.chmod(0o644)
    else:
        path.write_text("{" if harm == "damaged" else '{"token": "x", "port": 1}')
    assert PageToken.load(tmp_path).token not in ("x", first.token)


def test_the_usual_port_or_another(tmp_path: Path) -> None:
    with open_listener(ListenAddress()) as taken:
        usual = taken.getsockname()[1]
        with open_listener(ListenAddress(preferred_port=usual)) as other:
            assert other.getsockname()[1] != usual
    with open_listener(ListenAddress(preferred_port=usual)) as again:
        assert again.getsockname()[1] == usual
