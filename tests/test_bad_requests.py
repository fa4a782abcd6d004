"""Invalid command lines: each ends with exit code 1 or 2, one paragraph, no traceback, and nothing
left behind.
"""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.inputs import Trap, empty_folder

from segscope.cli.app import main

Argv = list[str]
Inputs = Any  # see conftest.py


BOX = ["--box", "5,5,20,20"]
BOX3 = ["--box", "5,5,20,20@2"]


def on(which: str, *rest: str) -> Callable[[Inputs, Path], Argv]:
    """`segment` on a good input; OUT in the rest becomes the folder of the test."""

    def make(inputs: Inputs, folder: Path) -> Argv:
        given = [
            word.replace("OUT", str(folder)).replace("GOOD", str(inputs.folder)) for word in rest
        ]
        output = [] if "-o" in given else ["-o", str(folder / "m.nii.gz")]
        model = [] if "--model" in given else ["--model", str(inputs.tiny)]
        return ["segment", getattr(inputs, which), *output, *model, *given]

    return make


def with_file(
    name: str, content: bytes | Callable[[Path], object], which: str, *rest: str
) -> Callable[[Inputs, Path], Argv]:
    """The same after a file was put into the folder of the test."""

    def make(inputs: Inputs, folder: Path) -> Argv:
        path = folder / "given" / name
        path.parent.mkdir()
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
        return on(which, *[word.replace("FILE", str(path)) for word in rest])(inputs, folder)

    return make


def prompts(document: object) -> bytes:
    return json.dumps(document).encode()


def mask_of(rows: int, columns: int, value: int = 255) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(np.full((rows, columns), value, np.uint8)).save(path)


def write_coarse(path: Path) -> None:
    """Labels on voxels of another size."""
    labels = np.ones((20, 30, 8), np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1.7, 1.7, 3, 1])), path)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Trap()}, protocol=2))


def torch_trap(path: Path) -> None:
    """A torch file whose pickle would run code."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": Trap()}, protocol=2))
        archive.writestr("archive/version", "3\n")
    path.write_bytes(buffer.getvalue())


def torch_of(content: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        import torch

        torch.save({"model": {"weight": torch.zeros(3)}} if content == "strange" else content, path)

    return write


REQUESTS: dict[str, Callable[[Inputs, Path], Argv]] = {
    "no prompt": on("png"),
    "box of three numbers": on("png", "--box", "1,2,3"),
    "box of words": on("png", "--box", "a,b,c,d"),
    "box with swapped corners": on("png", "--box", "20,20,5,5"),
    "box of no size": on("png", "--box", "5,5,5,9"),
    "box outside": on("png", "--box", "500,5,600,20"),
    "box not finite": on("png", "--box", "1,1,inf,9"),
    "point of one number": on("png", "--point", "3"),
    "point outside": on("png", "--point", "60,5"),
    "point not a number": on("png", "--point", "nan,5"),
    "negative point outside": on("png", *BOX, "--negative", "5,400"),
    "frame outside": on("nii", "--box", "5,5,20,20@6"),
    "frame outside an image": on("png", "--box", "5,5,20,20@1"),
    "frame below 0": on("nii", "--box", "5,5,20,20@-1"),
    "frame not a number": on("nii", "--box", "5,5,20,20@first"),
    "volume without a slice": on("nii", *BOX),
    "object without a prompt": on("png", *BOX, "--object", "liver"),
    "objects only": on("png", "--object", "liver"),
    "object 0": on("png", "--object", "0=liver", *BOX),
    "object 70000": on("png", "--object", "70000=liver", *BOX),
    "object without a name": on("png", "--object", "", *BOX),
    "object id not a number": on("png", "--object", "one=liver", *BOX),
    "object with two names": on("png", "--object", "1=liver", *BOX, "--object", "1=spleen", *BOX),
    "mask file missing": on("png", "--mask", "OUT/none.png"),
    "mask of another size": with_file("mask.png", mask_of(9, 9), "png", "--mask", "FILE"),
    "mask empty": with_file("mask.png", mask_of(40, 50, 0), "png", "--mask", "FILE"),
    "mask is text": with_file("mask.png", b"hello", "png", "--mask", "FILE"),
    "mask without a slice": with_file("mask.png", mask_of(40, 50), "nii", "--mask", "FILE"),
    "mask volume of another grid": with_file(
        "mask.nii.gz", write_coarse, "nii", "--mask", "FILE@2"
    ),
    "prompt file missing": on("png", "--prompts", "OUT/none.json"),
    "prompt file is a folder": on("png", "--prompts", "OUT"),
    "prompt file not JSON": with_file("p.json", b"{box", "png", "--prompts", "FILE"),
    "prompt file not text": with_file("p.json", b"\xff\xfe\x00\x80", "png", "--prompts", "FILE"),
    "prompt file of version 9": with_file(
        "p.json", prompts({"version": 9, "objects": []}), "png", "--prompts", "FILE"
    ),
    "prompt file with nothing": with_file(
        "p.json", prompts({"version": 1, "objects": []}), "png", "--prompts", "FILE"
    ),
    "prompt file with a circle": with_file(
        "p.json",
        prompts({"version": 1, "objects": [{"id": 1, "prompts": [{"type": "circle"}]}]}),
        "png",
        "--prompts",
        "FILE",
    ),
    "prompt file with a point outside": with_file(
        "p.json",
        prompts(
            {"version": 1, "objects": [{"id": 1, "prompts": [{"type": "point", "xy": [900, 5]}]}]}
        ),
        "png",
        "--prompts",
        "FILE",
    ),
    "prompt file with a missing mask": with_file(
        "p.json",
        prompts(
            {
                "version": 1,
                "objects": [{"id": 1, "prompts": [{"type": "mask", "path": "none.png"}]}],
            }
        ),
        "png",
        "--prompts",
        "FILE",
    ),
    "everything and a box": on("png", "--everything", *BOX),
    "axis 5": on("nii", "--axis", "5", *BOX3),
    "axis of an image": on("png", "--axis", "1", *BOX),
    "unknown window": on("nii", "--window", "liverish", *BOX3),
    "window of no width": on("nii", "--window", "0,40", *BOX3),
    "percentiles in the wrong order": on("nii", "--window", "p99,1", *BOX3),
    "unknown direction": on("nii", "--direction", "sideways", *BOX3),
    "unknown memory": on("nii", "--memory", "elephant", *BOX3),
    "unknown device": on("png", "--device", "tpu", *BOX),
    "time point of a 3D file": on("nii", "--volume", "7", *BOX3),
    "channel of a volume": on("nii", "--channel", "9", *BOX3),
    "unknown series": on("series", "--series", "nothing like it", *BOX3),
    "unknown model": on("png", "--model", "sam9", *BOX),
    "model file missing": on("png", "--model", "OUT/none.pt", *BOX),
    "model is an image": on("png", "--model", "GOOD/good.png", *BOX),
    "model is text": with_file("model.pt", b"hello " * 99, "png", "--model", "FILE", *BOX),
    "model is empty": with_file("model.pt", b"", "png", "--model", "FILE", *BOX),
    "model is an empty folder": lambda inputs, folder: on(
        "png", "--model", str(empty_folder(folder)), *BOX
    )(inputs, folder),
    "model is a pickle that runs code": with_file(
        "model.pt", pickled, "png", "--model", "FILE", *BOX
    ),
    "model is a torch file that runs code": with_file(
        "model.pth", torch_trap, "png", "--model", "FILE", *BOX
    ),
    "model of unknown keys": with_file(
        "model.pt", torch_of("strange"), "png", "--model", "FILE", *BOX
    ),
    "model without tensors": with_file(
        "model.pt", torch_of({"epoch": 3}), "png", "--model", "FILE", *BOX
    ),
    "model cut off": lambda inputs, folder: with_file(
        "model.safetensors", inputs.tiny.read_bytes()[:2000], "png", "--model", "FILE", *BOX
    )(inputs, folder),
    "unknown option": on("png", "--boxes", "1,2,3,4"),
    "option without value": on("png", "--box"),
    "no output": lambda inputs, folder: ["segment", inputs.png, *BOX],
    "no input": lambda inputs, folder: ["segment", "-o", str(folder / "m.png"), *BOX],
    "two inputs": lambda inputs, folder: [
        "segment",
        inputs.png,
        inputs.nii,
        "-o",
        str(folder / "m.png"),
        *BOX,
    ],
    "unknown command": lambda inputs, folder: ["segmentize", inputs.png],
    "output of an unknown kind": on("png", "-o", "OUT/m.xyz", *BOX),
    "output into a missing folder": on("png", "-o", "OUT/none/m.png", *BOX),
    "output is a folder": lambda inputs, folder: on("png", "-o", str(_named_folder(folder)), *BOX)(
        inputs, folder
    ),
    "output is the input": on("nii", "-o", "GOOD/volume.nii.gz", *BOX3),
    "output inside the series": on("series", "-o", "GOOD/series/m.nii.gz", *BOX3),
    "volume into a png": on("nii", "-o", "OUT/m.png", *BOX3),
    "dicom of a photograph": on("png", "-o", "OUT/m.dcm", *BOX),
    "overlay of an unknown kind": on("png", "--overlay", "OUT/o.doc", *BOX),
    "overlay over the masks": on("png", "-o", "OUT/m.png", "--overlay", "OUT/m.png", *BOX),
    "record not JSON": on("png", "--record", "OUT/r.txt", *BOX),
    "unknown example": lambda inputs, folder: [
        "demo",
        "--out",
        str(folder / "d"),
        "--only",
        "moon",
    ],
    "everything without output": lambda inputs, folder: ["everything", inputs.png],
    "unknown model to show": lambda inputs, folder: ["models", "show", "sam9"],
    "bench of an unknown model": lambda inputs, folder: ["bench", "--model", "sam9"],
}


def _named_folder(folder: Path) -> Path:
    (folder / "named.nii.gz").mkdir()
    return folder / "named.nii.gz"


@pytest.mark.parametrize("name", REQUESTS)
def test_bad_requests(name: str, tmp_path: Path, inputs: Inputs, ends: Callable[..., str]) -> None:
    argv = REQUESTS[name](inputs, tmp_path)
    before = sorted([*tmp_path.rglob("*"), *inputs.folder.rglob("*")])
    ends(argv)
    assert sorted([*tmp_path.rglob("*"), *inputs.folder.rglob("*")]) == before


@pytest.mark.parametrize(
    ("which", "output", "said"),
    [
        ("nii", ["-o", "OUT/m.png"], "6 frames"),
        ("png", ["-o", "OUT/m.dcm"], "not read from DICOM"),
        ("nii", ["-o", "OUT/m.rtstruct.dcm"], "not read from DICOM"),
        ("png", ["-o", "OUT/full"], "did not write"),
        ("nii", ["--overlay", "OUT/o.avi"], ".mp4"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_a_model_is_loaded(
    which: str, output: Argv, said: str, tmp_path: Path, inputs: Inputs, ends: Callable[..., str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("keep me")
    box = BOX3 if which == "nii" else BOX
    message = ends(on(which, *output, "--model", "OUT/no-model.pt", *box)(inputs, tmp_path))
    assert said in message, message


def test_an_error_is_json_when_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(
        [
            "segment",
            str(tmp_path / "none.png"),
            "-o",
            str(tmp_path / "m.png"),
            "--box",
            "1,1,2,2",
            "--json",
        ]
    )
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code == 2
    assert "none.png" in said["error"]


def test_an_existing_output_survives_a_failure(
    tmp_path: Path, inputs: Inputs, ends: Callable[..., str]
) -> None:
    (tmp_path / "m.png").write_bytes(b"older result")
    ends(
        [
            "segment",
            inputs.png,
            "-o",
            str(tmp_path / "m.png"),
            "--model",
            str(inputs.tiny),
            "--point",
            "900,5",
        ]
    )
    assert (tmp_path / "m.png").read_bytes() == b"older result"


def test_control_characters_do_not_reach_the_terminal(
    tmp_path: Path, ends: Callable[..., str]
) -> None:
    message = ends(
        [
            "segment",
            str(tmp_path / "a\x1b[31m\nb.png"),
            "-o",
            str(tmp_path / "m.png"),
            "--box",
            "1,1,2,2",
        ]
    )
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "argv",
    [
        ["segment", "none.png", "-o", "m.png", "--box", "1,1,2,2"],
        ["segment", "text.nii.gz", "-o", "m.png", "--box", "1,1,2,2"],
        ["segment"],
        ["nonsense"],
    ],
)
def test_the_installed_program_behaves_the_same(argv: Argv, tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("hello")
    program = "from segscope.cli.app import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program, *argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith("segscope: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["text.nii.gz"]
