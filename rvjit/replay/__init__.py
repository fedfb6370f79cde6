"""Checkpoints of a running guest, and a trace from one of them to where the guest failed."""
