"""Routes files: what they say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from haypile.cli.main import main as cli
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


CHECKED = """
[remotes.central]
url = "amqp://user:secret@central:5673/prod"
[remotes.other]
url = "amqps://other/%2F"
[[routes]]
match = ["orders.eu", "orders.u?"]
to = "here"
[[routes]]
match = "orders.*"
to = "central"
buffered = true
[[routes]]
match = "[ab]*"
to = "other"
kind = "exchange"
[[links]]
name = "l"
from = { queue = "a" }
to = { remote = "other", queue = "b" }
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "{path}: right; 2 remotes, 3 rules, 1 links"),
        (["orders.eu"], "queue orders.eu: here (rule 1, 'orders.eu')"),
        (["orders.us"], "queue orders.us: here (rule 1, 'orders.u?')"),
        (["orders.asia"], "queue orders.asia: central (amqp://central:5673/prod), buffered (rule 2, 'orders.*')"),
        (["-x", "orders.x"], "exchange orders.x: central (amqp://central:5673/prod), buffered (rule 2, 'orders.*')"),
        (["audit"], "queue audit: here (no rule matches)"),
        (["-x", "audit"], "exchange audit: other (amqps://other/%2F) (rule 3, '[ab]*')"),
        (["amq.gen-orders.x"], "queue amq.gen-orders.x: here (no rule matches)"),
        (["-x", "c", "d"], "exchange c: here (no rule matches)\nexchange d: here (no rule matches)"),
    ],
)
def test_check_says_where_and_why(arguments: list[str], said: str, tmp_path: Path) -> None:
    """Every word of it, and no password."""
    path = tmp_path / "r.toml"
    path.write_text(CHECKED)
    done = CliRunner().invoke(cli, ["routes", "check", "--routes", str(path), *arguments])
    assert (done.exit_code, done.output) == (0, said.format(path=path) + "\n")


def test_check_of_a_wrong_file(tmp_path: Path) -> None:
    """It fails, and says what is wrong."""
    path = tmp_path / "r.toml"
    path.write_text(CHECKED.replace('to = "other"', 'to = "otter"'))
    done = CliRunner().invoke(cli, ["routes", "check", "--routes", str(path)])
    assert done.exit_code == 1
    assert done.output == f"Error: {path}: route 3: 'otter' is not among the remotes (central, other) nor 'here'\n"
