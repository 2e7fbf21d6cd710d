"""Stage 3b: the topology and the machine's limits decide how much each process gets.

In here: the division of memory, the sizes of the pools of database connections, and the report of
`ganglion budget`. Not in here: how the limits are found (`machine`) and how a program is configured
with its amounts (`programs`).
"""
