"""Facts about this machine: installed programs, Unix accounts, cgroup limits, the interpreter.

In here: code that looks something up and returns it. Not in here: decisions that follow from what
was found. How much of a limit a process gets is decided in `budget`; which programs run, in
`programs`.
"""
