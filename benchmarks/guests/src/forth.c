/* A stack machine whose words are functions, found in a table and called one after the other:
 * an indirect call for each word. Its program computes greatest common divisors, argv[1] of them.
 */
#include "runtime.h"

struct machine {
    int64_t stack[16];
    int64_t *top;            /* the next free slot */
    const uint8_t *at;       /* the next word */
    uint64_t executed;
};

typedef void word_function(struct machine *);

static void drop(struct machine *m) { m->top--; }
static void swap(struct machine *m) { int64_t a = m->top[-1]; m->top[-1] = m->top[-2]; m->top[-2] = a; }
static void over(struct machine *m) { m->top[0] = m->top[-2]; m->top++; }
static void sub(struct machine *m) { m->top--; m->top[-1] -= m->top[0]; }
static void less(struct machine *m) { m->top--; m->top[-1] = m->top[-1] < m->top[0]; }
static void equal(struct machine *m) { m->top--; m->top[-1] = m->top[-1] == m->top[0]; }
static void jump(struct machine *m) { m->at += (int8_t)*m->at; }
static void jump_unless(struct machine *m) { m->at += *--m->top ? 1 : (int8_t)*m->at; }

enum word { DROP, SWAP, OVER, SUB, LESS, EQUAL, JUMP, UNLESS, END };

static word_function *const words[] = {
    drop, swap, over, sub, less, equal, jump, jump_unless,
};

/* ( a b -- gcd ): subtracts the smaller number from the larger one until they are equal. Jumps are
   relative to their operand. */
static const uint8_t program[] = {
    /*  0 */ OVER, OVER, EQUAL, UNLESS, 3,
    /*  5 */ DROP, END,
    /*  7 */ OVER, OVER, LESS, UNLESS, 2, SWAP,          /* the larger one comes first */
    /* 13 */ SWAP, OVER, SUB, JUMP, (uint8_t)-17,
};

static int64_t run(struct machine *m, int64_t a, int64_t b)
{
    m->top = m->stack;
    *m->top++ = a;
    *m->top++ = b;
    m->at = program;
    uint8_t word;
    while ((word = *m->at++) != END) {
        words[word](m);
        m->executed++;
    }
    return m->top[-1];
}

int main(int argc, char **argv)
{
    static struct machine machine;
    uint64_t pairs = size_argument(argc, argv, 1000);
    uint32_t random = 4711, sum = MIX_START;
    for (uint64_t i = 0; i < pairs; i++) {
        uint32_t r = next_random(&random);
        sum = mix(sum, (uint32_t)run(&machine, (r & 255) + 1, (r >> 8 & 255) + 1));
    }
    print_result("words", machine.executed);
    print_result("checksum", sum);
    return 0;
}
