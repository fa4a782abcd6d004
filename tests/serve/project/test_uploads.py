"""Hostile uploads: no 500, no crash, nothing left behind."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import nibabel
import numpy as np
import psutil
import pytest

from segscope.serve.settings import GIB, MIB, Limits

from ..conftest import Server

SMALL = Limits(decoder_bytes=3 * GIB, decoder_s=20, unpacked_bytes=64 * MIB, zip_members=50)


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds zeros in next to no bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compressobj(9)
    line = bytes(1 + width)
    data = b"".join(rows.compress(line) for _ in range(min(height, 3000))) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def nifti(shape: tuple[int, ...], voxels: int) -> bytes:
    """A gzipped NIfTI that declares a shape and holds so many zero bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return gzip.compress(header.binaryblock + bytes(4) + bytes(voxels), 9)


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return file.getvalue()


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = 0o120777 << 16
    return info


def pickled(name: str) -> bytes:
    file = io.BytesIO()
    if name == "npy":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        np.savez(file, imgs=np.array([print], dtype=object))
    return file.getvalue()


PICTURE = png(16, 16)


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: %s\n"


HOSTILE: dict[str, tuple[str, bytes]] = {
    "empty": ("a.png", b""),
    "bomb image": ("a.png", png(20_000, 20_000)),
    "wide image": ("a.png", png(60_000, 60_000)),
    "bomb volume": ("a.nii.gz", nifti((30_000, 30_000, 30_000), 10**6)),
    "volume cut off": ("a.nii.gz", nifti((200, 200, 50), 1000)),
    "volume of nothing": ("a.nii.gz", nifti((0, 10, 10), 100)),
    "gzip of zeros": ("a.nii.gz", gzip.compress(bytes(5 * 10**7), 9)),
    "pickle in npy": ("a.npy", pickled("npy")),
    "pickle in npz": ("a.npz", pickled("npz")),
    "npy header": (
        "a.npy",
        b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999,)}",
    ),
    "nrrd elsewhere": ("a.nhdr", NRRD % b"4 4 4" + b"encoding: raw\ndata file: /etc/passwd\n\n"),
    "nrrd huge": ("a.nrrd", NRRD % b"99999 99999 99999" + b"encoding: gzip\n\n\x1f\x8b"),
    "mha elsewhere": (
        "a.mhd",
        b"NDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = ../../x\n",
    ),
    "tiff garbage": ("a.tif", b"II*\0" + bytes(range(256))),
    "video garbage": ("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(500)),
    "dicom garbage": ("a.dcm", bytes(128) + b"DICM" + bytes(range(200))),
    "zip outside": ("a.zip", archive(("../../evil.png", PICTURE))),
    "zip absolute": ("a.zip", archive(("/evil.png", PICTURE))),
    "zip link": ("a.zip", archive((link(), b"/etc/passwd"))),
    "zip bomb": ("a.zip", archive(("a.png", bytes(10**8)))),
    "zip crowd": ("a.zip", archive(*((f"{number}.png", PICTURE) for number in range(60)))),
    "zip of zips": ("a.zip", archive(("b.zip", archive(("c.png", PICTURE))))),
    "zip damaged": ("a.zip", archive(("a.png", PICTURE))[:-30]),
    "no name": ("...", b"x"),
    "path as name": ("../../../evil.png\0.exe", b"x"),
    "text": ("a.txt", b"hello"),
    "checkpoint": ("a.pt", b"\x80\x04."),
}


def left_over(server: Server) -> list[str]:
    project = server.workspace.settings.project
    return [str(path.relative_to(project)) for path in (project / "uploads").rglob("*")]


def refuse(server: Server, name: str, data: bytes) -> None:
    before = set(server.workspace.settings.project.parent.rglob("*evil*"))
    answer = server.http.post("/v1/images", files={"file": (name, data)})
    assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text)
    said = answer.json()
    assert 10 < len(said["detail"]) < 1600
    assert "Traceback" not in said["detail"]
    assert str(server.workspace.settings.project) not in said["detail"]
    assert left_over(server) == []
    assert set(server.workspace.settings.project.parent.rglob("*evil*")) == before


@pytest.mark.parametrize(
    "which", [key for key in HOSTILE if key.startswith(("bomb", "pickle", "zip", "nrrd e", "path"))]
)
def test_hostile_uploads(serve: Callable[..., Server], which: str) -> None:
    server = serve(limits=SMALL)
    refuse(server, *HOSTILE[which])


def mutants(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Good files with bytes changed, cut off or exchanged, under their own and other names."""
    chance = random.Random(seed)
    volume = io.BytesIO()
    np.save(volume, np.zeros((3, 8, 8), np.int16))
    good = {
        ".png": PICTURE,
        ".nii.gz": nifti((8, 8, 3), 384),
        ".npy": volume.getvalue(),
        ".nrrd": b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n\n"
        + bytes(64),
        ".zip": archive(("a.png", PICTURE)),
    }
    suffixes = [
        *good,
        ".tif",
        ".dcm",
        ".mp4",
        ".mha",
        ".jpg",
        ".npz",
        ".avi",
        ".nii",
        ".gif",
        ".bmp",
        ".webp",
    ]
    for _ in range(count):
        data = bytearray(chance.choice(list(good.values())))
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            data = data[: chance.randrange(1, len(data))]
        yield f"x{chance.choice(suffixes)}", bytes(data)


@pytest.mark.slow
def test_two_hundred_hostile_uploads(serve: Callable[..., Server]) -> None:
    server = serve(limits=SMALL)
    memory = psutil.Process().memory_info().rss
    for name, data in HOSTILE.values():
        refuse(server, name, data)
    for name, data in mutants(0, 175):
        answer = server.http.post("/v1/images", files={"file": (name, data)})
        assert answer.status_code in (201, *range(400, 500)), (
            name,
            answer.status_code,
            answer.text,
        )
        assert "Traceback" not in answer.text
    assert psutil.Process().memory_info().rss - memory < 500 * MIB
    known = {row["image_id"] for row in server.http.get("/v1/images").json()}
    assert {entry.split("/")[1] for entry in left_over(server)} <= known
    assert server.http.get("/v1/health").status_code == 200
