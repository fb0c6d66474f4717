"""Local stand-ins for each upstream: real HTTP, faithful to the upstream's documents, with faults on demand.

Written from the documents alone. Nothing here imports the ledger, the providers or the reconciler: a stand-in
that shares the parser's mistakes proves nothing.
"""
