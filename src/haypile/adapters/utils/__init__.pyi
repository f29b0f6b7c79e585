# For type checkers; at run time haypile.alias puts the module of pika here.
from typing import Any

def __getattr__(name: str) -> Any: ...
