"""A server on this machine, started and stopped with the plug-in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

_ARGUMENTS = ("serve", "--port", "0", "--compat", "none", "--json")
_STOP_TIMEOUT_S = 20
_LONGEST_ERROR = 500
_END_OF_JSON = "}\n"


class NoServer(Exception):
    """The server cannot be started; the message says what to do."""


class LocalServer:
    """`segscope serve` as a separate process, so that torch never enters napari.

    Attributes:
        url, token: where the server listens, and its token.
    """

    def __init__(self, project: Path | None = None, program: list[str] | None = None) -> None:
        """Start the server and wait until it listens.

        Raises:
            NoServer: segscope is not installed here, or the server ended at once.
        """
        argv = [*(program or _find_program()), *_ARGUMENTS]
        if project is not None:
            argv += ["--project", str(project)]
        # a file, not a pipe: nobody reads it, and a pipe would fill up
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        output = self._read_start()
        try:
            address = json.loads(output)
            self.url = str(address["url"])
            self.token = str(address["token"])
        except (ValueError, KeyError):
            reason = self.stop() or output.strip() or "it printed nothing"
            raise NoServer(f"the server did not start: {reason}") from None

    def _read_start(self) -> str:
        """What the server prints until it listens or ends."""
        assert self._process.stdout is not None
        output = ""
        for line in self._process.stdout:
            output += line
            if line == _END_OF_JSON:
                break
        return output

    def stop(self) -> str:
        """Stop the server, whose work is stored in its project; the last errors it printed."""
        if self._errors.closed:
            return ""
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.seek(0)
        errors = self._errors.read().strip()[-_LONGEST_ERROR:]
        self._errors.close()
        return errors


def _find_program() -> list[str]:
    if find_spec("segscope") is not None:
        return [sys.executable, "-m", "segscope"]
    program = shutil.which("segscope")
    if program is None:
        raise NoServer(
            "segscope is not installed here; run pip install 'segscope[serve]', or connect to a "
            "server elsewhere"
        )
    return [program]
