"""Hostile input: wrong paths, files and requests. No 500, no crash, nothing outside of the roots, nothing left."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import psutil
import pytest
from PIL import Image

from segscope.serve.settings import GIB, MIB, Limits

from .conftest import Server

SMALL = Limits(decoder_bytes=3 * GIB, decoder_s=20, unpacked_bytes=64 * MIB, zip_members=50)


class TestPaths:
    @pytest.mark.parametrize(
        ("root", "path"),
        [
            (0, "../secret.png"), (0, "clip/../../secret.png"), (0, "/etc/passwd"), (0, "link/secret.png"),
            (0, "link.png"), (0, "a\0b"), (7, "ct.nii.gz"), (0, "nothing.png"), (0, "\\..\\secret.png"),
            (0, "x" * 3000), (0, "~/x"), (0, "."), (0, "file:///etc/passwd"), (0, "clip\n/0.png"),
        ],
    )  # fmt: skip
    def test_only_below_the_roots(
        self, serve: Callable[..., Server], tmp_path: Path, root: int, path: str
    ) -> None:
        base = tmp_path / "base"
        (base / "clip").mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / "secret.png")
        Image.new("L", (9, 9)).save(base / "clip" / "0.png")
        (base / "link").symlink_to(tmp_path)
        (base / "link.png").symlink_to(tmp_path / "secret.png")
        server = serve(roots=(base,))
        answer = server.http.post("/v1/images/reference", json={"root": root, "path": path})
        assert 400 <= answer.status_code < 500, answer.text
        assert str(tmp_path) not in answer.text
        answer = server.http.get(f"/v1/roots/{root}/files", params={"path": path})
        assert answer.status_code in (200, 403, 404, 422)
        assert "secret" not in json.dumps(answer.json()) or answer.status_code != 200
        assert server.http.get("/v1/images").json() == []

    def test_files_of_the_project_are_not_served(self, server: Server) -> None:
        for path in (
            "/../project.sqlite",
            "/%2e%2e/app.py",
            "/..%2f..%2fapp.py",
            "/static/../app.py",
        ):
            answer = server.http.get(path)
            assert b"SQLite" not in answer.content
            assert b"create_app" not in answer.content

    def test_models_are_names(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "evil.pt").write_bytes(b"\x80\x04cos\nsystem\n")
        image_id = server.image()
        for name in (str(tmp_path / "evil.pt"), "../evil.pt", "nothing"):
            answer = server.http.post("/v1/sessions", json={"image_id": image_id, "model": name})
            assert answer.status_code == 404, answer.text


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
    "npy header": ("a.npy", b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999,)}"),
    "nrrd elsewhere": ("a.nhdr", NRRD % b"4 4 4" + b"encoding: raw\ndata file: /etc/passwd\n\n"),
    "nrrd huge": ("a.nrrd", NRRD % b"99999 99999 99999" + b"encoding: gzip\n\n\x1f\x8b"),
    "mha elsewhere": ("a.mhd", b"NDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = ../../x\n"),
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
}  # fmt: skip


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


def test_a_decoder_that_hangs_is_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from segscope.errors import ReadError
    from segscope.serve.project import sandboxed_reader

    path = tmp_path / "a.png"
    path.write_bytes(PICTURE)
    with pytest.raises(ReadError, match="within the bounds"):
        sandboxed_reader.read_sandboxed(path, {}, Limits(decoder_s=0.01))
    with pytest.raises(ReadError, match=r"bounds|memory"):
        sandboxed_reader.read_sandboxed(path, {}, Limits(decoder_bytes=40 * MIB))
    frames = sandboxed_reader.SandboxedFrames(path, {}, Limits())
    assert frames.process is not None
    frames.process.kill()
    assert frames[0].shape == (16, 16)  # a new child took over
    frames.close()


# --- requests -------------------------------------------------------------------------------------------------------

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 2**31, 2**63, 2**70, 1.5, 1e308, "", "x", "1", "é\u202e", "../..", "' OR 1=1 --",
    "a" * 5000, [], [1], [[1, 2, 3]], [[1e308, -1e308, 1]], [None], {}, {"a": 1}, [{"type": "point", "xy": [1, 2]}],
    [{"type": "mask", "bits": "AAAA", "size_hw": [2, 2]}], [{"type": "box", "xyxy": [5, 5, 1, 1]}],
    {"bbox": [0, 0, 9, 9]},
)  # fmt: skip


def shape_of(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_any_request_is_survived(server: Server) -> None:
    server.open("cells.png")
    spec = server.http.get("/v1/openapi.json").json()
    chance = random.Random(1)
    known: dict[str, list[Any]] = {
        "session_id": [server.session_id], "image_id": [server.image_id], "frame": [0, 1], "object_id": [1, 2],
        "case_id": [1], "root": [0], "index": [0], "format": ["png", "nifti"],
    }  # fmt: skip

    def some(name: str) -> Any:
        return (
            chance.choice(known.get(name) or [chance.choice(JUNK)])
            if chance.random() < 0.6
            else chance.choice(JUNK)
        )

    asked = 0
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            for _ in range(5):
                where, query = path, {}
                for parameter in operation.get("parameters", ()):
                    value = some(parameter["name"])
                    if parameter["in"] == "path":
                        where = where.replace(f"{{{parameter['name']}}}", str(value)[:200] or "x")
                    elif parameter["in"] == "query" and chance.random() < 0.5:
                        query[parameter["name"]] = str(value)[:200]
                body = None
                content = operation.get("requestBody", {}).get("content", {})
                if "application/json" in content:
                    fields = shape_of(spec, content["application/json"]["schema"]).get(
                        "properties", {}
                    )
                    body = {name: some(name) for name in fields if chance.random() < 0.6}
                    body = body if chance.random() < 0.9 else chance.choice(JUNK)
                if "logout" in path or (method == "delete" and "session" in path):
                    continue
                answer = server.http.request(
                    method, where, params=query, headers=server.headers,
                    **({} if body is None else {"content": json.dumps(body)}),
                )  # fmt: skip
                asked += 1
                assert answer.status_code < 500 or answer.status_code in (501, 503), (
                    method, where, query, body, answer.status_code, answer.text[:300],
                )  # fmt: skip
                if answer.status_code >= 400:
                    assert set(answer.json()) == {"detail", "kind"}, answer.text
    assert asked > 150
    assert server.http.get("/v1/health").status_code == 200


def test_bodies_that_are_no_json(server: Server) -> None:
    server.open("cells.png")
    base = f"/v1/sessions/{server.session_id}/predict"
    for content in (
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"points": [[NaN, 1, 1]]}',
        b'{"points": [[Infinity, 1, 1]]}',
    ):
        answer = server.http.post(base, content=content, headers=server.headers)
        assert 400 <= answer.status_code < 500, (
            content[:20],
            answer.status_code,
            answer.text[:200],
        )
    for method in ("TRACE", "PUT", "BREW"):
        assert server.http.request(method, base).status_code in (404, 405)
