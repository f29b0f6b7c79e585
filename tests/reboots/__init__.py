"""Reboots: state in memory and kernel queues are gone, the journal is kept."""
