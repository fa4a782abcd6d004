"""Bad input of many kinds: exit code 1 or 2, one paragraph, no traceback, nothing left behind."""

from __future__ import annotations

import gzip
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file
from support.inputs import Trap, ct_slice, empty_folder, noise, write_nifti

# --- files that are not what they say ------------------------------------------------------------

Maker = Callable[[Path], Path]


def file(name: str, content: bytes) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return make


def cut(name: str, write: Callable[[Path], object], keep: float = 0.5) -> Maker:
    """A good file, cut off after a part of it."""

    def make(folder: Path) -> Path:
        path = folder / name
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        return path

    return make


def write_nrrd(path: Path) -> None:
    import nrrd

    nrrd.write(str(path), noise(20, 30, 8), {"encoding": "raw"})


def write_mp4(path: Path) -> None:
    from segscope.io.video.writer import write_video

    write_video(path, noise(6, 64, 64, 3), fps=10)


def nifti_header(dims: tuple[int, ...], datatype: int = 4, bits: int = 16) -> bytes:
    """A NIfTI-1 file with the given dimensions and hardly any data."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *dims, *[1] * (8 - len(dims)))
    struct.pack_into("<hh", header, 70, datatype, bits)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(64)


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def npy_header(shape: tuple[int, ...], kind: str = "<i2") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(32)


def object_array(folder: Path) -> Path:
    path = folder / "objects.npy"
    np.save(path, np.array([Trap()], dtype=object), allow_pickle=True)
    return path


def npz(name: str, **members: bytes) -> Maker:
    def make(folder: Path) -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(f"{member}.npy", content)
        return path

    return make


def dicom(change: Callable[[pydicom.Dataset], object]) -> Maker:
    def make(folder: Path) -> Path:
        data = pydicom.dcmread(ct_slice())
        change(data)
        data.save_as(folder / "changed.dcm")
        return folder / "changed.dcm"

    return make


def saved_array(array: np.ndarray) -> Maker:
    def make(folder: Path) -> Path:
        np.save(folder / "array.npy", array)
        return folder / "array.npy"

    return make


FILES: dict[str, Maker] = {
    "missing file": lambda folder: folder / "none.png",
    "missing folder": lambda folder: folder / "none" / "series",
    "empty folder": empty_folder,
    "folder of text files": lambda folder: file("notes/readme.txt", b"hello")(folder).parent,
    "device": lambda _: Path("/dev/null"),
    "unknown ending": file("scan.xyz", b"hello"),
    "no ending": file("scan", b"hello"),
    **{
        f"empty {end}": file(f"empty{end}", b"")
        for end in (".png", ".nii", ".nii.gz", ".dcm", ".mp4", ".tif", ".npy")
    },
    **{
        f"text as {end}": file(f"text{end}", b"this is not an image, it is a letter\n" * 40)
        for end in (
            ".png",
            ".jpg",
            ".nii",
            ".nii.gz",
            ".dcm",
            ".mp4",
            ".tif",
            ".npy",
            ".npz",
            ".nrrd",
            ".mha",
        )
    },
    "cut png": cut("cut.png", lambda path: Image.fromarray(noise(60, 60, 3)).save(path)),
    "cut jpeg": cut("cut.jpg", lambda path: Image.fromarray(noise(60, 60, 3)).save(path)),
    "cut tiff": cut("cut.tif", lambda path: tifffile.imwrite(path, noise(5, 60, 60))),
    "cut nii": cut("cut.nii", write_nifti),
    "cut nii.gz": cut("cut.nii.gz", write_nifti),
    "cut nrrd": cut("cut.nrrd", write_nrrd),
    "cut mp4": cut("cut.mp4", write_mp4, 0.1),
    "cut dicom": cut("cut.dcm", lambda path: path.write_bytes(Path(ct_slice()).read_bytes())),
    "cut npy": cut("cut.npy", lambda path: np.save(path, noise(30, 30, 30))),
    "nifti of 2 TB": file("huge.nii", nifti_header((3, 10000, 10000, 10000))),
    "nifti of 2 TB, compressed": file(
        "huge.nii.gz", gzip.compress(nifti_header((3, 10000, 10000, 10000)))
    ),
    "nifti with a negative side": file("negative.nii", nifti_header((3, -5, 10, 10))),
    "nifti with no side": file("none.nii", nifti_header((3, 0, 10, 10))),
    "nifti of complex numbers": file(
        "complex.nii", nifti_header((3, 4, 4, 1), datatype=32, bits=64)
    ),
    "nifti of an unknown type": file(
        "unknown.nii", nifti_header((3, 4, 4, 1), datatype=999, bits=7)
    ),
    "png bomb": file("bomb.png", png_bomb(60_000, 60_000)),
    "png with no side": file("none.png", png_bomb(0, 10)),
    "npy of 16 TB": file("huge.npy", npy_header((20_000, 20_000, 20_000))),
    "npy with no side": saved_array(np.zeros((0, 5, 5))),
    "npy of one axis": saved_array(np.zeros(5)),
    "npy of six axes": saved_array(np.zeros((2, 2, 2, 2, 2, 2))),
    "npy of complex numbers": saved_array(np.zeros((5, 5), complex)),
    "npy of text": saved_array(np.array([["a", "b"]])),
    "npy that runs code": object_array,
    "npz without arrays": npz("none.npz"),
    "npz of 16 TB": npz("huge.npz", imgs=npy_header((20_000, 20_000, 20_000))),
    "npz of several unknown arrays": npz("several.npz", a=npy_header((2, 2)), b=npy_header((2, 2))),
    "nrrd of 8 TB": file(
        "huge.nrrd",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 16000 16000 16000\nencoding: raw\n\n00",
    ),
    "nrrd beside a missing file": file(
        "apart.nhdr",
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
        b"data file: none.raw\n\n",
    ),
    "dicom without pixels": dicom(lambda data: data.__delattr__("PixelData")),
    "dicom without rows": dicom(lambda data: data.__delattr__("Rows")),
    "dicom with more rows than pixels": dicom(lambda data: setattr(data, "Rows", 60_000)),
    "dicom that is a report": lambda _: Path(str(get_testdata_file("test-SR.dcm", download=False))),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files(
    name: str, tmp_path: Path, tiny_checkpoint: Path, ends: Callable[..., str]
) -> None:
    source = FILES[name](tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    message = ends(
        [
            "segment",
            str(source),
            "-o",
            str(out / "m.nii.gz"),
            "--model",
            str(tiny_checkpoint),
            "--box",
            "1,1,3,3@0",
        ]
    )
    assert source.name in message or "declares" in message
    assert not list(out.iterdir())


# --- examples to learn from -----------------------------------------------------------------------


def data_set(mask: np.ndarray, images: int = 1, pixels: bytes = b"") -> Maker:
    """A folder of images and masks; `pixels` take the place of the images."""

    def make(folder: Path) -> Path:
        place = folder / "examples"
        for name in ("images", "masks"):
            (place / name).mkdir(parents=True)
        for number in range(images):
            image = place / "images" / f"{number}.png"
            Image.fromarray(noise(*mask.shape)).save(image)
            if pixels:
                image.write_bytes(pixels)
            Image.fromarray(mask).save(place / "masks" / f"{number}.png")
        return place

    return make


def other_weights(folder: Path) -> Path:
    """Examples of `mini`."""
    from segscope.cli.app import main

    source = data_set(MASK)(folder)
    path = folder / "mini.examples"
    assert main(["learn", str(source), "-o", str(path), "--device", "cpu"]) == 0
    return path


def cut_examples(folder: Path) -> Path:
    path = other_weights(folder)
    path.write_bytes(path.read_bytes()[:1000])
    return path


def pickled(folder: Path) -> Path:
    path = folder / "cells.examples"
    path.write_bytes(pickle.dumps(Trap()))
    return path


MASK = np.zeros((30, 40), np.uint8)
MASK[5:20, 5:25] = 1
EXAMPLES: dict[str, tuple[Maker, str]] = {
    "missing path": (lambda folder: folder / "none", "does not exist"),
    "empty folder": (empty_folder, "holds no cases"),
    "an image": (lambda _: Path(ct_slice()), "cannot be read as a list of cases"),
    "masks without objects": (data_set(np.zeros((30, 40), np.uint8)), "nothing to learn from"),
    "specks": (data_set(np.eye(30, dtype=np.uint8)[:, :3]), "fewer than 16 pixels"),
    "images that are text": (data_set(MASK, 5, b"a letter"), "nothing to learn from"),
    "project without sessions": (file("project/project.sqlite", b""), "nothing to learn from"),
    "examples of other weights": (other_weights, "other weights"),
    "examples that are cut": (cut_examples, "damaged"),
    "examples that are empty": (file("cells.examples", b""), "damaged"),
    "examples that run code": (pickled, "damaged"),
    "examples that are text": (file("cells.examples", b"hello" * 100), "damaged"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_bad_examples(
    name: str,
    tmp_path: Path,
    inputs: Any,
    ends: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, expected = EXAMPLES[name]
    source = make(tmp_path)
    if source.name == "project.sqlite":
        source = source.parent
    capsys.readouterr()
    out = tmp_path / "out"
    out.mkdir()
    words = ["segment", inputs.png, "-o", str(out / "m.png"), "--box", "5,5,30,30"]
    words += ["--model", str(inputs.tiny), "--device", "cpu"]
    message = ends([*words, "--like", str(source)])
    assert expected in message
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--like", "examples", "--label", "lung"), "no label 'lung'"),
        (("--label", "lung"), "--like PATH"),
    ],
)
def test_bad_labels(
    words: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    inputs: Any,
    ends: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data_set(MASK)(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = ["segment", inputs.png, "-o", "m.png", "--box", "5,5,30,30"]
    message = ends([*command, "--model", str(inputs.tiny), *words])
    assert expected in message
    assert not (tmp_path / "m.png").exists()
