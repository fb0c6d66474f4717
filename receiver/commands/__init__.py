"""The commands of `hookledger`, one subject a file."""
