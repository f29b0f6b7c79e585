"""Routes files: what they say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from haypile.routes import load
from haypile.targets import TargetError

GOOD = """
[remotes.central]
url = "amqp://user:secret@central/prod"
[[routes]]
match = "orders.local"
to = "here"
[[routes]]
match = ["orders.*", "x"]
to = "central"
kind = "queue"
"""


def test_the_first_rule_that_matches_holds(tmp_path: Path) -> None:
    """And it says why, without the password."""
    (tmp_path / "r.toml").write_text(GOOD)
    routes = load(tmp_path / "r.toml")
    assert routes.explain("queue", "orders.local") == "queue orders.local: here (rule 1, 'orders.local')"
    assert routes.explain("queue", "orders.eu") == (
        "queue orders.eu: central (amqp://central/prod) (rule 2, 'orders.*')"
    )
    assert routes.explain("exchange", "x") == "exchange x: here (no rule matches)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes = 3", "routes must be a list"),
        ("[what]", "unknown part 'what'"),
        ("[[routes]]\nmatch = 'a'\nto = 'there'", "'there' is not among the remotes"),
        ("[[routes]]\nmatch = []\nto = 'here'", "match must be a pattern"),
        ("[[routes]]\nmatch = 'a'\nto = 'here'\nbuffered = true", "only what goes to a RabbitMQ"),
        ("[remotes.a]\nurl = '${HAYPILE_NOT_SET}'", "HAYPILE_NOT_SET is not set"),
        ("[remotes.a]\nurl = 'http://u:secret@h/'", "must begin with amqp://"),
        ("[[links]]\nname = 'l'\nfrom = {queue = 'a'}\nto = {}", "name one in 'to'"),
        ("[[links]]\nname = 'l'\nfrom = {queue = 'a'}\nto = {queue = 'a'}", "to itself"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str, tmp_path: Path) -> None:
    """With the file, the place and no password."""
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(TargetError) as caught:
        load(tmp_path / "r.toml")
    assert said in str(caught.value) and "r.toml" in str(caught.value)
    assert "secret" not in str(caught.value)
