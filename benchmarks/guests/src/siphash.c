/* SipHash-2-4 of short keys of 0 to 63 bytes, argv[1] of them. */
#include "runtime.h"

static uint64_t rotate(uint64_t x, int count)
{
    return x << count | x >> (64 - count);
}

#define ROUND                                                       \
    do {                                                            \
        v0 += v1, v1 = rotate(v1, 13) ^ v0, v0 = rotate(v0, 32);    \
        v2 += v3, v3 = rotate(v3, 16) ^ v2;                         \
        v0 += v3, v3 = rotate(v3, 21) ^ v0;                         \
        v2 += v1, v1 = rotate(v1, 17) ^ v2, v2 = rotate(v2, 32);    \
    } while (0)

/* The key's words are aligned; bytes after its end are part of its last word. */
__attribute__((noinline))
static uint64_t siphash(const uint64_t *key, uint32_t size, uint64_t k0, uint64_t k1)
{
    uint64_t v0 = k0 ^ UINT64_C(0x736f6d6570736575), v1 = k1 ^ UINT64_C(0x646f72616e646f6d);
    uint64_t v2 = k0 ^ UINT64_C(0x6c7967656e657261), v3 = k1 ^ UINT64_C(0x7465646279746573);
    for (uint32_t left = size; left >= 8; left -= 8) {
        uint64_t m = *key++;
        v3 ^= m;
        ROUND;
        ROUND;
        v0 ^= m;
    }
    uint64_t rest = size & 7 ? *key & ((UINT64_C(1) << 8 * (size & 7)) - 1) : 0;
    uint64_t m = (uint64_t)size << 56 | rest;
    v3 ^= m;
    ROUND;
    ROUND;
    v0 ^= m;
    v2 ^= 0xff;
    ROUND;
    ROUND;
    ROUND;
    ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

int main(int argc, char **argv)
{
    static uint64_t key[8];
    uint64_t keys = size_argument(argc, argv, 1000);
    uint64_t sum = UINT64_C(0x0706050403020100);
    for (uint64_t i = 0; i < keys; i++) {
        key[i & 7] = sum;
        sum ^= siphash(key, (uint32_t)(sum >> 32 & 63), sum, i);
    }
    print_hex(sum, 16);
    print_char('\n');
    return 0;
}
