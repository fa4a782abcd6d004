"""`segscope segment` and `everything` with a small random network: files and messages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.dicom_files import along, write_series
from support.dicom_masks import series
from support.structure_sets import Contour, box, write_structure_set

import segscope as ss
from segscope.cli.app import main

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(inputs: Any, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that must end well, with the small network; gives its JSON."""

    def call(*words: str) -> dict[str, Any]:
        code = main([*words, "--model", str(inputs.tiny), "--device", "cpu", "--json"])
        said = capsys.readouterr()
        assert code == 0, said.err
        result: dict[str, Any] = json.loads(said.out)
        return result

    return call


def test_an_image(run: Run, inputs: Any, tmp_path: Path) -> None:
    result = run(
        "segment",
        inputs.png,
        "-o",
        str(tmp_path / "m.png"),
        "--object",
        "cell",
        "--box",
        "5,5,30,30",
    )
    assert result["objects"][0]["name"] == "cell"
    written = ss.read(tmp_path / "m.png")[0]
    assert written.shape == (40, 50)
    assert (written == 1).sum() == result["objects"][0]["pixels"]
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_a_volume_comes_back_on_its_grid(run: Run, inputs: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.nii.gz"
    result = run(
        "segment",
        inputs.nii,
        "-o",
        str(out),
        "--box",
        "5,5,30,30@2",
        "--object",
        "3=b",
        "--point",
        "9,9@4",
    )
    given, made = nibabel.load(inputs.nii), nibabel.load(out)
    assert made.shape == given.shape
    assert np.array_equal(made.affine, given.affine)
    assert [row["id"] for row in result["objects"]] == [1, 3]
    assert {"millilitres", "predicted_iou", "frames"} <= set(result["objects"][0])


@pytest.mark.parametrize("axis", [1, 2])
def test_another_axis_comes_back_on_the_stored_grid(
    run: Run, inputs: Any, tmp_path: Path, axis: int
) -> None:
    out = tmp_path / "m.nii.gz"
    result = run(
        "segment",
        inputs.nii,
        "-o",
        str(out),
        "--axis",
        str(axis),
        "--box",
        "2,1,20,5@9",
        "--overlay",
        str(tmp_path / "o.png"),
    )
    assert result["axis"] == axis
    assert nibabel.load(out).shape == nibabel.load(inputs.nii).shape


def test_uneven_slices_are_resampled_when_asked_for(run: Run, tmp_path: Path) -> None:
    heights = (0.0, 2.0, 4.0, 6.0, 11.0)
    pixels = np.random.default_rng(0).integers(-100, 200, (5, 64, 64)).astype(np.int16)
    positions = [[0.0, 0.0, height] for height in heights]
    folder = write_series(tmp_path / "ct", positions, pixels=pixels)
    out = tmp_path / "m.nii.gz"
    command = ("segment", str(folder), "-o", str(out), "--object", "a", "--box", "5,5,30,30@1")
    run(*command, "--resample-slices")
    assert nibabel.load(out).shape == (64, 64, 7)
    assert nibabel.load(out).header.get_zooms()[2] == pytest.approx(11 / 6)


def test_a_dicom_series(run: Run, inputs: Any, tmp_path: Path) -> None:
    run(
        "segment",
        inputs.series,
        "-o",
        str(tmp_path / "m.nii.gz"),
        "--object",
        "canal",
        "--box",
        "47,41,71,62@1",
    )
    stack = ss.read(inputs.series)
    assert (
        ss.read_masks(tmp_path / "m.nii.gz", like=stack).shape_zyx
        == stack.shape_zyx
        == (3, 128, 128)
    )


def test_dicom_seg_carries_the_name(run: Run, inputs: Any, tmp_path: Path) -> None:
    run(
        "segment",
        inputs.series,
        "-o",
        str(tmp_path / "m.dcm"),
        "--object",
        "canal",
        "--box",
        "47,41,71,62@1",
    )
    masks = ss.read_masks(tmp_path / "m.dcm", like=ss.read(inputs.series))
    assert list(masks.names.values()) == ["canal"]


def test_overlay_and_record(run: Run, inputs: Any, tmp_path: Path) -> None:
    result = run(
        "segment",
        inputs.nii,
        "-o",
        str(tmp_path / "m.nii.gz"),
        "--box",
        "5,5,30,30@2",
        "--window",
        "p1,99",
        "--overlay",
        str(tmp_path / "o.png"),
        "--record",
        str(tmp_path / "r.json"),
    )
    assert ss.read(tmp_path / "o.png").size_hw[1] > 300
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["record"] == result["record"]
    assert "percentiles 1 to 99" in record["record"]["window"]["how"]
    assert record["record"]["prompts"]["objects"][0]["prompts"][0]["xyxy"] == [5, 5, 30, 30]


def test_a_video_with_a_film_as_overlay(run: Run, tmp_path: Path) -> None:
    from segscope.io.video.writer import write_video
    from segscope.phantom import clip

    frames, _ = clip(seed=1, frames=5, size_hw=(64, 80))
    write_video(tmp_path / "clip.mp4", frames, fps=10)
    run(
        "segment",
        str(tmp_path / "clip.mp4"),
        "-o",
        str(tmp_path / "m.tif"),
        "--box",
        "20,20,50,50",
        "--overlay",
        str(tmp_path / "o.mp4"),
    )
    assert len(ss.read(tmp_path / "o.mp4")) == 5
    assert ss.read(tmp_path / "m.tif", channel=None).shape_zyx == (5, 64, 80)


def test_a_prompt_file_and_the_command_line_add_up(run: Run, inputs: Any, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 50), 255, np.uint8)).save(tmp_path / "all.png")
    prompts = {
        "version": 1,
        "objects": [
            {"id": 1, "label": "a", "prompts": [{"type": "box", "xyxy": [1, 1, 20, 20]}]},
            {"id": 4, "label": "b", "prompts": [{"type": "mask", "path": "all.png"}]},
        ],
    }
    (tmp_path / "p.json").write_text(json.dumps(prompts))
    result = run(
        "segment",
        inputs.png,
        "-o",
        str(tmp_path / "m.png"),
        "--prompts",
        str(tmp_path / "p.json"),
        "--object",
        "c",
        "--point",
        "30,30",
    )
    assert [(row["id"], row["name"]) for row in result["objects"]] == [(1, "a"), (4, "b"), (5, "c")]


def test_the_record_is_a_prompt_file(run: Run, inputs: Any, tmp_path: Path) -> None:
    first = run(
        "segment",
        inputs.nii,
        "-o",
        str(tmp_path / "a.nii"),
        "--object",
        "x",
        "--box",
        "5,5,30,30@2",
        "--negative",
        "8,8@2",
    )
    (tmp_path / "p.json").write_text(json.dumps(first["record"]["prompts"]))
    run("segment", inputs.nii, "-o", str(tmp_path / "b.nii"), "--prompts", str(tmp_path / "p.json"))
    a, b = (np.asarray(nibabel.load(tmp_path / name).dataobj) for name in ("a.nii", "b.nii"))
    assert np.array_equal(a, b)


def test_the_file_of_the_record_is_one_too(run: Run, inputs: Any, tmp_path: Path) -> None:
    record = str(tmp_path / "r.json")
    words = ("--object", "x", "--box", "5,5,30,30@2", "--record", record)
    run("segment", inputs.nii, "-o", str(tmp_path / "a.nii"), *words)
    run("segment", inputs.nii, "-o", str(tmp_path / "b.nii"), "--prompts", record)
    a, b = (np.asarray(nibabel.load(tmp_path / name).dataobj) for name in ("a.nii", "b.nii"))
    assert a.any()
    assert np.array_equal(a, b)


class TestOutputsAndInputs:
    """No output replaces what the command reads."""

    @pytest.fixture
    def refuse(self, inputs: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def call(*words: str, model: str = "") -> str:
            options = ["--model", model or str(inputs.tiny), "--device", "cpu"]
            assert main(["segment", *words, *options]) == 2
            return capsys.readouterr().err

        return call

    @pytest.fixture
    def prompts(self, tmp_path: Path) -> Path:
        box = {"type": "box", "frame": 2, "xyxy": [5, 5, 30, 30]}
        document = {"version": 1, "objects": [{"id": 1, "prompts": [box]}]}
        path = tmp_path / "p.json"
        path.write_text(json.dumps(document))
        return path

    @pytest.fixture
    def mask(self, tmp_path: Path) -> Path:
        labels = np.zeros((50, 40, 6), np.uint8)
        labels[10:20, 10:20, 3] = 1
        path = tmp_path / "drawn" / "mask.nii"
        path.parent.mkdir()
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
        return path

    @pytest.mark.parametrize("option", ["-o", "--record"])
    def test_the_prompt_file(
        self, option: str, refuse: Callable[..., str], prompts: Path, inputs: Any, tmp_path: Path
    ) -> None:
        before = prompts.read_bytes()
        outputs = {"-o": str(tmp_path / "m.nii"), option: str(prompts)}
        words = [word for pair in outputs.items() for word in pair]
        message = refuse(inputs.nii, *words, "--prompts", str(prompts))
        assert "is an input of this command and would be overwritten" in message
        assert prompts.read_bytes() == before

    def test_a_mask_prompt(self, refuse: Callable[..., str], mask: Path, inputs: Any) -> None:
        before = mask.read_bytes()
        message = refuse(inputs.nii, "-o", str(mask), "--mask", f"{mask}@3")
        assert "is an input of this command" in message
        message = refuse(inputs.nii, "-o", str(mask.parent), "--mask", f"{mask}@3")
        assert "would be replaced as a whole" in message
        assert mask.read_bytes() == before

    def test_a_mask_of_the_prompt_file(
        self, refuse: Callable[..., str], inputs: Any, tmp_path: Path
    ) -> None:
        prompt = {"type": "mask", "frame": 0, "path": "one.png"}
        Image.fromarray(np.eye(40, 50, dtype=np.uint8)).save(tmp_path / "one.png")
        document = {"version": 1, "objects": [{"id": 1, "prompts": [prompt]}]}
        (tmp_path / "p.json").write_text(json.dumps(document))
        out = tmp_path / "one.png"
        words = ("--prompts", str(tmp_path / "p.json"), "--overlay", str(out))
        message = refuse(inputs.png, "-o", str(tmp_path / "m.png"), *words)
        assert "one.png is an input of this command" in message

    def test_the_model(self, refuse: Callable[..., str], inputs: Any, tmp_path: Path) -> None:
        (tmp_path / "adapted").mkdir()
        words = (inputs.nii, "-o", str(tmp_path / "adapted" / "m.nii"), "--box", "5,5,30,30@2")
        message = refuse(*words, model=str(tmp_path / "adapted"))
        assert "inside the input folder" in message

    def test_the_next_slice_of_a_scan(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        write_series(tmp_path, along((0, 0, 2.5), 3), names=["0.dcm", "1.dcm", "2.dcm"])
        before = (tmp_path / "1.dcm").read_bytes()
        for name in ("1.dcm", "2.dcm"):
            box = ("--box", "1,1,4,4")
            message = refuse(str(tmp_path / "0.dcm"), "-o", str(tmp_path / name), *box)
            assert "is a DICOM file that segscope did not write" in message
        assert (tmp_path / "1.dcm").read_bytes() == before

    def test_a_pipe(self, refuse: Callable[..., str], inputs: Any, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.nii")
        for path in (tmp_path / "pipe.nii", Path(os.devnull)):
            message = refuse(inputs.nii, "-o", str(path), "--box", "5,5,30,30@2")
            assert "is a pipe or a device; name a file" in message
        assert (tmp_path / "pipe.nii").is_fifo()


class TestCtrlC:
    """The message says whether the outputs are there."""

    def run(self, inputs: Any, out: Path) -> int:
        words = ["segment", inputs.nii, "-o", str(out), "--box", "5,5,30,30@2"]
        return main([*words, "--model", str(inputs.tiny), "--device", "cpu"])

    @pytest.mark.parametrize("replaces", [False, True])
    def test_after_the_last_output(
        self,
        replaces: bool,
        inputs: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / "m.nii.gz"
        if replaces:
            out.touch()

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("segscope.cli.segment.print_objects", stop)
        assert self.run(inputs, out) == 130
        message = capsys.readouterr().err
        assert f"after all outputs were written: {out}" in message
        assert ss.read_masks(out).labels.any()

    @pytest.mark.parametrize("replaces", [False, True])
    def test_before_it(
        self,
        replaces: bool,
        inputs: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / "m.nii.gz"
        if replaces:
            out.touch()

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", stop)
        assert self.run(inputs, out) == 130
        assert "no partial output was left behind" in capsys.readouterr().err
        assert out.exists() == replaces


def test_a_mask_of_a_structure_set(run: Run, tmp_path: Path) -> None:
    stack = series(tmp_path / "ct")
    square = Contour(box(1, 1, 6, 5), slice=2)
    path = write_structure_set(tmp_path / "contours.dcm", stack, [square])
    out = tmp_path / "m.nii"
    run("segment", str(tmp_path / "ct"), "-o", str(out), "--mask", f"{path}@2")
    assert ss.read_masks(out).area(2, 1) == 20


def test_a_mask_is_carried(run: Run, inputs: Any, tmp_path: Path) -> None:
    labels = np.zeros((50, 40, 6), np.uint8)
    labels[10:20, 10:20, 3] = 1
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "given.nii.gz")
    run(
        "segment",
        inputs.nii,
        "-o",
        str(tmp_path / "m.nii.gz"),
        "--mask",
        str(tmp_path / "given.nii.gz"),
    )
    made = np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj)
    assert np.array_equal(made[..., 3], labels[..., 3])


def test_direction(run: Run, inputs: Any, tmp_path: Path) -> None:
    run(
        "segment",
        inputs.nii,
        "-o",
        str(tmp_path / "m.nii.gz"),
        "--box",
        "5,5,30,30@3",
        "--direction",
        "forward",
    )
    assert not np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj)[..., :3].any()


def test_a_folder_of_images_as_output(run: Run, inputs: Any, tmp_path: Path) -> None:
    run("segment", inputs.nii, "-o", str(tmp_path / "masks"), "--box", "5,5,30,30@3")
    assert len(list((tmp_path / "masks").iterdir())) == 6


def test_everything(run: Run, inputs: Any, tmp_path: Path) -> None:
    result = run(
        "everything",
        inputs.png,
        "-o",
        str(tmp_path / "m.tif"),
        "--overlay",
        str(tmp_path / "o.png"),
    )
    assert (tmp_path / "o.png").exists()
    assert len(result["objects"]) == len(np.unique(ss.read(tmp_path / "m.tif")[0])) - 1


def test_an_output_is_replaced(run: Run, inputs: Any, tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"older")
    run("segment", inputs.png, "-o", str(tmp_path / "m.png"), "--box", "5,5,30,30")
    assert ss.read(tmp_path / "m.png").size_hw == (40, 50)


def test_people_get_words(inputs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        [
            "segment",
            inputs.nii,
            "-o",
            str(tmp_path / "m.nii.gz"),
            "--model",
            str(inputs.tiny),
            "--object",
            "liver",
            "--box",
            "5,5,30,30@2",
        ]
    )
    said = capsys.readouterr()
    assert code == 0
    assert "6 slices of 40 rows x 50 columns" in said.out
    assert "object 1 liver: " in said.out
    assert f"wrote {tmp_path / 'm.nii.gz'}" in said.out
    assert said.err == ""


def test_ctrl_c_leaves_nothing(
    inputs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segscope.session.segment", interrupted)
    code = main(
        [
            "segment",
            inputs.png,
            "-o",
            str(tmp_path / "m.png"),
            "--model",
            str(inputs.tiny),
            "--box",
            "5,5,9,9",
        ]
    )
    assert code == 130
    assert "stopped" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (OSError(28, "No space left on device"), "No space left"),
        (ZeroDivisionError("division by zero"), "please report it"),
    ],
)
def test_faults_of_ours_are_one_paragraph(
    error: Exception,
    words: str,
    inputs: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("segscope.session.segment", failing)
    argv = [
        "segment",
        inputs.png,
        "-o",
        str(tmp_path / "m.png"),
        "--model",
        str(inputs.tiny),
        "--box",
        "5,5,9,9",
    ]
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert main([*argv, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
