/* Every AMO as word and doubleword, LR/SC loops, and SC without a reservation. */
#include "runtime.h"

static uint64_t cell;
static uint64_t other;

static const uint64_t operands[] = {
    0, 1, UINT64_C(0xffffffffffffffff), UINT64_C(0x7fffffffffffffff), UINT64_C(0x8000000000000000),
    UINT64_C(0x7fffffff), UINT64_C(0x80000000), UINT64_C(0x123456789abcdef0),
};

enum { OPERANDS = sizeof operands / sizeof operands[0] };

#define AMO(name, insn)                                                                     \
    static uint64_t name(uint64_t value)                                                    \
    {                                                                                       \
        uint64_t old;                                                                       \
        __asm__ volatile(insn " %0, %1, (%2)" : "=&r"(old) : "r"(value), "r"(&cell) : "memory"); \
        return old;                                                                         \
    }

#define AMO_BOTH(name, insn) AMO(name##_w, insn ".w") AMO(name##_d, insn ".d.aqrl")

AMO_BOTH(swap, "amoswap")
AMO_BOTH(add, "amoadd")
AMO_BOTH(xor, "amoxor")
AMO_BOTH(and, "amoand")
AMO_BOTH(or, "amoor")
AMO_BOTH(min, "amomin")
AMO_BOTH(max, "amomax")
AMO_BOTH(minu, "amominu")
AMO_BOTH(maxu, "amomaxu")

#define ROW(name) {#name ".w", name##_w}, {#name ".d", name##_d}

static const struct {
    const char *name;
    uint64_t (*amo)(uint64_t value);
} amos[] = {
    ROW(swap), ROW(add), ROW(xor), ROW(and), ROW(or), ROW(min), ROW(max), ROW(minu), ROW(maxu),
};

static uint32_t mix64(uint32_t sum, uint64_t value)
{
    return mix(mix(sum, (uint32_t)value), (uint32_t)(value >> 32));
}

/* Add to the cell by an LR/SC loop; returns how often SC failed. */
static uint64_t add_reserved_d(uint64_t value)
{
    uint64_t old, failed, failures = 0;
    do {
        __asm__ volatile("lr.d.aq %0, (%2)\n\tadd %0, %0, %3\n\tsc.d.rl %1, %0, (%2)"
                         : "=&r"(old), "=&r"(failed) : "r"(&cell), "r"(value) : "memory");
        failures += failed;
    } while (failed);
    return failures;
}

static uint64_t add_reserved_w(uint64_t value)
{
    uint64_t old, failed, failures = 0;
    do {
        __asm__ volatile("lr.w %0, (%2)\n\tadd %0, %0, %3\n\tsc.w %1, %0, (%2)"
                         : "=&r"(old), "=&r"(failed) : "r"(&cell), "r"(value) : "memory");
        failures += failed;
    } while (failed);
    return failures;
}

static uint64_t load_reserved_w(void)
{
    uint64_t old;
    __asm__ volatile("lr.w %0, (%1)" : "=r"(old) : "r"(&cell) : "memory");
    return old;
}

static uint64_t store_conditional_d(uint64_t *to, uint64_t value)
{
    uint64_t failed;
    __asm__ volatile("sc.d %0, %1, (%2)" : "=&r"(failed) : "r"(value), "r"(to) : "memory");
    return failed;
}

/* Reserve the cell, then store conditionally at once: to the cell and again, or elsewhere. */
static void print_conditional(void)
{
    uint64_t old, first, second;
    cell = 1, other = 1;
    __asm__ volatile("lr.d %0, (%3)\n\tsc.d %1, %4, (%3)\n\tsc.d %2, %5, (%3)"
                     : "=&r"(old), "=&r"(first), "=&r"(second)
                     : "r"(&cell), "r"(UINT64_C(2)), "r"(UINT64_C(3)) : "memory");
    print_result("sc after lr", first);
    print_result("sc again", second);
    print_result("cell", cell);
    __asm__ volatile("lr.d %0, (%2)\n\tsc.d %1, %4, (%3)"
                     : "=&r"(old), "=&r"(first)
                     : "r"(&cell), "r"(&other), "r"(UINT64_C(9)) : "memory");
    print_result("sc elsewhere", first);
    print_result("other", other);
    print_result("sc without lr", store_conditional_d(&other, 9));
    print_result("other", other);
}

int main(void)
{
    for (size_t i = 0; i < sizeof amos / sizeof amos[0]; i++) {
        uint32_t sum = MIX_START;
        for (int j = 0; j < OPERANDS; j++) {
            for (int k = 0; k < OPERANDS; k++) {
                cell = operands[j];
                sum = mix64(sum, amos[i].amo(operands[k]));
                sum = mix64(sum, cell);
            }
        }
        print_result(amos[i].name, sum);
    }
    cell = UINT64_C(0x80000000fffffff0);
    print_result("lr.w", load_reserved_w());
    uint64_t failures = 0;
    for (uint64_t i = 0; i < 1000; i++)
        failures += add_reserved_d(i * i) + add_reserved_w(i);
    print_result("failures", failures);
    print_result("cell", cell);
    print_conditional();
    return 0;
}
