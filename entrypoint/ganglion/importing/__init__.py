"""Read another Synapse installation, and say which Ganglion does the same.

In here: finding and reading the old files, the duties of the old workers and their names in
WORKERS, the fate of every option, and the report. Not in here: the command line, which is in
`cli`. The old installation is only read.
"""
