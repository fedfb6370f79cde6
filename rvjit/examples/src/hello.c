/* The smallest program: says hello, argv[1] times. */
#include "runtime.h"

int main(int argc, char **argv)
{
    uint64_t times = size_argument(argc, argv, 1);
    for (uint64_t i = 0; i < times; i++)
        print("Hello from a RISC-V guest!\n");
    return 0;
}
