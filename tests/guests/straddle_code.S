# Instructions at the ends of pages. Each function's marked instruction is at page offset 0xffe
# (four bytes, on two pages) unless its name says otherwise.

    .section .text.straddle, "ax", @progbits
    .option norelax

# Start of a page plus 0xff0: four four-byte places and a half one are left on this page.
.macro near_end
    .balign 4096
    .rept 0xff0 / 2
    .2byte  0x0001              # c.nop
    .endr
.endm

    near_end
    .globl straddle_add         # a0 + a1 * 2: falls through into the straddling instruction
    .type straddle_add, @function
straddle_add:
    .option rvc
    c.nop
    c.nop
    c.nop
    c.nop
    c.nop
    c.nop
    c.add   a0, a1              # offset 0xffc
    .option norvc
    add     a0, a0, a1          # offset 0xffe
    ret
    .size straddle_add, . - straddle_add

    near_end
    .globl straddle_entry       # a0 - a1: the function starts with the straddling instruction
    .type straddle_entry, @function
    .option norvc
    addi    zero, zero, 1
    addi    zero, zero, 2
    addi    zero, zero, 3
    .option rvc
    c.nop
    .option norvc
straddle_entry:
    sub     a0, a0, a1          # offset 0xffe
    ret
    .size straddle_entry, . - straddle_entry

    near_end
    .globl straddle_branch      # a0 != a1: a straddling branch, taken or not
    .type straddle_branch, @function
straddle_branch:
    addi    a2, zero, 1
    addi    zero, zero, 2
    addi    zero, zero, 3
    .option rvc
    c.nop
    .option norvc
    bne     a0, a1, 1f          # offset 0xffe
    addi    a2, zero, 0
1:  mv      a0, a2
    ret
    .size straddle_branch, . - straddle_branch

    near_end
    .globl straddle_jump        # a0 + 5: a straddling jal over an ebreak, with a link
    .type straddle_jump, @function
straddle_jump:
    addi    a0, a0, 5
    addi    zero, zero, 2
    addi    zero, zero, 3
    .option rvc
    c.nop
    .option norvc
    jal     t0, 1f              # offset 0xffe
    ebreak
1:  la      t1, 1b
    sub     t1, t1, t0          # 4: the ebreak's size
    add     a0, a0, t1
    addi    a0, a0, -4
    ret
    .size straddle_jump, . - straddle_jump

    near_end
    .globl straddle_load        # a straddling doubleword load from a0, which may straddle too
    .type straddle_load, @function
straddle_load:
    addi    zero, zero, 1
    addi    zero, zero, 2
    addi    zero, zero, 3
    .option rvc
    c.nop
    .option norvc
    ld      a0, 0(a0)           # offset 0xffe
    ret
    .size straddle_load, . - straddle_load

    near_end
    .globl whole_at_ffc         # a0 + a1: four bytes that end with the page
    .type whole_at_ffc, @function
whole_at_ffc:
    addi    zero, zero, 1
    addi    zero, zero, 2
    addi    zero, zero, 3
    add     a0, a0, a1          # offset 0xffc
    ret
    .size whole_at_ffc, . - whole_at_ffc

    near_end
    .globl compressed_at_ffe    # a0 + a1: two bytes that end with the page
    .type compressed_at_ffe, @function
compressed_at_ffe:
    addi    zero, zero, 1
    addi    zero, zero, 2
    addi    zero, zero, 3
    .option rvc
    c.nop
    c.add   a0, a1              # offset 0xffe
    c.jr    ra
    .option norvc
    .size compressed_at_ffe, . - compressed_at_ffe

    near_end
    .globl straddle_loop        # sum of 1..a0: a loop whose body straddles
    .type straddle_loop, @function
straddle_loop:
    li      a1, 0
    addi    zero, zero, 2
    addi    zero, zero, 3
1:  .option rvc
    c.add   a1, a0              # offset 0xffc
    .option norvc
    addi    a0, a0, -1          # offset 0xffe
    bnez    a0, 1b
    mv      a0, a1
    ret
    .size straddle_loop, . - straddle_loop
