"""`python -m receiver` is `hookledger`."""

from receiver.cli import main

if __name__ == "__main__":
    main(prog_name="hookledger")
