"""CKB's scheduler: scripts that are many VMs, run deterministically and metered to the cycle.

`scheduler` is the loop; `runner` runs one VM, `calls` and `loads` are its system calls, `replies`
and `pipes` what the scheduler does about them, `population` which VMs have a machine, `suspended`
all of it at rest.
"""
