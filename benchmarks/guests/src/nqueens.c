/* The queens of 8 to 10 on boards of that size: all solutions, argv[1] times, with bit sets and,
 * every fourth time, with arrays and a search for conflicts.
 */
#include "runtime.h"

static uint32_t solve(uint32_t all, uint32_t columns, uint32_t left, uint32_t right)
{
    if (columns == all)
        return 1;
    uint32_t found = 0;
    for (uint32_t free = all & ~(columns | left | right); free != 0; free &= free - 1) {
        uint32_t place = free & (0 - free);
        found += solve(all, columns | place, (left | place) << 1, (right | place) >> 1);
    }
    return found;
}

static int8_t queen[16];

static int is_safe(int row, int column)
{
    for (int i = 0; i < row; i++) {
        int distance = queen[i] - column;
        if (distance == 0 || distance == row - i || distance == i - row)
            return 0;
    }
    return 1;
}

static uint32_t search(int size, int row)
{
    uint32_t found = 0;
    if (row == size)
        return 1;
    for (int column = 0; column < size; column++) {
        if (is_safe(row, column)) {
            queen[row] = (int8_t)column;
            found += search(size, row + 1);
        }
    }
    return found;
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 10), found = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        int size = 8 + (int)(i % 3);
        found += solve((1u << size) - 1, 0, 0, 0);
        if (i % 4 == 0)
            found += search(8, 0);
    }
    print_result("solutions", found);
    return 0;
}
