"""The names of the main process. This module imports nothing, so code inside Synapse may use it."""

MAIN = "main"
# Synapse's own name for it, in stream_writers and in instance names.
MAIN_AS_WRITER = "master"
