"""Stage 3a: the topology decides which worker serves which request.

In here: the table of routes, the operator's own routes, the maps that nginx and Python both
evaluate, and nginx's consistent hash in Python. Not in here: the rest of nginx's configuration,
which is in `programs`.
"""
