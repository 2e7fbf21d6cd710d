"""Stage 2: Settings become the set of Synapse processes that run.

In here: the table of roles, the syntax of WORKERS, the layouts of WORKERS=auto, and the addresses
of the processes. Not in here: which requests a process serves (`routing`), how much memory it gets
(`budget`), and how it is configured and started (`programs`, `supervisor`).
"""
