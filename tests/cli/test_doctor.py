"""`segscope doctor`: what it reports about an installation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import segscope
from segscope.cli import doctor
from segscope.cli.app import main


def test_doctor_finds_this_environment_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert code == 0
    assert found["program"]["segscope"] == segscope.__version__
    assert "cpu" in found["devices"]
    assert found["packages"]["torch"]


def test_doctor_sees_a_torchvision_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from segscope.cli import doctor; report = doctor.Report();"
        "doctor.check_torchvision(report); print(report.problems)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "torchvision is installed but does not work" in said


def test_doctor_sees_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor.metadata,
        "requires",
        lambda _: ["numpy>=99", "no-such-package>=1", 'ray; extra == "x"'],
    )
    report = doctor.Report()
    doctor.check_packages(report)
    assert len(report.problems) == 2
    assert "numpy" in report.problems[0]
    assert "no-such-package is not installed" in report.problems[1]


def test_doctor_goes_on_when_a_check_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: doctor.Report) -> None:
        raise RuntimeError("boom")

    monkeypatch.setitem(doctor.CHECKS, "devices", broken)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "boom" in said
    assert "folders" in said
