"""`ganglion doctor`: checks of an installation, running or stopped.

In here: the table of checks (`table`), the facts about the installation that they share (`place`,
`database`, `network`), their concurrent run with a time limit (`runner`), and one module for each
group of checks. A check observes facts (effects: files, database, network) and judges them (a pure
function), so each judgement is tested without a server. No check changes anything.
Not in here: how findings are printed (`cli.doctor`), and repairs, which are only suggested.
"""
