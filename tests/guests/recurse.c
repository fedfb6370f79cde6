/* Recursion to depth argv[1], then back; without an argument it never ends of itself. */
#include "runtime.h"

__attribute__((noinline)) static uint64_t descend(uint64_t depth, uint64_t deepest)
{
    volatile uint64_t frame[6] = {depth};
    if (depth == deepest)
        return 0;
    return descend(depth + 1, deepest) + frame[0] + 1;
}

int main(int argc, char **argv)
{
    uint64_t deepest = size_argument(argc, argv, UINT64_MAX);
    print_result("sum", descend(0, deepest));
    return 0;
}
