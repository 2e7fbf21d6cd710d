"""What only a server for tests has: an agent in each of Synapse's processes, `ganglion test`."""
