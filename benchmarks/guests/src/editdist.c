/* Edit distance (Levenshtein) of two generated texts of 256 letters, argv[1] times. */
#include "runtime.h"

enum { LENGTH = 256 };

static uint8_t a[LENGTH], b[LENGTH];
static uint32_t row[LENGTH + 1];

static uint32_t smaller(uint32_t x, uint32_t y)
{
    return x < y ? x : y;
}

static uint32_t distance(void)
{
    for (uint32_t j = 0; j <= LENGTH; j++)
        row[j] = j;
    for (uint32_t i = 0; i < LENGTH; i++) {
        uint32_t diagonal = i, left = i + 1;
        row[0] = left;
        for (uint32_t j = 0; j < LENGTH; j++) {
            uint32_t above = row[j + 1];
            left = smaller(smaller(left, above) + 1, diagonal + (a[i] != b[j]));
            row[j + 1] = left;
            diagonal = above;
        }
    }
    return row[LENGTH];
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 20);
    uint32_t random = 97, sum = MIX_START;
    for (uint64_t i = 0; i < rounds; i++) {
        for (int j = 0; j < LENGTH; j++) {
            uint32_t r = next_random(&random);
            a[j] = r & 3;
            b[j] = r & 4 ? a[j] : r >> 3 & 3;
        }
        sum = mix(sum, distance());
    }
    print_result("checksum", sum);
    return 0;
}
