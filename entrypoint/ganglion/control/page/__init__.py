"""The status page: files for a browser, and the facts that they show, as JSON.

In here: the files (`files`), the facts of one moment (`sight`), rates and times of requests
(`traffic`), the last hour (`history`), and slow facts of the database (`database`). The page takes
all of it as data: names of servers and users are text, never markup.
"""
