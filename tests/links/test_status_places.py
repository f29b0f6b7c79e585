"""What is known of links, where there is no vhost (any more)."""

from __future__ import annotations

from pathlib import Path

from haypile.links import status


def test_who_only_looks_makes_nothing(tmp_path: Path) -> None:
    """A process that runs links looks for new ones now and then, also when the vhost was removed."""
    vhost = tmp_path / "posix" / "gone"
    assert status.declared(vhost) == []
    assert status.read_all(vhost) == {}
    assert not status.forget(vhost, "link")
    status.erase(vhost, "link")
    status.unlock(vhost, "link")
    assert not list(tmp_path.iterdir())
