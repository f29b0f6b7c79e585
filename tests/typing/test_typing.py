"""A program that type-checks against pika type-checks against ``haypile as pika``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import haypile
from tests.support.rabbitmq import in_ci

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


#: An error in each line from the sixth on.
MISTAKES = """
import haypile as pika
from haypile.exceptions import UnroutableError

connection = pika.BlockingConnection(pika.URLParameters("posix:///typed"))
connection.channel().basic_publish("", "queue")
connection.no_such_method()
print(UnroutableError([]).no_such_attribute)
pika.SelectConnection().channel(on_open_callback="no function")
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


def pyright(folder: Path, program: str) -> tuple[int, str]:
    """Exit status and output of pyright (basedpyright, by pyright's own rules) for ``program``."""
    if find_spec("basedpyright") is None:
        if in_ci():
            pytest.fail("basedpyright is not installed, which is in the group lint", pytrace=False)
        pytest.skip("basedpyright is not installed: pip install basedpyright")
    (folder / "program.py").write_text(program)
    source = str(Path(haypile.__file__).parents[1])
    settings = {"include": ["program.py"], "typeCheckingMode": "standard", "extraPaths": [source]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--level", "error", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_pyright(tmp_path: Path) -> None:
    """pyright reads pika's sources."""
    code, output = pyright(tmp_path, PROGRAM.read_text())
    assert code == 0, output


@pytest.mark.timeout(240)
def test_pyright_sees_mistakes(tmp_path: Path) -> None:
    """Through haypile it knows pika's types as well as without it."""
    code, output = pyright(tmp_path, MISTAKES)
    assert code == 1, output
    assert {int(line) for line in re.findall(r"program\.py:(\d+):\d+ - error", output)} == {6, 7, 8, 9}, output
