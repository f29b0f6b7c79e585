"""Every fenced sample of README and docs runs, and the site's links lead somewhere.

Python blocks are programs, or tests where they begin with ``# test_NAME.py``; sh blocks run as they stand, and stop
at the first error. toml blocks are routes files, which ``haypile routes check`` accepts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def samples() -> list[tuple[str, str, str]]:
    """Page and line, language, text."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            if match.group(1):
                line = text.count("\n", 0, match.start()) + 1
                found.append((f"{page.name}:{line}", match.group(1), match.group(2)))
    return found


@pytest.fixture
def shell(tmp_path: Path, state_directory: Path) -> dict[str, str]:
    """An environment in which ``python`` is this one, and ``haypile`` its."""
    (tmp_path / "bin").mkdir()
    for name, more in (("python", ""), ("haypile", "-m haypile ")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {more}"$@"\n')
        command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "HAYPILE_URL"}
    return kept | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


@pytest.mark.parametrize(("where", "language", "text"), samples(), ids=[where for where, _, _ in samples()])
def test_sample(where: str, language: str, text: str, tmp_path: Path, shell: dict[str, str]) -> None:
    """It ends well."""
    if language == "sh":
        command = ["bash", "-euo", "pipefail", "-c", text]
    elif language == "toml":
        (tmp_path / "haypile.toml").write_text(text)
        shell = shell | {"CENTRAL_URL": "amqp://user:word@central.example/%2F"}
        command = ["bash", "-c", "haypile routes check orders.new | grep -q central"]
    elif language == "python":
        named = re.match(r"# (test_\w+\.py)\n", text)
        path = tmp_path / (named.group(1) if named else "sample.py")
        path.write_text(text)
        command = [sys.executable, str(path)]
        if named:
            command[1:] = ["-m", "pytest", "-q", "-p", "pytest_haypile", "-p", "no:cacheprovider", str(path)]
    else:
        pytest.fail(f"{where}: a sample in {language!r} is run by nobody; use python, sh or toml, or indent it")
    done = subprocess.run(command, cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"


def test_there_are_samples() -> None:
    assert {language for _, language, _ in samples()} == {"python", "sh", "toml"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Links to files of the project lead to one."""
    for link in LINK.findall(page.read_text()):
        if not link.startswith(("http://", "https://", "#", "mailto:")):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name}: {link}"
