/* Numbers of 64 limbs of 64 bits: the Fibonacci sequence with additions that carry, a product, and
 * its remainder by one limb at a time, argv[1] rounds.
 */
#include "runtime.h"

typedef unsigned __int128 wide;

enum { LIMBS = 64 };

/* out += in; returns the carry. */
static uint64_t add(uint64_t *out, const uint64_t *in, int limbs)
{
    uint64_t carry = 0;
    for (int i = 0; i < limbs; i++) {
        uint64_t sum = out[i] + in[i];
        uint64_t over = sum < in[i];
        out[i] = sum + carry;
        carry = over | (out[i] < carry);
    }
    return carry;
}

/* out = a * b, with twice as many limbs. */
static void multiply(uint64_t *out, const uint64_t *a, const uint64_t *b, int limbs)
{
    for (int i = 0; i < 2 * limbs; i++)
        out[i] = 0;
    for (int i = 0; i < limbs; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < limbs; j++) {
            wide sum = (wide)a[i] * b[j] + out[i + j] + carry;
            out[i + j] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
        out[i + limbs] = carry;
    }
}

/* The number modulo 2^61 - 1. */
static uint64_t remainder_of(const uint64_t *number, int limbs)
{
    const uint64_t prime = (UINT64_C(1) << 61) - 1;
    uint64_t rest = 0;
    for (int i = limbs - 1; i >= 0; i--) {
        wide value = (wide)rest << 3;           /* 2^64 is 8 */
        value += number[i];
        rest = ((uint64_t)value & prime) + (uint64_t)(value >> 61);
        if (rest >= prime)
            rest -= prime;
    }
    return rest;
}

int main(int argc, char **argv)
{
    static uint64_t a[LIMBS], b[LIMBS], product[2 * LIMBS];
    uint64_t rounds = size_argument(argc, argv, 100), carries = 0;
    uint32_t random = 271828, sum = MIX_START;
    for (int i = 0; i < LIMBS; i++) {
        a[i] = (uint64_t)next_random(&random) << 32 | next_random(&random);
        b[i] = (uint64_t)next_random(&random) << 32 | next_random(&random);
    }
    for (uint64_t i = 0; i < rounds; i++) {
        for (int j = 0; j < 32; j++) {
            carries += add(a, b, LIMBS);
            carries += add(b, a, LIMBS);
        }
        multiply(product, a, b, LIMBS);
        uint64_t rest = remainder_of(product, 2 * LIMBS);
        sum = mix(sum, (uint32_t)rest ^ (uint32_t)(rest >> 32));
    }
    print_result("carries", carries);
    print_result("checksum", sum);
    return 0;
}
