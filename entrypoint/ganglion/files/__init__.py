"""Rendered files: the type, the writer, and a quoting filter for each syntax.

Their contents belong to `programs`.
"""
