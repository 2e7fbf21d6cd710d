"""Stage 1: the environment and the operator's files become Settings, or a list of problems.

In here: the table of variables, the parsers of their values, and every check that needs nothing but
variables, the operator's files and the data directory. Not in here: anything about the machine,
about workers or about the programs that run.
"""
