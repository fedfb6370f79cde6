# Counts for ever, in s1 and in the doubleword called counter, three instructions a round.

    .section .text.start, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    la      a0, counter
    li      s1, 0
    .globl again
again:
    addi    s1, s1, 1
    sd      s1, 0(a0)
    j       again
    .size _start, . - _start

    .section .bss.counter, "aw", @nobits
    .balign 8
    .globl counter
    .type counter, @object
    .size counter, 8
counter:
    .zero   8
