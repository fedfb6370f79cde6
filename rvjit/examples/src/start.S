# Entry of a freestanding guest: argc and argv are on the stack, as Linux and CKB leave them.
#
# argc is read as 32 bits and sp may be unaligned, because CKB's version 0 pushes it that way.

    .file   "start.S"           # else the symbol table names a temporary file
    .section .text.start, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    li      s0, 0               # ends the chain of frame pointers
    li      ra, 0               # and the chain of return addresses
    lw      a0, 0(sp)           # argc
    addi    a1, sp, 8           # argv
    andi    sp, sp, -16
    call    main
    call    leave               # flushes the output, does not return
    ebreak
    .size _start, . - _start
