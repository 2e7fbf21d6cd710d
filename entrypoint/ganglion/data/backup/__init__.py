"""Backups of a server: making, checking, restoring and scheduling them.

In here: the format of the archive, the files in it, and the way back into an empty data
directory. Not in here: the dump of the database and temporary PostgreSQL servers
(`programs.postgres`), and the text that the verbs print (`cli`).
"""
