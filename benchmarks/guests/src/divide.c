/* Division: powers modulo numbers of 32 bits, greatest common divisors, digits, argv[1] rounds. */
#include "runtime.h"

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1;
    for (base %= modulus; exponent != 0; exponent >>= 1) {
        if (exponent & 1)
            result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint32_t digits(uint64_t value, uint64_t base)
{
    uint32_t sum = 0;
    for (; value != 0; value /= base)
        sum += (uint32_t)(value % base);
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 1000);
    uint32_t random = 1729, sum = MIX_START;
    for (uint64_t i = 0; i < rounds; i++) {
        uint32_t a = next_random(&random), b = next_random(&random) | 1;
        uint64_t p = power(a, b & 0xffff, b);
        sum = mix(mix(mix(sum, (uint32_t)p), gcd(a, b)), digits((uint64_t)a * b, 10 + (i & 7)));
    }
    print_result("checksum", sum);
    return 0;
}
