/* Sorts argv[1] generated numbers by quicksort, in batches of at most 100000. */
#include "runtime.h"

enum { BATCH = 100000, SHORT = 12 };

static uint32_t numbers[BATCH];

/* Insertion sort of [low, high]. */
static void sort_short(uint32_t *low, uint32_t *high)
{
    for (uint32_t *next = low + 1; next <= high; next++) {
        uint32_t value = *next;
        uint32_t *hole = next;
        for (; hole > low && hole[-1] > value; hole--)
            *hole = hole[-1];
        *hole = value;
    }
}

/* The middle one of three values. */
static uint32_t median(uint32_t a, uint32_t b, uint32_t c)
{
    if (a < b)
        return b < c ? b : (a < c ? c : a);
    return a < c ? a : (b < c ? c : b);
}

/* Sort [low, high]; recurses into the shorter part, so the depth is logarithmic. */
static void quicksort(uint32_t *low, uint32_t *high)
{
    while (high - low >= SHORT) {
        uint32_t pivot = median(*low, low[(high - low) / 2], *high);
        uint32_t *i = low, *j = high;
        while (i <= j) {
            while (*i < pivot)
                i++;
            while (*j > pivot)
                j--;
            if (i <= j) {
                uint32_t value = *i;
                *i++ = *j;
                *j-- = value;
            }
        }
        if (j - low < high - i) {
            quicksort(low, j);
            low = i;
        } else {
            quicksort(i, high);
            high = j;
        }
    }
    sort_short(low, high);
}

int main(int argc, char **argv)
{
    uint64_t size = size_argument(argc, argv, 30000);
    uint32_t random = 777767777;
    uint32_t sum = MIX_START;
    uint64_t disorder = 0;
    for (uint64_t done = 0; done < size; done += BATCH) {
        int count = size - done < BATCH ? (int)(size - done) : BATCH;
        for (int i = 0; i < count; i++)
            numbers[i] = next_random(&random);
        quicksort(numbers, numbers + count - 1);
        for (int i = 0; i < count; i++) {
            sum = mix(sum, numbers[i]);
            if (i > 0 && numbers[i - 1] > numbers[i])
                disorder++;
        }
    }
    print_result("sorted", size);
    print_result("out of order", disorder);
    print_result("checksum", sum);
    return 0;
}
