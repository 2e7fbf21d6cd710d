"""The control application, which nginx serves on CONTROL_PORT, and its clients.

In here: the application itself, the client and the inspection of a running server for the verbs of
the command line, and the test controls (`test`). Not in here: rendering the application's
configuration and its entry for supervisord (`programs.control`).

Today the application has test controls only. It runs in test mode only, with the supervisor's
account, because it stops and starts processes and renames databases. Production parts (readiness, a
status page) must have an account of their own and none of `control.test`.
"""
