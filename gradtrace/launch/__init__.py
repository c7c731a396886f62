"""Programs under `gradtrace run`: where their traces go, and the python processes that they start.

Nothing here imports torch or click, since it is loaded into every python that a traced program starts.
"""
