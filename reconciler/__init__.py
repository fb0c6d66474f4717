"""hookledger's reconciler: asks upstream about what has gone quiet, and renews what expires."""
