"""A plan as somebody else's files: one module for each target, such as Docker Compose.

In here: how a topology is split into units (`units`), their memory (`sizes`), what all of them get
(`deployment`), and the targets (`targets`, one row each), which return files and never write them.
Not in here: the verb (`cli.export`) and the writing of files that a person may have changed
(`written`). No target may put a secret into a file.
"""
