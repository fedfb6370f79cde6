// Sorting, binary search, trees, small allocations.
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 5000, NAMES = 2000 };

static int by_value(const void *one, const void *other) {
    long a = *(const long *)one, b = *(const long *)other;
    return a < b ? -1 : a > b;
}

static int by_name(const void *one, const void *other) { return strcmp(one, other); }

int main(void) {
    static long numbers[NUMBERS];
    static char *names[NAMES];
    unsigned long random = 1, sum = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < NUMBERS; i++) {
            random = random * 6364136223846793005ul + 1;
            numbers[i] = random >> 40;
        }
        qsort(numbers, NUMBERS, sizeof *numbers, by_value);
        for (int i = 0; i < 3000; i++) {
            long wanted = random >> 41;
            random = random * 3 + 1;
            sum += bsearch(&wanted, numbers, NUMBERS, sizeof *numbers, by_value) != NULL;
        }
        void *tree = NULL;
        for (int i = 0; i < NAMES; i++) {
            names[i] = malloc(16);
            snprintf(names[i], 16, "%lx", numbers[i * 7 % NUMBERS]);
            tsearch(names[i], &tree, by_name);
        }
        for (int i = 0; i < NAMES; i++) {
            tdelete(names[i], &tree, by_name);
        }
        for (int i = 0; i < NAMES; i++) {
            free(names[i]);
        }
    }
    printf("%lu\n", sum);
}
