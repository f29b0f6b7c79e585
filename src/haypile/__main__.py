"""``python -m haypile``: the command line."""

from haypile.cli.main import main

main(prog_name="haypile")
