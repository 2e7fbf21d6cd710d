"""Test controls: everything that a server does on demand in test mode, and never otherwise.

In here: the routes below /test/, a module for each subject, and the protocol for asking the
supervisor and the test agents. Not in here: the code of the agents, which runs inside Synapse
(`in_synapse.test_agent`), and the supervisor's side (`supervisor.command_socket`).
"""
