"""The programs that run in the container: one module or package for each service.

Everything about a service stands together here: its supervisord entries, files, account,
directories, share of the memory, stop time and messages. `registry.py` lists the services, once.
What all of Synapse's processes share in memory belongs to `supervisor/fork`, what runs inside them
to `in_synapse`, and what persists to `data`.
"""
