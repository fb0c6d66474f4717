"""`python -m receiver.config` prints the table of settings for the README."""

from __future__ import annotations

import sys

from receiver.config.table import markdown

if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
