"""Faults: a process is killed at one chosen step, and another one looks at what it left."""
