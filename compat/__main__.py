"""``python -m compat``, and ``python -m compat acceptance FOLDER`` for pika's own suite."""

import sys

from compat import run
from compat.acceptance import run as acceptance

if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(acceptance.main(arguments[1:]) if arguments[:1] == ["acceptance"] else run.main(arguments))
