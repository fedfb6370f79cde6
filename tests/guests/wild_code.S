# Targets of wild jumps.

# The first half of a four-byte instruction in the last two bytes of the executable pages; the
# second half would come from a data page.
    .section .last_halfword, "ax", @progbits
    .globl last_halfword
    .type last_halfword, @function
last_halfword:
    .2byte  0x0513              # the low half of: addi a0, zero, 0
    .size last_halfword, . - last_halfword

# A function in a page that is not executable.
    .section .data.function, "aw", @progbits
    .balign 8
    .globl data_function
    .type data_function, @object
data_function:
    ret
    .size data_function, . - data_function

# int jump_odd(void): reaches its target by a jalr to an odd address, which clears bit 0.
    .section .text.jump_odd, "ax", @progbits
    .globl jump_odd
    .type jump_odd, @function
jump_odd:
    la      t0, 1f
    jalr    t1, 1(t0)
    ebreak
1:  ret
    .size jump_odd, . - jump_odd
