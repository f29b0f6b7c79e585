"""``python -m haypile``: the command line."""

from haypile.cli.app import app

app(prog_name="haypile")
