/* Rewrites instructions that run next, ran before, or are running in a hot loop.
 *
 * Lines with "bare" hold for machines that see their own stores at the next instruction, with or
 * without fence.i.
 */
#include "runtime.h"

extern int constant(void);
extern int next_fenced(int start, int word);
extern int next_bare(int start, int word);
extern int hot_fenced(int rounds, int even, int odd);
extern int hot_bare(int rounds, int even, int odd);
extern int behind(int rounds);
extern int branchy(int rounds, int word);

enum { A0 = 10, T1 = 6, ROUNDS = 2000, JUMP_8 = 0x0080006f };

/* addi rd, rs1, immediate */
static uint32_t addi(uint32_t rd, uint32_t rs1, int32_t immediate)
{
    return (uint32_t)immediate << 20 | rs1 << 15 | rd << 7 | 0x13;
}

/* Let constant() return the value. */
static void set_constant(int32_t value)
{
    *(volatile uint32_t *)(uintptr_t)constant = addi(A0, 0, value);
}

/* Replace constant() by three compressed instructions: c.li a0, 21; c.add a0, a0; c.jr ra. */
static void set_compressed(void)
{
    volatile uint16_t *code = (volatile uint16_t *)(uintptr_t)constant;
    code[0] = 0x4555;
    code[1] = 0x952a;
    code[2] = 0x8082;
}

int main(void)
{
    int64_t sum = 0;
    for (int i = -1000; i < 1000; i++) {
        set_constant(i);
        __asm__ volatile("fence.i" ::: "memory");
        sum += constant();
    }
    print("fenced calls: ");
    print_signed(sum);
    sum = 0;
    for (int i = -1000; i < 1000; i++) {
        set_constant(i);
        sum += constant();
    }
    print("\nbare calls: ");
    print_signed(sum);

    uint64_t chain = 0;
    for (int i = 0; i < 100; i++)
        chain = chain * 3 + (uint64_t)next_fenced(i, (int)addi(A0, A0, 7 * i));
    print("\nnext fenced: ");
    print_hex(chain, 16);
    chain = 0;
    for (int i = 0; i < 100; i++)
        chain = chain * 3 + (uint64_t)next_bare(i, (int)addi(A0, A0, 7 * i));
    print("\nnext bare: ");
    print_hex(chain, 16);

    print("\nhot fenced: ");
    print_signed(hot_fenced(ROUNDS, (int)addi(T1, T1, 3), (int)addi(T1, T1, 100)));
    print("\nhot bare: ");
    print_signed(hot_bare(ROUNDS, (int)addi(T1, T1, 3), (int)addi(T1, T1, 100)));
    print("\nbehind: ");
    print_signed(behind(ROUNDS));
    print("\nbranchy: ");
    print_signed(branchy(ROUNDS, JUMP_8));

    set_compressed();
    __asm__ volatile("fence.i" ::: "memory");
    print("\ncompressed: ");
    print_signed(constant());
    print_char('\n');
    return 0;
}
