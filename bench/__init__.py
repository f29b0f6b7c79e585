"""haypile and what a user would pick instead, measured side by side on the same work.

``python -m bench --help`` says how. Nothing in here is part of the installed package.
"""
