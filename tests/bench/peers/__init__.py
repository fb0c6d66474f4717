"""The same work as teams write it: a handler with an ORM session per request. Less than ours does: no blobs, no checks.

Each verifies the token, keeps the raw body once by a unique key and counts what comes again, locks the workflow's row,
moves workflow, steps and jobs forward by rank only, writes a transition for each move, and answers after the commit.
"""
