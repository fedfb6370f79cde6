/* Memory bandwidth: three tables of 2 MiB are filled, copied, added and summed, argv[1] times. */
#include "runtime.h"

enum { WORDS = 1 << 18 };

static uint64_t a[WORDS], b[WORDS], c[WORDS];

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 4), total = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        for (uint32_t j = 0; j < WORDS; j++)
            a[j] = j * i + 1;
        memcpy(b, a, sizeof b);
        for (uint32_t j = 0; j < WORDS; j++)
            c[j] = a[j] + 3 * b[WORDS - 1 - j];
        for (uint32_t j = 0; j < WORDS; j++)
            total = (total << 1 | total >> 63) ^ c[j];
        memset(a, (int)i, sizeof a);
        total += a[i % WORDS];
    }
    print_result("total", total);
    return 0;
}
