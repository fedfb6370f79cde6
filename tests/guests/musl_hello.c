/* The smallest program with a C library. */
#include <stdio.h>

int main(int argc, char **argv)
{
    printf("Hello from musl, %d argument%s\n", argc - 1, argc == 2 ? "" : "s");
    for (int i = 1; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    return 0;
}
