"""Benchmarks of Ganglion, which `scripts/bench NAME` runs.

Here: one module for each benchmark, and everything that only benchmarks need (load, servers to
measure, results, plots, the pages of docs/performance.md). Not here: anything that the server or
its tests import.
"""
