"""supervisord, run in Ganglion's own process, and the forking of Synapse's processes.

In here: everything that runs in the supervisor while the server runs, from the main loop (`daemon`)
to the output of programs, and the first steps of a forked child until Synapse takes over (`fork`).
Not in here: the list of programs and how each starts (`programs`), and code that runs inside
Synapse (`in_synapse`).
"""
