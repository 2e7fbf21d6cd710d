"""The control application, which nginx serves on CONTROL_PORT, and its clients.

In here: the application itself, the client and the inspection of a running server for the verbs of
the command line, and the test controls (`test`). Not in here: rendering the application's
configuration and its entry for supervisord (`programs.control`).

Production and test mode have the views, which only read. Production runs it with Synapse's account
and without `control.test`, which stops and starts processes and renames databases; test mode runs
it with the supervisor's account.
"""
