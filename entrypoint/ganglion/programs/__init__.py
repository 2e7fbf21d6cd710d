"""The programs that run in the container: one module or package for each service.

Everything about a service stands together here: its supervisord entries, files, account,
directories, share of the memory, stop time and messages. `registry.py` lists the services, once.
Code that runs inside Synapse's processes belongs to `in_synapse`, forking to `supervisor/fork`, and
persistent files to `data`.
"""
