"""Storms: programs that are killed at random while a ledger accounts for every message."""
