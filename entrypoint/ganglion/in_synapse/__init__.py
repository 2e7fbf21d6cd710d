"""Code that Synapse loads into its own processes.

In here: the handler of Synapse's log (`log_handler`), the mending of Synapse's faults (`fixes`),
the start of a process that is not forked (`start`), the packages that a process can import
(`imports`), the refusal of requests that a process would not come to (`shedding`), and the module
through which test controls reach into a process (`test_agent`). Not in here: anything that runs in
the supervisor or in the control application. A process that is started on its own imports what this
package imports, so it imports nothing of Ganglion but `topology.names`, `settings.fix_names` and,
only where it is needed, `programs.postgres.sequences`.
"""
