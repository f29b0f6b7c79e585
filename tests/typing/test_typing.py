"""A program that type-checks against pika type-checks against ``haypile as pika``."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import haypile

PROGRAM = Path(__file__).with_name("program.py")

#: pika itself is not typed (no py.typed): a program's checker is told to take it as it is.
SETTINGS = """
[mypy]
strict = true
[mypy-pika.*]
ignore_missing_imports = true
[mypy-haypile.*]
follow_imports = silent
"""


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.timeout(240)
def test_mypy(tmp_path: Path) -> None:
    """Strictly, with haypile where a user has it: among the installed packages."""
    over_pika = tmp_path / "over_pika.py"
    text = PROGRAM.read_text().replace("import haypile as pika", "import pika").replace("from haypile.", "from pika.")
    over_pika.write_text("\n".join(line for line in text.splitlines() if "install(" not in line))
    over_haypile = tmp_path / "over_haypile.py"
    over_haypile.write_text(PROGRAM.read_text())
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", over_pika.name, over_haypile.name],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(haypile.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
@pytest.mark.timeout(240)
def test_pyright() -> None:
    """pyright reads pika's sources."""
    done = subprocess.run([sys.executable, "-m", "pyright", str(PROGRAM)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
