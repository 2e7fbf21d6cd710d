"""Metrics: one scrape for all processes of a container, and Ganglion's own series.

In here: asking every process at once (`gather`), merging the answers (`merge`), the text format
(`exposition`), and Ganglion's own series of processes, nginx, PostgreSQL and Redis (`own`). Not in
here: the metrics listeners of Synapse's processes (`programs.synapse.listeners`).
"""
