"""Ganglion: one Synapse homeserver, split into the workers that one variable asks for."""

__version__ = "0.1.0"
