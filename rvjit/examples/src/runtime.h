/* What a program here may use: fixed-width types, a few string functions, buffered output.
 *
 * With __riscv the functions come from runtime.c and start.S alone. Elsewhere the string functions
 * come from libc, so that the same program can be built for the host and compared, unless
 * SELF_CONTAINED asks for those of runtime.c; WebAssembly has no libc and gets them always. There
 * the host gives env.write(address, size) and calls the export run(size).
 */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined __riscv || defined __wasm__ || defined SELF_CONTAINED
#define OWN_LIBRARY
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);
size_t strlen(const char *text);
#else
#include <string.h>
#endif

#ifdef __riscv
/* One Linux system call; unused arguments are 0. */
static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    register long a3 __asm__("a3") = d;
    register long a4 __asm__("a4") = e;
    register long a5 __asm__("a5") = f;
    register long a7 __asm__("a7") = number;
    __asm__ volatile("ecall"
                     : "+r"(a0)
                     : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7)
                     : "memory");
    return a0;
}

_Noreturn void leave(int status);   /* flush and exit */
#endif

/* Output is kept until the buffer is full, until flush(), or until the program ends. */
void print_char(char c);
void print(const char *text);
void print_unsigned(uint64_t value);
void print_signed(int64_t value);
void print_hex(uint64_t value, int digits);   /* exactly that many lower-case digits */
void print_result(const char *name, uint64_t value);   /* "name: value\n" */
void flush(void);

/* Decimal digits from the start of text; stops at the first other character. */
uint64_t parse_unsigned(const char *text);

/* The size a program works on: argv[1] if it is there and not 0, else the default. */
uint64_t size_argument(int argc, char **argv, uint64_t fallback);

/* The next number of a fixed sequence (xorshift); the state must not be 0. */
static inline uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    return x;
}

/* Mix a value into a checksum (FNV-1a, one 32-bit word at a time). */
static inline uint32_t mix(uint32_t sum, uint32_t value)
{
    return (sum ^ value) * UINT32_C(16777619);
}

#define MIX_START UINT32_C(2166136261)

#endif
