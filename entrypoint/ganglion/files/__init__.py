"""What a rendered file is, how it is written, and a quoting filter for each syntax.

What the files say belongs to `programs`.
"""
