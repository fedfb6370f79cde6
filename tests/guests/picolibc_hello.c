/* A program with picolibc: our own crt, stdout and exit through Linux system calls, and a heap. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SYS_WRITE = 64, SYS_EXIT = 93 };

static long system_call(long number, long a, long b, long c)
{
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    register long a7 __asm__("a7") = number;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
    return a0;
}

static int put(char c, FILE *file)
{
    (void)file;
    return system_call(SYS_WRITE, 1, (long)(uintptr_t)&c, 1) == 1 ? (unsigned char)c : EOF;
}

static FILE console = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);

FILE *const stdout = &console;
FILE *const stderr = &console;

_Noreturn void _exit(int status)
{
    for (;;)
        system_call(SYS_EXIT, status, 0, 0);
}

/* Called by start.S when main has returned. */
_Noreturn void leave(int status)
{
    _exit(status);
}

int main(int argc, char **argv)
{
    /* errno is thread-local: tp must point to room for it. */
    __asm__ volatile("la tp, __thread_base");
    char *copy = malloc(64);
    printf("Hello from picolibc, %d argument%s\n", argc - 1, argc == 2 ? "" : "s");
    for (int i = 1; i < argc; i++)
        printf("argument %d: %s\n", i, strcpy(copy, argv[i]));
    printf("%s %08lx %.4f\n", strcpy(copy, "formats:"), 0xcafeUL, 22.0 / 7.0);
    errno = 0;
    strtod("1e999", NULL);
    printf("errno: %s\n", errno == ERANGE ? "ERANGE" : "wrong");
    free(copy);
    return 0;
}
