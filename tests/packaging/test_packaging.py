"""What is installed: the wheel in an empty environment, a small import, another user, a small /dev/shm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: A message there and back.
PROGRAM = """
import haypile as pika
with pika.BlockingConnection(pika.ConnectionParameters("localhost")) as connection:
    channel = connection.channel()
    channel.queue_declare("tasks")
    channel.basic_publish("", "tasks", b"hello")
    print(channel.basic_get("tasks", auto_ack=True)[2].decode())
    channel.queue_delete("tasks")
"""


def run(*command: str | Path, **options: object) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def clean() -> dict[str, str]:
    """The environment without what leads to this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HAYPILE_URL")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the wheel, made from the sdist, and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, env=clean())
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_in_an_empty_environment(built: Path, tmp_path: Path, state_directory: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"haypile/py.typed", "pytest_haypile.py", "haypile/site/sitecustomize.py"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"haypile", "pytest_haypile.py", f"{wheel.name[:13]}.dist-info"}
    assert not [name for name in names if name.endswith(".pyc")]
    place = tmp_path / "empty"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    environment = clean()
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel, env=environment)
    run(python, "-m", "pip", "check", env=environment)
    got = run(python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check", env=environment)
    installed = {line.partition("==")[0].lower().replace("-", "_") for line in got.split()}
    allowed = {"haypile", "pika", "lmdb", "posix_ipc", "sysv_ipc", "click", "patchpy"}
    allowed |= {"tomli"} if sys.version_info < (3, 11) else set()
    assert installed - {"pip", "setuptools", "wheel"} <= allowed
    assert run(python, "-c", PROGRAM, env=environment, cwd=tmp_path) == "hello\n"
    for command in ([python, "-m", "haypile"], [place / "bin" / "haypile"]):
        assert run(*command, "--version", env=environment, cwd=tmp_path).startswith("haypile, version")
        assert "Commands:" in run(*command, "--help", env=environment, cwd=tmp_path)
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "pytest", env=environment)
    (tmp_path / "test_it.py").write_text("def test(haypile_vhost):\n    haypile_vhost.connect().close()\n")
    assert "1 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", env=environment, cwd=tmp_path)


def test_importing_haypile_costs_little_more_than_pika(tmp_path: Path) -> None:
    """Under 30 %, in processor time and with bytecode at hand. The least of many runs: other work only adds."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    program = "import time; begin = time.process_time(); import {}; print(time.process_time() - begin)"

    def cost(name: str) -> float:
        return float(run(sys.executable, "-c", program.format(name), env=environment))

    pairs = [(cost("pika"), cost("haypile")) for _ in range(15)]
    pika, haypile = (min(times) for times in zip(*pairs, strict=True))
    assert haypile < 1.3 * pika, f"pika {pika} s, haypile {haypile} s"


#: Forked, since another user may not be able to read this Python's files: everything is imported before.
AS_NOBODY = f"""
import os, pathlib, pkgutil, importlib, sys, tempfile
import haypile
for module in pkgutil.walk_packages(haypile.__path__, "haypile."):
    if module.name.rpartition(".")[2] not in ("gevent", "twisted", "tornado", "__main__", "sitecustomize") and (
        "_connection" not in module.name and not module.name.startswith("haypile.cli")
    ):
        importlib.import_module(module.name)
directory = tempfile.mkdtemp(dir="/dev/shm")
# What lmdb and others import when they are first used is imported here, too.
os.environ["HAYPILE_DIR"] = directory + "/first"
os.environ["HAYPILE_JOURNAL_DIR"] = directory + "/journal"
exec({PROGRAM!r})
os.chown(directory, 65534, 65534)
os.environ["HAYPILE_DIR"] = directory + "/state"
os.environ["HAYPILE_JOURNAL_DIR"] = directory + "/other"
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
exec({PROGRAM!r})
assert os.stat(directory + "/state").st_uid == 65534
import shutil
shutil.rmtree(directory, ignore_errors=True)
os._exit(0)
"""


def test_another_user() -> None:
    """A uid that is not root's; where the tests do not run as root, every test is such a one."""
    if os.geteuid():
        return
    code = AS_NOBODY.replace("os._exit(0)", "sys.stdout.flush(); os._exit(0)")
    try:
        assert run(sys.executable, "-c", code) == "hello\nhello\n"
    finally:
        for left in Path("/dev/shm").glob("tmp*"):
            if left.stat().st_uid == 65534:
                shutil.rmtree(left, ignore_errors=True)


#: More than 64 MB in all, never more than a part of it at a time.
CROWDED = """
import os, sys
import haypile as pika
body, count = b"x" * 4000, 30_000
connection = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
channel = connection.channel()
channel.queue_declare("tasks")
for _ in range(2_000):
    channel.basic_publish("", "tasks", body)
child = os.fork()
if not child:
    other = pika.BlockingConnection(pika.ConnectionParameters("localhost"))
    reader = other.channel()
    reader.basic_qos(prefetch_count=50)
    got = 0
    for method, _, _ in reader.consume("tasks", inactivity_timeout=60):
        if method is None:
            break
        reader.basic_ack(method.delivery_tag)
        got += 1
        if got == count:
            break
    other.close()
    os._exit(0 if got == count else 1)
for number in range(count - 2_000):
    channel.basic_publish("", "tasks", body)
    while number % 500 == 0 and channel.queue_declare("tasks", passive=True).method.message_count > 3_000:
        connection.sleep(0.01)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert channel.queue_declare("tasks", passive=True).method.message_count == 0
connection.close()
print("all there")
"""


def test_a_small_shared_memory(tmp_path: Path) -> None:
    """64 MB, as containers have. Making one needs mount rights."""
    script = 'mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm && exec "$0" -c "$1"'
    environment = {**os.environ, "HAYPILE_JOURNAL_DIR": str(tmp_path / "journal")}
    for name in ("HAYPILE_DIR", "XDG_RUNTIME_DIR"):
        environment.pop(name, None)
    can = subprocess.run(["unshare", "-m", "-i", "true"], capture_output=True, check=False).returncode == 0
    if not can:
        size = os.statvfs("/dev/shm")
        if size.f_blocks * size.f_frsize > 65 << 20:
            pytest.skip("a /dev/shm of 64 MB cannot be mounted by this user")
        assert run(sys.executable, "-c", CROWDED, env=environment) == "all there\n"
        return
    done = run("unshare", "-m", "-i", "bash", "-c", script, sys.executable, CROWDED, env=environment)
    assert done == "all there\n"
