"""Benchmarks: our engines, other emulators and native code on the same programs in one run."""
