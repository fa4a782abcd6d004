"""What importing costs, and which names there are."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import segscope


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_import_is_quick_and_free_of_torch() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import segscope;"
        "print(time.perf_counter() - start);"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    seconds, loaded = python(code).splitlines()
    assert float(seconds) < 0.3
    assert loaded == "[]"


@pytest.mark.parametrize(
    "module", ["io", "render", "overlay", "wire", "phantom", "simulate", "cli.app"]
)
def test_rooms_below_the_networks_are_free_of_torch(module: str) -> None:
    loaded = python(
        f"import sys, segscope.{module};"
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert loaded.strip() == "False"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from segscope.cli.app import main; main(['--help']);"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'nibabel', 'pydicom', 'PIL'};"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    assert python(code).splitlines()[-1] == "heavy: []"


def test_every_public_name_is_there() -> None:
    assert len(segscope.__all__) <= 24
    for name in segscope.__all__:
        assert getattr(segscope, name) is not None
        assert name in dir(segscope)


def test_functions_survive_the_import_of_modules_of_the_same_name() -> None:
    import segscope.load
    import segscope.overlay

    assert callable(segscope.load)
    assert callable(segscope.overlay)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = segscope.nothing


SCRIPTS = [
    path
    for folder in ("benchmarks", "recipes", "docs")
    for path in sorted((Path(__file__).parents[1] / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_names_that_exist(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("segscope"):
            module = importlib.import_module(node.module)
            for name in node.names:
                submodule = f"{node.module}.{name.name}"
                known = hasattr(module, name.name) or importlib.util.find_spec(submodule)
                assert known, f"line {node.lineno}: {submodule}"
