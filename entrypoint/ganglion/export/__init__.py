"""A plan as somebody else's files: one module for each target, such as Docker Compose.

Targets of containers (`targets`, one row each) get a topology split into units (`units`), their
memory (`sizes`) and what all of them get (`deployment`); none of these puts a secret into a file.
Targets of one machine (`machine_targets`) get a plan for its place there (`place`), with secrets in
files of their own (`kept`). All return files and never write them.
Not in here: the verb (`cli.export`) and the writing of files that a person may have changed
(`written`).
"""
