"""A real DICOMweb archive for tests: Orthanc on loopback, with a store that is thrown away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD = "tester", "p@ss/word"


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@contextmanager
def orthanc(folder: Path, *, users: bool = False) -> Iterator[str]:
    """The DICOMweb root of an archive that runs inside the block.

    Args:
        folder: of its store.
        users: whether it wants USER and PASSWORD.
    """
    program = shutil.which("Orthanc")
    if program is None:
        pytest.skip("needs Orthanc (on Debian and Ubuntu: apt install orthanc orthanc-dicomweb)")
    plugin = (
        Path(program).resolve().parents[1]
        / "share"
        / "orthanc"
        / "plugins"
        / "libOrthancDicomWeb.so"
    )
    if not plugin.exists():
        pytest.skip(
            "needs Orthanc's DICOMweb plug-in (on Debian and Ubuntu: apt install orthanc-dicomweb)"
        )
    port = _free_port()
    settings = {
        "Name": "tests",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": users,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "store").mkdir(parents=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait(process, f"http://127.0.0.1:{port}/system", folder / "orthanc.log")
        yield f"http://127.0.0.1:{port}/dicom-web/"
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace"))
