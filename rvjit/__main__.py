"""`python -m rvjit` is the command `rvjit`."""

from rvjit.cli import process

if __name__ == "__main__":
    process()
