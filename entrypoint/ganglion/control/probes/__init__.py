"""Probes: small functions that ask one part of a running server and return its problem.

In here: one module for each part. A probe waits for at most its timeout, and changes nothing that
lasts. Judgements of observed facts are pure functions, so they are tested without a server. Not in
here: which parts make a server ready (`control.health`), and repairs (`doctor`).
"""
