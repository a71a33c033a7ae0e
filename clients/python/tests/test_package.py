"""The package itself: generated from one source, typed, and complete when published."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE = ("__pycache__", "*.egg-info", "build", "dist", ".*")


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_blocking_client_is_as_generated() -> None:
    run("scripts/unasync.py", "--check")


# The oldest and the newest supported Python, each with one of the checkers.


def test_mypy_accepts_client_and_its_use(tmp_path: Path) -> None:
    run("-m", "mypy", "--python-version", "3.10", "--cache-dir", str(tmp_path))


def test_pyright_accepts_client_and_its_use() -> None:
    # The PyPI package includes the compiler; it needs node and no download.
    python = ("--pythonpath", sys.executable)
    run("-m", "pyright", "--pythonversion", "3.13", *python, PYRIGHT_PYTHON_IGNORE_WARNINGS="1")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], Path, Path]:
    """The names of the sources, the sdist, and the wheel that is built from it."""
    # A build writes beside its sources, so it works on a copy.
    source = tmp_path_factory.mktemp("source") / "package"
    out = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*MADE))
    names = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    run("-m", "build", "--no-isolation", "--outdir", str(out), str(source))
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return names, sdist, wheel


def test_the_sdist_has_every_file(built: tuple[set[str], Path, Path]) -> None:
    names, sdist, _ = built
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "scripts/unasync.py", "LICENSE", "README.md"} <= names
    assert names - packed == set()


def test_the_wheel_installs_and_names_its_licence(
    built: tuple[set[str], Path, Path], tmp_path: Path
) -> None:
    wheel = built[2]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    assert "fido_relay/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "scripts")) for name in names)
    for line in [
        "License-Expression: Apache-2.0",
        "Author: The fido-relay authors",
        "Requires-Python: >=3.10",
        "Project-URL: Source, ",
        "Classifier: Programming Language :: Python :: 3.13",
    ]:
        assert f"\n{line}" in text
    target = ("--no-deps", "--no-index", "--quiet", "--target", str(tmp_path))
    run("-m", "pip", "install", *target, str(wheel))
    code = "import fido_relay; print(fido_relay.__file__, fido_relay.FidoRelay.__name__)"
    shown = run("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert shown.split() == [str(tmp_path / "fido_relay/__init__.py"), "FidoRelay"]
