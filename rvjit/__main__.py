"""`python -m rvjit` is the command `rvjit`."""

if __name__ == "__main__":
    import gc

    from rvjit.imports import quicken

    gc.disable()  # as rvjit_command.py does
    quicken()
    from rvjit.cli import process

    process()
