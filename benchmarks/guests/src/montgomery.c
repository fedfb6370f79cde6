/* Montgomery multiplication of 256-bit numbers, four limbs of 64 bits, modulo 2^256 - 2^32 - 977:
 * x is raised to its square plus the seed, argv[1] thousand times.
 */
#include "runtime.h"

typedef unsigned __int128 wide;
typedef uint64_t number[4];

/* As such code is written by hand; without it clang unrolls these loops and gcc -O2 does not. */
#define UNROLL _Pragma("GCC unroll 4")

static const number modulus = {
    UINT64_C(0xfffffffefffffc2f), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0),
};
static const uint64_t inverse = UINT64_C(0xd838091dd2253531);   /* -1 / modulus, modulo 2^64 */

/* out = a * b / 2^256 modulo the modulus; coarsely integrated operand scanning. */
static void multiply(number out, const number a, const number b)
{
    uint64_t t[6] = {0};
    UNROLL
    for (int i = 0; i < 4; i++) {
        uint64_t carry = 0;
        UNROLL
        for (int j = 0; j < 4; j++) {
            wide product = (wide)a[j] * b[i] + t[j] + carry;
            t[j] = (uint64_t)product;
            carry = (uint64_t)(product >> 64);
        }
        wide sum = (wide)t[4] + carry;
        t[4] = (uint64_t)sum;
        t[5] = (uint64_t)(sum >> 64);
        uint64_t factor = t[0] * inverse;
        wide product = (wide)factor * modulus[0] + t[0];
        carry = (uint64_t)(product >> 64);
        UNROLL
        for (int j = 1; j < 4; j++) {
            product = (wide)factor * modulus[j] + t[j] + carry;
            t[j - 1] = (uint64_t)product;
            carry = (uint64_t)(product >> 64);
        }
        sum = (wide)t[4] + carry;
        t[3] = (uint64_t)sum;
        t[4] = t[5] + (uint64_t)(sum >> 64);
    }
    uint64_t less[4], borrow = 0;
    UNROLL
    for (int i = 0; i < 4; i++) {
        wide difference = (wide)t[i] - modulus[i] - borrow;
        less[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    uint64_t keep = 0 - (uint64_t)(borrow > t[4]);   /* t is below the modulus */
    for (int i = 0; i < 4; i++)
        out[i] = (t[i] & keep) | (less[i] & ~keep);
}

static void add(number out, const number a, const number b)
{
    uint64_t sums[4], less[4], carry = 0, borrow = 0;
    UNROLL
    for (int i = 0; i < 4; i++) {
        wide sum = (wide)a[i] + b[i] + carry;
        sums[i] = (uint64_t)sum;
        carry = (uint64_t)(sum >> 64);
        wide difference = (wide)sums[i] - modulus[i] - borrow;
        less[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    uint64_t keep = 0 - (uint64_t)(borrow > carry);
    for (int i = 0; i < 4; i++)
        out[i] = (sums[i] & keep) | (less[i] & ~keep);
}

int main(int argc, char **argv)
{
    uint64_t steps = size_argument(argc, argv, 10) * 1000;
    const number seed = {1, 2, 3, 4};
    number x = {5, 6, 7, 8};
    for (uint64_t i = 0; i < steps; i++) {
        multiply(x, x, x);
        add(x, x, seed);
    }
    for (int i = 3; i >= 0; i--)
        print_hex(x[i], 16);
    print_char('\n');
    return 0;
}
