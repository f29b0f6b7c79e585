"""Opening, sharing, forking, refusing, and surviving SIGKILL."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct

import lmdb
import pytest

from haypile.hay import room, store
from haypile.hay.errors import Damaged, HayClosed, OutOfRoom, UnusableDirectory
from haypile.hay.places import check_private, make_private
from haypile.hay.sessions import SessionFile
from haypile.hay.store import Hay

#: How many times longer than usual the tests that kill go on.
STORM = int(os.environ.get("HAYPILE_STORM", "1"))
ORDER = Struct(">BQI")
Start = Callable[[Callable[[], None]], int]


def order(number: int) -> bytes:
    return ORDER.pack(255, number, 7)


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """A stuck lock is a failure, not a stuck test."""

    def late(*_: object) -> None:
        raise TimeoutError(f"nothing moved for {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- opening --------------------------------------------------------------------------------------


def test_a_process_shares_one_store_per_directory(place: Path) -> None:
    first, second = Hay.open(place), Hay.open(place.parent / "." / "vhost")
    assert first is second
    first.close()
    with second.write() as txn:
        txn.put(1, order(1), b"x")
    second.close()
    with pytest.raises(HayClosed), second.read():
        raise AssertionError
    with pytest.raises(HayClosed), second.write():
        raise AssertionError
    again = Hay.open(place)
    assert again is not first and again.nonce == first.nonce and again.count_now(1) == 1
    again.close()
    again.close()


def test_everything_is_private(hay: Hay, place: Path) -> None:
    for root, directories, files in os.walk(place):
        assert all(os.stat(os.path.join(root, name)).st_mode & 0o777 == 0o700 for name in directories)
        assert all(os.stat(os.path.join(root, name)).st_mode & 0o777 == 0o600 for name in files)


def test_two_stores_in_one_process(hay: Hay, place: Path) -> None:
    other = Hay.open(place.parent / "other")
    assert other.nonce != hay.nonce
    with hay.write() as one, other.write() as two:
        one.put(1, order(1), b"here")
        two.put(1, order(1), b"there too")
    assert (hay.count_now(1), other.count_now(1)) == (1, 1)
    other.close()


def test_opening_without_making(place: Path) -> None:
    with pytest.raises(UnusableDirectory, match=r"cannot use .*vhost: No such file"):
        Hay.open(place, create=False)
    place.mkdir(0o700)
    with pytest.raises(UnusableDirectory, match=r"vhost holds no store"):
        Hay.open(place, create=False)
    Hay.open(place).close()
    Hay.open(place, create=False).close()


def test_descriptors_are_given_back(place: Path) -> None:
    Hay.open(place).close()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Hay.open(place).close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_clock_goes_on_in_all_processes(hay: Hay, child: Start) -> None:
    before = hay.now()
    assert abs(before - time.time_ns()) < 10**9

    def look() -> None:
        assert before <= hay.now() <= before + 10**10

    assert wait(child(look)) == 0


def test_a_store_of_an_earlier_boot_is_thrown_away(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for module in ("store", "environment"):
            patch.setattr(f"haypile.hay.{module}.boot_id", lambda: b"an earlier boot")
        old = Hay.open(place)
        with old.write() as txn:
            txn.put(1, order(1), b"x")
        old.close()
    new = Hay.open(place)
    assert new.count_now(1) == 0 and new.nonce != old.nonce
    assert sorted(os.listdir(place)) == ["hay", "lock", "sessions"]
    new.close()


def test_bytes_can_be_put_aside(hay: Hay, place: Path) -> None:
    first, second = hay.set_aside("a/queue", b"foreign"), hay.set_aside("a/queue", b"bytes")
    assert first.parent == place / "aside" and first.name.startswith("a%2Fqueue-")
    assert (first.read_bytes(), second.read_bytes()) == (b"foreign", b"bytes")
    assert first.stat().st_mode & 0o777 == 0o600


def test_litter_of_killed_makers_is_swept(place: Path) -> None:
    make_private(place / ".hay.0123")
    (place / ".hay.0123" / "data.mdb").write_bytes(b"half")
    Hay.open(place).close()
    assert sorted(os.listdir(place)) == ["hay", "lock", "sessions"]


# -- refusing ---------------------------------------------------------------------------------------


def test_hostile_directories_are_refused(place: Path) -> None:
    make_private(place)
    os.chmod(place, 0o750)
    with pytest.raises(UnusableDirectory, match=r"vhost is open to other users \(mode 0750\).*chmod 700"):
        Hay.open(place)
    os.chmod(place, 0o700)
    link = place.parent / "link"
    link.symlink_to(place)
    with pytest.raises(UnusableDirectory, match=r"link is a symbolic link"):
        Hay.open(link)
    file = place.parent / "file"
    file.write_bytes(b"")
    with pytest.raises(UnusableDirectory, match=r"file is not a directory"):
        Hay.open(file)
    with pytest.raises(UnusableDirectory, match=r"cannot make .*file/vhost"):
        Hay.open(file / "vhost")
    assert os.listdir(place) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_is_refused(place: Path) -> None:
    make_private(place)
    os.chown(place, 12345, 12345)
    with pytest.raises(UnusableDirectory, match=r"belongs to user 12345"):
        Hay.open(place)


def test_parents_are_checked_down_from_the_base(place: Path) -> None:
    deep = place / "a" / "b"
    make_private(deep)
    check_private(deep, place)
    os.chmod(place / "a", 0o755)
    check_private(deep)
    with pytest.raises(UnusableDirectory, match=r"/a is open to other users"):
        check_private(deep, place)
    with pytest.raises(ValueError, match=r"does not lie in"):
        check_private(place, deep)


def test_planted_files_are_refused(place: Path) -> None:
    make_private(place)
    (place / "lock").symlink_to("/dev/null")
    with pytest.raises(UnusableDirectory, match=r"cannot open .*/lock"):
        Hay.open(place)
    (place / "lock").unlink()
    Hay.open(place).close()
    (place / "hay" / "data.mdb").write_bytes(b"no LMDB file" * 1000)
    with pytest.raises(UnusableDirectory, match=r"cannot open the store in .*/hay"):
        Hay.open(place)


def test_little_address_space_is_enough(place: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from haypile.hay.store import Hay\n"
        "hay = Hay.open(Path(sys.argv[1]))\n"
        "with hay.write() as txn: txn.put(1, bytes(13), b'x')\n"
        "print(hay.count_now(1))"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    wide = Hay.open(place)
    assert wide.count_now(1) == 1
    wide.close()


# -- forking ------------------------------------------------------------------------------------------


def test_a_child_and_its_parent_go_on(hay: Hay, child: Start) -> None:
    def in_child() -> None:
        with hay.write() as txn:
            txn.put(1, order(1), b"child")
        with hay.read() as read:
            assert read.count(1) == (1, 5)

    with hay.read() as read:
        read.count(1)
    assert wait(child(in_child)) == 0
    with hay.read() as read:
        assert read.count(1) == (1, 5)


def test_forks_beside_writing_and_reading_threads(hay: Hay, child: Start) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []
    written = [0]

    def writing() -> None:
        try:
            while not stop.is_set():
                with hay.write() as txn:
                    written[0] += 1
                    txn.put(1, order(written[0]), b"x" * 100)
        except BaseException as error:
            failures.append(error)

    def reading() -> None:
        try:
            while not stop.is_set():
                with hay.read() as read:
                    assert read.count(1)[0] == len(read.entries(1, 1_000_000))
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=writing),
        threading.Thread(target=reading),
        threading.Thread(target=reading),
    ]
    for thread in threads:
        thread.start()
    try:
        with deadline(30):
            for number in range(60):

                def in_child(number: int = number) -> None:
                    with hay.write() as txn:
                        txn.put(2, order(number), b"child")

                assert wait(child(in_child)) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert hay.count_now(1) == written[0] and hay.count_now(2) == 60


def test_a_fork_inside_a_transaction_leaves_it_alone(hay: Hay, child: Start) -> None:
    def in_child() -> None:
        time.sleep(0.05)
        with hay.write() as txn:
            txn.put(2, order(1), b"child")

    with hay.write() as txn:
        txn.put(1, order(1), b"before")
        pid = child(in_child)
        txn.put(1, order(2), b"after")
    with deadline(10):
        assert wait(pid) == 0
        assert hay.count_now(1) == 2 and hay.count_now(2) == 1


def test_a_fork_beside_a_reader_that_takes_its_time(
    hay: Hay, child: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child closes what it has of the environment, and the reader's pages are still not used again."""
    monkeypatch.setattr(store, "FORK_PATIENCE", 0.05)
    reading, go_on = threading.Event(), threading.Event()
    seen: list[tuple[int, int]] = []

    def read() -> None:
        with hay.read() as read, hay.read() as another:
            reading.set()
            go_on.wait(30)
            seen.extend((one.count(1)[0], len(one.entries(1, 1_000_000))) for one in (read, another))

    def write(first: int) -> None:
        for number in range(first, first + 200):
            with hay.write() as txn:
                txn.put(1, order(number), b"x" * 100)

    def in_child() -> None:
        write(1000)
        assert hay.count_now(1) == 400

    write(0)
    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(10)
    try:
        assert wait(child(in_child)) == 0
        for _ in range(3):
            write(2000)
            with hay.write() as txn:
                txn.purge(1)
    finally:
        go_on.set()
        reader.join()
    assert seen == [(200, 200)] * 2
    assert hay.count_now(1) == 0


def test_a_wait_for_the_lock_can_be_timed_out(hay: Hay, child: Start) -> None:
    """A signal handler's TimeoutError is an OSError, and yet no failure of lockf."""
    ready, told = os.pipe()

    def hold() -> None:
        with hay.write():
            os.write(told, b"!")
            time.sleep(60)

    pid = child(hold)
    os.read(ready, 1)

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    try:
        for attempt in (hay.write, hay.exclusive):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(TimeoutError), attempt():
                raise AssertionError
    finally:
        signal.signal(signal.SIGALRM, before)
        os.kill(pid, signal.SIGKILL)
    with hay.write() as txn:
        txn.put(1, order(1), b"x")
    os.close(ready)
    os.close(told)


def test_two_vhosts_crosswise_are_no_deadlock(hay: Hay, place: Path, child: Start) -> None:
    """Threads of two processes wait for each other's vhosts: fcntl takes that for a deadlock."""
    other = Hay.open(place.parent / "other")

    def cross() -> None:
        failures: list[BaseException] = []

        def hammer(store: Hay) -> None:
            try:
                for _ in range(150):
                    with store.write() as txn:
                        txn.next_id("x")
                        time.sleep(0.0002)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=hammer, args=(store,)) for store in (hay, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    with deadline(20):
        assert [wait(pid) for pid in [child(cross), child(cross)]] == [0, 0]
    for one in (hay, other):
        with one.write() as txn:
            assert txn.next_id("x") == 301
    other.close()


# -- interrupting -------------------------------------------------------------------------------------


class Interrupt(BaseException):
    """Ctrl-C."""


def test_interrupts_at_any_instant_leave_no_lock_and_whole_counts(hay: Hay, child: Start) -> None:
    draw = random.Random(8)

    def interrupt(*_: object) -> None:
        raise Interrupt

    def work(number: int) -> None:
        with hay.write() as txn:
            txn.put(1, order(number), bytes(100))
            txn.put_row(b"row", b"%d" % number)
        if hay.count_now(1) > 20:
            with hay.write() as txn:
                txn.take(1, 15)

    before = signal.signal(signal.SIGALRM, interrupt)
    number = interrupted = 0
    end = time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.00002, 0.0004))
                while True:
                    number += 1
                    # A call: CPython 3.14 has the jump from an if that ends a loop outside of the loop's try.
                    work(number)
            except Interrupt:
                hay.let_go()
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 200

    def look() -> None:
        with deadline(5), hay.write() as txn:
            entries = txn.entries(1, 1000)
            assert txn.count(1) == (len(entries), 100 * len(entries))
            assert hay.gates.version == txn.version

    assert wait(child(look)) == 0
    errors: list[object] = []
    thread = threading.Thread(target=lambda: errors.append(look_from_a_thread()))

    def look_from_a_thread() -> int:
        with hay.write() as txn, hay.read() as read:
            return txn.count(1)[0] - read.count(1)[0]

    thread.start()
    thread.join(5)
    assert errors == [0]


# -- killing ------------------------------------------------------------------------------------------


@pytest.mark.storm
@pytest.mark.timeout(120 * STORM)
def test_killed_writers_leave_a_whole_store_and_no_lock(hay: Hay, child: Start) -> None:
    """Each writer adds to its queue, notes how many in a row, then in memory; one is killed, often."""
    committed = mmap.mmap(-1, 4096)
    counters = memoryview(committed).cast("Q")
    draw = random.Random(5)

    def writer(queue: int) -> None:
        number = counters[queue]
        while True:
            with hay.write() as txn:
                number = int(txn.row(b"%d" % queue) or b"0")
                for _ in range(3):
                    number += 1
                    txn.put(queue, order(number), bytes(draw.choice((10, 1000, 5000))))
                txn.put_row(b"%d" % queue, b"%d" % number)
                txn.hold(queue, 1, queue, number)
                if number > 60:
                    txn.take(queue, 3)
                txn.drop(queue, [number - 3])
            counters[queue] = number

    def start(queue: int) -> int:
        return child(lambda: writer(queue))

    with deadline(60 * STORM):
        pids = {queue: start(queue) for queue in (1, 2, 3)}
        for _ in range(60 * STORM):
            time.sleep(draw.uniform(0, 0.01))
            victim = draw.randint(1, 3)
            os.kill(pids[victim], signal.SIGKILL)
            os.waitpid(pids[victim], 0)
            seen = {queue: counters[queue] for queue in (1, 2, 3)}
            with hay.write() as txn:
                assert hay.gates.version == txn.version
                for queue in (1, 2, 3):
                    entries = txn.entries(queue, 1_000_000)
                    assert txn.count(queue) == (len(entries), sum(entry.size for entry in entries))
                    last = int(txn.row(b"%d" % queue) or b"0")
                    assert last >= seen[queue]
                    assert not entries or int.from_bytes(entries[-1].order[1:9], "big") == last
                    assert all(len(txn.record(entry)) == entry.size for entry in entries)
                    assert len(txn.taken(queue)) <= 1
            pids[victim] = start(victim)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
    assert all(counters[queue] for queue in (1, 2, 3))


@pytest.mark.storm
@pytest.mark.timeout(120 * STORM)
def test_killed_makers_leave_a_store_that_opens(place: Path, child: Start) -> None:
    draw = random.Random(6)

    def opener(directory: Path) -> None:
        hay = Hay.open(directory)
        with hay.write() as txn:
            txn.put(1, order(os.getpid()), b"x")

    with deadline(60 * STORM):
        for number in range(60 * STORM):
            directory = place / str(number)
            pids = [child(lambda directory=directory: opener(directory)) for _ in range(3)]  # type: ignore[misc]
            time.sleep(draw.uniform(0, 0.004))
            os.kill(pids[number % 3], signal.SIGKILL)
            statuses = [wait(pid) for pid in pids]
            assert all(status in (0, -9) for status in statuses)
            hay = Hay.open(directory)
            assert hay.count_now(1) >= statuses.count(0)
            hay.close()
            assert sorted(os.listdir(directory)) == ["hay", "lock", "sessions"]


def test_killed_readers_do_not_fill_the_store(hay: Hay, child: Start) -> None:
    ready, told = os.pipe()

    def reader() -> None:
        with hay.read() as read:
            read.count(1)
            os.write(told, b"!")
            time.sleep(60)

    pid = child(reader)
    os.read(ready, 1)
    assert hay.count_now(1) == 0
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert hay.reader_check() == 1
    os.close(ready)
    os.close(told)


# -- full ---------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(place: Path) -> Iterator[Path]:
    """A tmpfs of 3 MiB, as small containers have."""
    make_private(place)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "haypile-test", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def fill_with_messages(hay: Hay) -> int:
    number = 0
    with pytest.raises(OutOfRoom, match="no room left in"):
        while True:
            with hay.write() as txn:
                txn.put(1, order(number), b"x" * 5000)
                number += 1
    return number - 1


def test_a_full_tmpfs_refuses_and_goes_on(tiny: Path) -> None:
    hay = Hay.open(tiny / "vhost")
    number = fill_with_messages(hay)
    assert hay.count_now(1) == number > 100
    fill(tiny / "ballast")
    sessions: list[SessionFile] = []
    with pytest.raises(OutOfRoom, match=r"cannot make .*\.(lock|bell)|no room"):
        for _ in range(20):
            sessions.append(SessionFile.create(hay, bytes(3000)))
    with pytest.raises(OutOfRoom), hay.write() as txn:
        for _ in range(3000):
            hay.gates.allocate(txn)
    (tiny / "ballast").unlink()
    with hay.write() as txn:
        assert len(txn.take(1, 1000)) == number
    for session in sessions:
        session.close()
    hay.close()


def drain(hay: Hay, number: int) -> None:
    for tag in range(1, number + 1):
        with hay.write() as txn:
            assert len(txn.hold(1, 1, session=1, first_tag=tag)) == 1
        with hay.write() as txn:
            txn.drop(1, [tag])
    assert hay.count_now(1) == 0


def test_consumers_go_on_when_memory_is_full(tiny: Path) -> None:
    """Deleting needs pages as well: the reserve has them. The alarm says who must wait."""
    hay = Hay.open(tiny / "vhost")
    assert not room.look(hay)
    assert room.left(hay) > 1_000_000
    number = fill_with_messages(hay)
    assert hay.gates.alarm
    drain(hay, number)
    assert not room.look(hay) and not hay.gates.alarm
    assert os.stat(tiny / "vhost" / "hay" / "reserve").st_size > 100_000
    number = fill_with_messages(hay)
    drain(hay, number)
    hay.close()


def test_what_is_kept_back_is_not_for_those_who_can_wait(tiny: Path) -> None:
    hay = Hay.open(tiny / "vhost")
    reserve = tiny / "vhost" / "hay" / "reserve"
    kept = os.stat(reserve).st_blocks
    assert kept * 512 > 100_000
    for patient, left in ((True, kept), (False, 0)):
        fill(tiny / "ballast")
        with pytest.raises(OutOfRoom, match="no room left in"), hay.write() as txn:
            txn.patient = patient
            for number in range(100):
                txn.put(1, order(number), b"x" * 5000)
        assert os.stat(reserve).st_blocks == left and hay.gates.alarm
    # It is said anew each time.
    with hay.write() as txn:
        assert not txn.patient
    hay.close()


def test_publishers_that_ask_leave_room_for_consumers(tiny: Path) -> None:
    hay = Hay.open(tiny / "vhost")
    for _ in range(10):
        number = 0
        with pytest.raises(OutOfRoom, match=r"only \d+ bytes are left|no room left"):
            while True:
                hay.admit(5000)
                with hay.write() as txn:
                    txn.put(1, order(number), b"x" * 5000)
                    number += 1
        assert number > 100 and hay.gates.alarm
        drain(hay, hay.count_now(1))
        assert not room.look(hay)
    hay.close()


def test_a_full_tmpfs_makes_no_store(tiny: Path) -> None:
    fill(tiny / "ballast")
    with pytest.raises((OutOfRoom, UnusableDirectory), match=r"No space left|cannot make"):
        Hay.open(tiny / "vhost")
    (tiny / "ballast").unlink()
    Hay.open(tiny / "vhost").close()


def test_lmdbs_complaints_are_said_clearly(hay: Hay) -> None:
    """What LMDB finds wrong with its pages ends a read or a write with one exception, and leaves no lock behind."""
    for begin in (hay.read, hay.write):
        with pytest.raises(Damaged, match=r"is damaged: .*MDB_PAGE_NOTFOUND.*remove that directory"), begin():
            raise lmdb.PageNotFoundError("mdb_get: MDB_PAGE_NOTFOUND")
    with hay.write() as txn:
        txn.put_row(b"key", b"value")
    with hay.read() as reading:
        assert reading.row(b"key") == b"value"
