/* A small register machine, interpreted by a switch in a loop.
 *
 * Its program finds the longest Collatz sequence among the starts up to argv[1] and sums the
 * lengths of all of them.
 */
#include "runtime.h"

enum opcode {
    LOAD,       /* r[a] = c             */
    MOVE,       /* r[a] = r[b]          */
    ADD,        /* r[a] = r[a] + r[b]   */
    ADD_CONST,  /* r[a] = r[b] + c      */
    MUL_CONST,  /* r[a] = r[b] * c      */
    HALVE,      /* r[a] = r[b] / 2      */
    IF_ODD,     /* jump to c if r[a] is odd */
    IF_LESS,    /* jump to c if r[a] < r[b] */
    IF_EQUAL,   /* jump to c if r[a] == r[b] */
    JUMP,       /* jump to c            */
    STOP,
};

struct instruction {
    uint8_t opcode, a, b;
    int32_t c;
};

/* Registers: 0 start, 1 last start, 2 value, 3 steps, 4 the constant 1, 5 best start,
   6 best steps, 7 sum of steps. */
static const struct instruction program[] = {
    /*  0 */ {LOAD, 0, 0, 0},
    /*  1 */ {LOAD, 4, 0, 1},
    /*  2 */ {LOAD, 6, 0, 0},
    /*  3 */ {LOAD, 7, 0, 0},
    /*  4 */ {ADD_CONST, 0, 0, 1},      /* next start */
    /*  5 */ {IF_LESS, 1, 0, 19},
    /*  6 */ {MOVE, 2, 0, 0},
    /*  7 */ {LOAD, 3, 0, 0},
    /*  8 */ {IF_EQUAL, 2, 4, 14},      /* next step */
    /*  9 */ {ADD_CONST, 3, 3, 1},
    /* 10 */ {IF_ODD, 2, 0, 20},
    /* 11 */ {HALVE, 2, 2, 0},
    /* 12 */ {JUMP, 0, 0, 8},
    /* 13 */ {STOP, 0, 0, 0},
    /* 14 */ {ADD, 7, 3, 0},            /* end of a sequence */
    /* 15 */ {IF_LESS, 6, 3, 17},
    /* 16 */ {JUMP, 0, 0, 4},
    /* 17 */ {MOVE, 6, 3, 0},
    /* 18 */ {JUMP, 0, 0, 23},
    /* 19 */ {STOP, 0, 0, 0},
    /* 20 */ {MUL_CONST, 2, 2, 3},      /* odd value */
    /* 21 */ {ADD_CONST, 2, 2, 1},
    /* 22 */ {JUMP, 0, 0, 8},
    /* 23 */ {MOVE, 5, 0, 0},           /* a new best */
    /* 24 */ {JUMP, 0, 0, 4},
};

/* Run until STOP and return the number of executed instructions. */
static uint64_t run(const struct instruction *code, uint64_t r[8])
{
    uint64_t executed = 0;
    const struct instruction *at = code;
    for (;;) {
        const struct instruction *i = at++;
        executed++;
        switch ((enum opcode)i->opcode) {
        case LOAD: r[i->a] = (uint64_t)(int64_t)i->c; break;
        case MOVE: r[i->a] = r[i->b]; break;
        case ADD: r[i->a] += r[i->b]; break;
        case ADD_CONST: r[i->a] = r[i->b] + (uint64_t)(int64_t)i->c; break;
        case MUL_CONST: r[i->a] = r[i->b] * (uint64_t)(int64_t)i->c; break;
        case HALVE: r[i->a] = r[i->b] >> 1; break;
        case IF_ODD: if (r[i->a] & 1) at = code + i->c; break;
        case IF_LESS: if (r[i->a] < r[i->b]) at = code + i->c; break;
        case IF_EQUAL: if (r[i->a] == r[i->b]) at = code + i->c; break;
        case JUMP: at = code + i->c; break;
        case STOP: return executed;
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t r[8] = {0};
    r[1] = size_argument(argc, argv, 800);
    uint64_t executed = run(program, r);
    print_result("longest from", r[5]);
    print_result("steps", r[6]);
    print_result("all steps", r[7]);
    print_result("bytecodes", executed);
    return 0;
}
