"""`python -m rvjit` is the command `rvjit`."""

if __name__ == "__main__":
    import gc

    gc.disable()  # as rvjit_command.py does
    from rvjit.cli import process

    process()
