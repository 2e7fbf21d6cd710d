"""Synapse: its processes, its configuration in layers, and the options of test mode."""
