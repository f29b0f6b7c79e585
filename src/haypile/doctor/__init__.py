"""What ``haypile doctor`` finds out: the kernel's limits, what fits them, what dead processes left.

Owns: looking, and cleaning what is ours.
Must not know: how it is printed (``cli.doctor``).
"""
