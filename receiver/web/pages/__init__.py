"""The dashboard: pages for people, rendered here, that live on what the ledger answers."""
