/* Functions for the host to call. Built at -O1 with frame pointers and without tail calls. */
#include "runtime.h"

#define EXPORT __attribute__((noinline, used, retain))

/* Keeps callers from being folded into what they call. */
#define BARRIER() __asm__ volatile("" ::: "memory")

EXPORT int64_t add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

EXPORT uint64_t fact(uint64_t n)
{
    return n < 2 ? 1 : n * fact(n - 1);
}

EXPORT uint64_t sum(const uint64_t *from, uint64_t length)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < length; i++)
        total += from[i];
    return total;
}

EXPORT void store_at(uint64_t *to, uint64_t value)
{
    *to = value;
}

EXPORT void crash_c(uint64_t n)
{
    uint64_t *volatile nowhere = NULL;
    *nowhere = n;
    BARRIER();
}

EXPORT void crash_b(uint64_t n)
{
    crash_c(n + 1);
    BARRIER();
}

EXPORT void crash_a(uint64_t n)
{
    crash_b(n * 2);
    BARRIER();
}

/* Ends in a store of 2n + 1 to address 0, three calls further down. */
EXPORT void crash(uint64_t n)
{
    crash_a(n);
    BARRIER();
}

int main(void)
{
    static const uint64_t numbers[5] = {1, 2, 3, 5, 8};
    uint64_t cell = 0;
    print_result("add", (uint64_t)add(2, 40));
    print_result("fact", fact(10));
    print_result("sum", sum(numbers, 5));
    store_at(&cell, 7);
    print_result("store_at", cell);
    return 0;
}
