/* Does the one forbidden thing that argv[1] names; argv[2] is an address in hex where one is asked.
 *
 * Prints the name before and "survived" after.
 */
#include "runtime.h"

extern const char _start[];
extern char data_function[];
extern void last_halfword(void);
extern void jump_odd(void);

#define HIGH UINT64_C(0x7ffffffffffff000)
#define IMAGE UINT64_C(0x10000)

static uint64_t cells[4];
static const uint64_t constant = 42;

static uint64_t parse_hex(const char *text)
{
    uint64_t value = 0;
    if (text[0] == '0' && text[1] == 'x')
        text += 2;
    for (; *text != '\0'; text++)
        value = value * 16 + (uint64_t)(*text <= '9' ? *text - '0' : (*text | 32) - 'a' + 10);
    return value;
}

static void load(uint64_t address)
{
    uint64_t value;
    __asm__ volatile("ld %0, 0(%1)" : "=r"(value) : "r"(address) : "memory");
}

static void store(uint64_t address)
{
    __asm__ volatile("sd %0, 0(%1)" : : "r"(UINT64_C(0x5752495445)), "r"(address) : "memory");
}

static void jump(uint64_t address)
{
    __asm__ volatile("jalr ra, 0(%0)" : : "r"(address) : "ra", "t0", "t1", "a0", "memory");
}

static void act(const char *name, uint64_t address);

static int is(const char *name, const char *other)
{
    return strlen(name) == strlen(other) && memcmp(name, other, strlen(name)) == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print("usage: wild WHAT [ADDRESS]\n");
        return 2;
    }
    print(argv[1]);
    print_char('\n');
    flush();
    act(argv[1], argc > 2 ? parse_hex(argv[2]) : 0);
    print("survived\n");
    return 0;
}

static void act(const char *name, uint64_t address)
{
    uint64_t odd = (uint64_t)(uintptr_t)cells + 4, value = 1;
    if (is(name, "load-null"))
        load(0);
    else if (is(name, "store-null"))
        store(0);
    else if (is(name, "jump-null"))
        jump(0);
    else if (is(name, "load-below"))   /* the doubleword that ends where the image starts */
        load(IMAGE - 8);
    else if (is(name, "store-below"))
        store(IMAGE - 8);
    else if (is(name, "store-into"))   /* half of it below the image */
        store(IMAGE - 4);
    else if (is(name, "load-high"))
        load(HIGH);
    else if (is(name, "store-high"))
        store(HIGH);
    else if (is(name, "jump-high"))
        jump(HIGH);
    else if (is(name, "load-wrap"))    /* half of it at the end of the address space */
        load(-UINT64_C(4));
    else if (is(name, "store-wrap"))
        store(-UINT64_C(4));
    else if (is(name, "store-code"))
        store((uint64_t)(uintptr_t)_start);
    else if (is(name, "store-constant"))
        store((uint64_t)(uintptr_t)&constant);
    else if (is(name, "store-straddle"))   /* half data, half the executable page before it */
        store(((uint64_t)(uintptr_t)last_halfword | 0xfff) + 1 - 4);
    else if (is(name, "jump-data"))
        jump((uint64_t)(uintptr_t)data_function);
    else if (is(name, "jump-end"))     /* an instruction whose second half is not executable */
        jump((uint64_t)(uintptr_t)last_halfword);
    else if (is(name, "jump-odd"))     /* allowed: bit 0 is cleared */
        jump_odd();
    else if (is(name, "load-at"))
        load(address);
    else if (is(name, "store-at"))
        store(address);
    else if (is(name, "jump-to"))
        jump(address);
    else if (is(name, "illegal16"))
        __asm__ volatile(".2byte 0");
    else if (is(name, "illegal32"))
        __asm__ volatile(".4byte 0xffffffff");
    else if (is(name, "float"))        /* fadd.d fa0, fa0, fa0 */
        __asm__ volatile(".4byte 0x02a57553");
    else if (is(name, "csr"))          /* csrrw zero, mstatus, zero */
        __asm__ volatile(".4byte 0x30001073");
    else if (is(name, "ebreak"))
        __asm__ volatile(".4byte 0x00100073");
    else if (is(name, "c.ebreak"))
        __asm__ volatile(".2byte 0x9002");
    else if (is(name, "amo-misaligned"))
        __asm__ volatile("amoadd.d %0, %0, (%1)" : "+r"(value) : "r"(odd) : "memory");
    else if (is(name, "lr-misaligned"))
        __asm__ volatile("lr.d %0, (%1)" : "=r"(value) : "r"(odd) : "memory");
    else if (is(name, "sc-misaligned"))
        __asm__ volatile("sc.d %0, %0, (%1)" : "+r"(value) : "r"(odd) : "memory");
    else
        print("unknown\n");
}
