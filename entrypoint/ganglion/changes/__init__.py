"""From one layout of processes to another: the steps between them, as data.

In here: what each process has to know of the others, which processes must therefore stop together,
the order of the steps, and all of it in words. Everything is pure. Not in here: carrying the steps
out (`supervisor.changing`) and keeping the result (`data.applied_workers`).
"""
