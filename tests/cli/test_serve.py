"""`segscope serve` and `segscope annotate`: what they refuse, and what they add to a project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segscope.serve.project.images import Choice
from segscope.serve.project.ingest import images_at, take_in
from segscope.serve.project.workspace import Workspace
from segscope.serve.server import Door, Known, _listen
from segscope.serve.settings import Settings


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--host", "0.0.0.0", "--no-token"], "loopback"),
        (["serve", "--no-token", "--token", "x"], "either"),
        (["serve", "--compat", "nothing"], "monailabel"),
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


def test_help_imports_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from segscope.cli.app import main;"
        "main(['serve', '--help']); main(['annotate', '--help']);"
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
    found = [path.relative_to(data).as_posix() for path in images_at(data)]
    assert found == [
        "broken.png",
        "good.png",
        "more/deep/good.png",
        "series",
        "volume.nii.gz",
        "volume.npy",
    ]
    with Workspace(Settings(tmp_path / "project", (data,), device="cpu")) as workspace:
        taken, left = take_in(workspace, [data], lambda *_: None)
        names = [case["name"] for case in workspace.cases.listed()]
        assert names == ["good.png", "series", "volume.nii.gz", "volume.npy"]
        assert taken == 5  # one image is there twice
        assert [path.name for path, _ in left] == ["broken.png"]
        take_in(workspace, [data], lambda *_: None)
        assert len(workspace.cases.listed()) == 4


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
        assert take_in(workspace, [data], lambda *_: None)[0] == 2
        assert len({case["image_id"] for case in workspace.cases.listed()}) == 2
        assert workspace.images.add(data, Choice(series="2"))["shape_zyx"][0] == 3


@pytest.mark.parametrize("harm", ["missing", "damaged", "short", "open"])
def test_a_token_that_others_may_know_is_not_used(tmp_path: Path, harm: str) -> None:
    first = Known.of(tmp_path)
    assert len(first.token) == 32
    first.keep(tmp_path)
    assert Known.of(tmp_path) == first
    path = tmp_path / "door.json"
    if harm == "missing":
        path.unlink()
    elif harm == "open":
        path.chmod(0o644)
    else:
        path.write_text("{" if harm == "damaged" else '{"token": "x", "port": 1}')
    assert Known.of(tmp_path).token not in ("x", first.token)


def test_the_usual_port_or_another(tmp_path: Path) -> None:
    with _listen(Door()) as taken:
        usual = taken.getsockname()[1]
        with _listen(Door(usual=usual)) as other:
            assert other.getsockname()[1] != usual
    with _listen(Door(usual=usual)) as again:
        assert again.getsockname()[1] == usual
