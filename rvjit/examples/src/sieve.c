/* Primes below argv[1] thousand, by a sieve of Eratosthenes over one window at a time. */
#include "runtime.h"

enum {
    WINDOW = 32768,   /* numbers sieved at once */
    ROOT = 65536,     /* base primes lie below this, so the limit is at most its square */
    PRIMES = 6542,    /* as many as there are below ROOT */
};

static uint8_t composite[ROOT];
static uint32_t primes[PRIMES];
static uint64_t next_multiple[PRIMES];   /* of each base prime, relative to the window */

/* Fill primes with those below root and return how many there are. */
static uint32_t find_base_primes(uint32_t root)
{
    uint32_t count = 0;
    memset(composite, 0, root);
    for (uint32_t n = 2; n < root; n++) {
        if (composite[n])
            continue;
        primes[count] = n;
        next_multiple[count++] = (uint64_t)n * n;
        for (uint64_t m = (uint64_t)n * n; m < root; m += n)
            composite[m] = 1;
    }
    return count;
}

int main(int argc, char **argv)
{
    uint64_t limit = size_argument(argc, argv, 250) * 1000;
    if (limit > (uint64_t)ROOT * ROOT)
        limit = (uint64_t)ROOT * ROOT;
    uint32_t root = 2;
    while ((uint64_t)root * root < limit)
        root++;
    uint32_t base = find_base_primes(root);

    uint64_t found = 0, last = 0;
    uint32_t sum = MIX_START;
    for (uint64_t start = 0; start < limit; start += WINDOW) {
        uint64_t size = limit - start < WINDOW ? limit - start : WINDOW;
        memset(composite, 0, WINDOW);
        if (start == 0)
            composite[0] = composite[1] = 1;
        for (uint32_t i = 0; i < base; i++) {
            uint64_t step = primes[i], m = next_multiple[i];
            for (; m < size; m += step)
                composite[m] = 1;
            next_multiple[i] = m - size;
        }
        for (uint64_t n = 0; n < size; n++) {
            if (!composite[n]) {
                found++;
                last = start + n;
                sum = mix(sum, (uint32_t)last);
            }
        }
    }
    print_result("primes", found);
    print_result("largest", last);
    print_result("checksum", sum);
    return 0;
}
