"""`segscope serve` and `segscope annotate`: what they refuse, and what they add to a project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from segscope.cli.annotate import Annotate
from segscope.cli.serve import Serve
from segscope.serve.secret_paths import base_path
from segscope.serve.server import ListenAddress
from segscope.serve.settings import ServerSettings


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["serve", "--host", "0.0.0.0", "--no-token"], "loopback"),
        (["serve", "--no-token", "--token", "x"], "either"),
        (["serve", "--host", "0.0.0.0", "--compat-open"], "loopback"),
        (["serve", "--host", "0.0.0.0", "--token", "too-short"], "at least 16"),
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


def test_addresses_with_a_secret_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ServerSettings(tmp_path, token="t" * 24, compat=("monailabel", "qupath", "cvat"))
    for as_json in (True, False):
        Serve(settings, ListenAddress(), as_json)._print_address(["http://127.0.0.1:8484/"])
    printed = capsys.readouterr().out
    for name in ("qupath", "cvat"):
        assert printed.count(f"http://127.0.0.1:8484/{base_path(settings, name)}") == 2
    assert printed.count("http://127.0.0.1:8484/monailabel") == 2


def print_address(address: ListenAddress, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a server at an address prints, to stdout and stderr."""
    settings = ServerSettings(Path("project"), token="t" * 32)
    Serve(settings, address, as_json=False)._print_address(address.urls(8484))
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_printed_addresses_work(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = print_address(ListenAddress("0.0.0.0", 8484), capsys)
    assert "0.0.0.0" not in out
    assert f"http://127.0.0.1:8484/#token={'t' * 32}" in out
    assert "plain HTTP" in err


def test_loopback_and_https_need_no_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for address in (
        ListenAddress(),
        ListenAddress("::1"),
        ListenAddress("192.0.2.1", certificate=tmp_path / "certificate.pem"),
    ):
        out, err = print_address(address, capsys)
        assert err == ""
        assert "#token=" in out


def test_the_token_is_not_on_the_command_line_of_the_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    settings = ServerSettings(tmp_path, token="t" * 32)
    run = Annotate(settings, (), ListenAddress(), open_browser=True, as_json=True)
    run._show_page(["http://127.0.0.1:8484/"])
    assert len(opened) == 1
    assert "t" * 32 not in opened[0]
    assert f"http://127.0.0.1:8484/#token={'t' * 32}" in (tmp_path / "open_page.html").read_text()
