"""The persistent data directory, and everything that a start does to it.

`paths.py` is the exception: it spells every path and may be imported by all. Rendered files belong
to `files` and `programs`; the embedded cluster's contents to `programs/postgres`.
"""
