"""Each check on a commit's way from the wire to the view, taken out in turn: a fast test must notice.

`checks.toml` is the list, `python -m tests.removed_checks` runs it, `test_checks.py` keeps it from growing stale.
"""
