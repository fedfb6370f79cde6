/* The runtime of the examples: see runtime.h. */
#include "runtime.h"

#ifdef OWN_LIBRARY

/* Words that may overlay objects of any type. */
typedef uint64_t __attribute__((may_alias)) word;

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 7) == 0) {
        for (; size >= 8; size -= 8, out += 8, in += 8)
            *(word *)out = *(const word *)in;
    }
    while (size-- > 0)
        *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    if ((uintptr_t)out - (uintptr_t)in >= size)
        return memcpy(to, from, size);
    while (size-- > 0)
        out[size] = in[size];
    return to;
}

void *memset(void *to, int value, size_t size)
{
    unsigned char *out = to;
    uint64_t filled = (uint64_t)(unsigned char)value * UINT64_C(0x0101010101010101);
    for (; size > 0 && ((uintptr_t)out & 7) != 0; size--)
        *out++ = (unsigned char)value;
    for (; size >= 8; size -= 8, out += 8)
        *(word *)out = filled;
    while (size-- > 0)
        *out++ = (unsigned char)value;
    return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
    const unsigned char *a = left;
    const unsigned char *b = right;
    for (; size > 0; size--, a++, b++) {
        if (*a != *b)
            return *a < *b ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;
    while (*end != '\0')
        end++;
    return (size_t)(end - text);
}

#endif

#if defined __riscv

enum { SYS_WRITE = 64, SYS_EXIT = 93 };

static long write_out(const char *from, size_t size)
{
    return system_call(SYS_WRITE, 1, (long)(uintptr_t)from, (long)size, 0, 0, 0);
}

_Noreturn void leave(int status)
{
    flush();
    for (;;)
        system_call(SYS_EXIT, status, 0, 0, 0, 0, 0);
}

#elif defined __wasm__

int main(int argc, char **argv);

__attribute__((import_module("env"), import_name("write")))
void host_write(const char *from, size_t size);

static long write_out(const char *from, size_t size)
{
    host_write(from, size);
    return (long)size;
}

/* The product of two numbers of 128 bits, which compilers call because WebAssembly multiplies no
   wider than 64 bits. */
unsigned __int128 __multi3(unsigned __int128 a, unsigned __int128 b)
{
    const uint64_t mask = UINT32_MAX;
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    uint64_t low = (x & mask) * (y & mask);
    uint64_t middle = (x >> 32) * (y & mask) + (low >> 32);
    uint64_t other = (x & mask) * (y >> 32) + (middle & mask);
    uint64_t high = (x >> 32) * (y >> 32) + (middle >> 32) + (other >> 32);
    high += x * (uint64_t)(b >> 64) + (uint64_t)(a >> 64) * y;
    return (unsigned __int128)high << 64 | (other << 32 | (low & mask));
}

/* Run main with one argument, the decimal digits of size. */
__attribute__((export_name("run"))) int run(uint64_t size)
{
    char digits[21], *first = digits + sizeof digits - 1;
    char name[] = "guest";
    *first = '\0';
    do
        *--first = (char)('0' + size % 10);
    while ((size /= 10) != 0);
    char *argv[] = {name, first, NULL};
    int status = main(2, argv);
    flush();
    return status;
}

#else

#include <unistd.h>

static long write_out(const char *from, size_t size)
{
    return (long)write(1, from, size);
}

__attribute__((destructor)) static void flush_at_exit(void)
{
    flush();
}

#endif

static char buffer[1024];
static size_t used;

void flush(void)
{
    size_t done = 0;
    while (done < used) {
        long written = write_out(buffer + done, used - done);
        if (written <= 0)
            break;   /* nobody listens: drop it */
        done += (size_t)written;
    }
    used = 0;
}

void print_char(char c)
{
    if (used == sizeof buffer)
        flush();
    buffer[used++] = c;
}

void print(const char *text)
{
    while (*text != '\0')
        print_char(*text++);
}

void print_unsigned(uint64_t value)
{
    char digits[20];
    int count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0)
        print_char(digits[--count]);
}

void print_signed(int64_t value)
{
    if (value < 0)
        print_char('-');
    print_unsigned(value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void print_hex(uint64_t value, int digits)
{
    while (digits-- > 0)
        print_char("0123456789abcdef"[(value >> (4 * digits)) & 15]);
}

void print_result(const char *name, uint64_t value)
{
    print(name);
    print(": ");
    print_unsigned(value);
    print_char('\n');
}

uint64_t parse_unsigned(const char *text)
{
    uint64_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint64_t)(*text - '0');
    return value;
}

uint64_t size_argument(int argc, char **argv, uint64_t fallback)
{
    uint64_t size = argc > 1 ? parse_unsigned(argv[1]) : 0;
    return size != 0 ? size : fallback;
}
