# For type checkers; at run time haypile.alias puts the module of pika here.
# ruff: noqa: F403
from typing import Any

from pika.validators import *

def __getattr__(name: str) -> Any: ...
