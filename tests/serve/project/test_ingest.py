"""Every image at the paths becomes a case, each series of a folder included."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from segscope.serve.project.image_records import ReadChoice
from segscope.serve.project.ingest import find_images, ingest
from segscope.serve.project.workspace import Workspace
from segscope.serve.settings import ServerSettings


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
    with Workspace(ServerSettings(tmp_path / "project", (data,), device="cpu")) as workspace:
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
    with Workspace(ServerSettings(tmp_path / "project", (data,), device="cpu")) as workspace:
        report = ingest(workspace.images, workspace.cases, [data], lambda *_: None)
        assert report.cases == 2
        assert len({case.image_id for case in workspace.cases.list_cases()}) == 2
        second = workspace.images.add(data, ReadChoice(series="2"))
        assert second.shape_zyx[0] == 3
