"""Synapse is imported once, in the supervisor, and its processes are forked from there.

In here: the parent's side (`preload`, `shared_config`, `immortal`) and the child's side (`become`).
Not in here: starting, stopping and restarting processes, which is the same for forked and other
programs (`supervisor.program`).
"""
