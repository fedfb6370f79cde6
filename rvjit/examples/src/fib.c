/* Fibonacci numbers by plain recursion: calls and returns, nothing else. */
#include "runtime.h"

__attribute__((noinline)) static uint64_t fib(uint64_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

int main(int argc, char **argv)
{
    uint64_t n = size_argument(argc, argv, 25);
    print("fib(");
    print_unsigned(n);
    print(")");
    print_result("", fib(n));
    return 0;
}
