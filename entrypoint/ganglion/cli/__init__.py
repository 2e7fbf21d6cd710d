"""The command line: one module for each verb.

In here: what a verb reads from the terminal and prints, its options and its manual, which is the
docstring of its module. Not in here: decisions, files, requests to a server. A verb calls the
packages above for those. To add a verb, add a module with a VERB and its name to verb.VERBS.
"""
