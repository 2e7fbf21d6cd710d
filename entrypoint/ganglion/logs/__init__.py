"""Log lines: how they lose their secrets, how they are read and how they are written.

All of it is pure and imports only the standard library: the supervisor, Synapse's processes and
`ganglion logs` use it.
"""
