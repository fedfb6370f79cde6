# Code that is rewritten while it runs; it lies in a segment that is readable, writable, executable.

    .section .rwx, "awx", @progbits
    .option norvc
    .balign 4096

# int constant(void): the caller rewrites the first instruction.
    .globl constant
    .type constant, @function
constant:
    addi    a0, zero, 0
    ret
    .size constant, . - constant

# int next_fenced(int start, int word): stores the word over the instruction after the fence.
    .globl next_fenced
    .type next_fenced, @function
next_fenced:
    la      t0, 1f
    sw      a1, 0(t0)
    fence.i
1:  addi    a0, a0, 1
    ret
    .size next_fenced, . - next_fenced

# int next_bare(int start, int word): the same without the fence.
    .globl next_bare
    .type next_bare, @function
next_bare:
    la      t0, 1f
    sw      a1, 0(t0)
1:  addi    a0, a0, 1
    ret
    .size next_bare, . - next_bare

# int hot_fenced(int rounds, int even, int odd): adds up what its own loop body says; the body is
# exchanged in every round, between the two words.
    .globl hot_fenced
    .type hot_fenced, @function
hot_fenced:
    li      t1, 0
    la      t0, 2f
1:  sw      a1, 0(t0)
    fence.i
2:  addi    t1, t1, 0
    mv      t2, a1
    mv      a1, a2
    mv      a2, t2
    addi    a0, a0, -1
    bnez    a0, 1b
    mv      a0, t1
    ret
    .size hot_fenced, . - hot_fenced

# int hot_bare(int rounds, int even, int odd): the same without the fence.
    .globl hot_bare
    .type hot_bare, @function
hot_bare:
    li      t1, 0
    la      t0, 2f
1:  sw      a1, 0(t0)
2:  addi    t1, t1, 0
    mv      t2, a1
    mv      a1, a2
    mv      a2, t2
    addi    a0, a0, -1
    bnez    a0, 1b
    mv      a0, t1
    ret
    .size hot_bare, . - hot_bare

# int behind(int rounds): an instruction that was executed before is rewritten later in the same
# loop, with a halfword store into its immediate, so every round adds one more than the last.
    .globl behind
    .type behind, @function
behind:
    li      t1, 0
    la      t0, 1f
    li      t2, 0               # immediate, kept below 2048
    lhu     t3, 2(t0)
    andi    t3, t3, 15          # low bits of the upper half: rs1
1:  addi    t1, t1, 0
    addi    t2, t2, 1
    slli    t4, t2, 4
    or      t4, t4, t3
    sh      t4, 2(t0)
    addi    a0, a0, -1
    bnez    a0, 1b
    sh      t3, 2(t0)           # back to addi t1, t1, 0
    fence.i
    mv      a0, t1
    ret
    .size behind, . - behind

# int branchy(int rounds, int word): in the middle of the loop a nop becomes the given word, a
# jump over an instruction, after half the rounds.
    .globl branchy
    .type branchy, @function
branchy:
    li      t1, 0
    la      t0, 2f
    srli    t2, a0, 1
1:  bne     a0, t2, 2f
    sw      a1, 0(t0)
2:  nop
    addi    t1, t1, 1           # skipped by the jump
    addi    t1, t1, 1
    addi    a0, a0, -1
    bnez    a0, 1b
    mv      a0, t1
    ret
    .size branchy, . - branchy
