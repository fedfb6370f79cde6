/* What a C library does: formatting, the heap, sorting, files, the environment, time.
 *
 * argv[1], if there, names a text file whose lines are counted; GREETING is printed if it is set.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int compare(const void *left, const void *right)
{
    const int *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static void format(void)
{
    char text[128];
    volatile double third = 1.0 / 3.0, large = 6.02214076e23;
    printf("%d %5u %-5d| %05x %#llx %c %s\n", -7, 42U, 42, 0xbeefU, 0x123456789abcdefULL, 'c', "text");
    snprintf(text, sizeof text, "%.3f %g %e %.17g %a", third, large, -third, third, third);
    printf("%s\n", text);
    printf("%.2f %.0f %ld\n", third * 3 + large / large, 2.5, (long)(large / 1e20));
    printf("%.10f\n", strtod("2.718281828459045", NULL));
}

static void sort(void)
{
    int numbers[1000];
    uint32_t value = 1, sum = 0;
    for (int i = 0; i < 1000; i++) {
        value = value * 1664525U + 1013904223U;
        numbers[i] = (int)(value >> 8);
    }
    qsort(numbers, 1000, sizeof numbers[0], compare);
    for (uint32_t i = 0; i < 1000; i++)
        sum += (uint32_t)numbers[i] * i;
    printf("sorted: %d %d %u\n", numbers[0], numbers[999], sum);
}

/* Blocks of many sizes, one large enough for a mapping of its own; every other one is resized. */
static void use_heap(void)
{
    enum { BLOCKS = 40 };
    char *blocks[BLOCKS];
    size_t total = 0;
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = (size_t)(i * i * 3 + 1);
        blocks[i] = malloc(size);
        memset(blocks[i], i, size);
    }
    for (int i = 0; i < BLOCKS; i += 2)
        blocks[i] = realloc(blocks[i], (size_t)(i * i * 6 + 2));
    for (int i = 0; i < BLOCKS; i++) {
        for (size_t j = 0; j < (size_t)(i * i * 3 + 1); j++)
            total += (size_t)blocks[i][j];
        free(blocks[i]);
    }
    char *large = calloc(1, 300000);
    printf("heap: %zu %d\n", total, large[299999]);
    free(large);
}

static void count_lines(const char *name)
{
    char line[256];
    int lines = 0;
    size_t bytes = 0;
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        printf("fopen: %s\n", strerror(errno));
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        lines++;
        bytes += strlen(line);
    }
    printf("lines: %d, bytes: %zu\n", lines, bytes);
    fclose(file);
}

int main(int argc, char **argv)
{
    const char *greeting = getenv("GREETING");
    format();
    sort();
    use_heap();
    srand(1);
    int first = rand();
    srand(1);
    printf("rand: %s\n", first == rand() ? "repeats" : "does not repeat");
    printf("time: %s\n", time(NULL) == (time_t)-1 ? "none" : "some");
    printf("greeting: %s\n", greeting != NULL ? greeting : "none");
    if (argc > 1)
        count_lines(argv[1]);
    fprintf(stderr, "to stderr\n");
    return fflush(stdout) == 0 ? 3 : 1;
}
