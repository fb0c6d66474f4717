"""hookledger's receiver: takes deliveries in, keeps the ledger, answers questions."""

__version__ = "0.1.0"
