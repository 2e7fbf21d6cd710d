"""supervisord, run in Ganglion's own process, and the forking of Synapse's processes.

What goes in here: everything that runs in the supervisor while the server runs, from the main loop
(`daemon`) to the output of programs, and what a forked child does before Synapse takes over
(`fork`). What does not: deciding which programs there are and how they start (`programs`), and code
that runs inside Synapse (`in_synapse`).
"""
