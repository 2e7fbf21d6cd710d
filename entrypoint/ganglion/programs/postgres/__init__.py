"""PostgreSQL: the embedded server, its cluster, and the wait for an external server."""
