/* Loads and stores of all sizes across a page boundary, and instructions across one. */
#include "runtime.h"

extern int64_t straddle_add(int64_t a, int64_t b);
extern int64_t straddle_entry(int64_t a, int64_t b);
extern int64_t straddle_branch(int64_t a, int64_t b);
extern int64_t straddle_jump(int64_t a);
extern uint64_t straddle_load(const void *from);
extern int64_t whole_at_ffc(int64_t a, int64_t b);
extern int64_t compressed_at_ffe(int64_t a, int64_t b);
extern int64_t straddle_loop(int64_t n);

enum { PAGE = 4096 };

static uint8_t pages[2 * PAGE] __attribute__((aligned(4096)));

#define LOAD(name, insn)                                                       \
    static uint64_t name(const uint8_t *from)                                  \
    {                                                                          \
        uint64_t value;                                                        \
        __asm__ volatile(insn " %0, 0(%1)" : "=r"(value) : "r"(from) : "memory"); \
        return value;                                                          \
    }

#define STORE(name, insn)                                                      \
    static void name(uint8_t *to, uint64_t value)                              \
    {                                                                          \
        __asm__ volatile(insn " %0, 0(%1)" : : "r"(value), "r"(to) : "memory"); \
    }

LOAD(load_h, "lh")
LOAD(load_hu, "lhu")
LOAD(load_w, "lw")
LOAD(load_wu, "lwu")
LOAD(load_d, "ld")
STORE(store_h, "sh")
STORE(store_w, "sw")
STORE(store_d, "sd")

static const struct {
    const char *name;
    uint64_t (*load)(const uint8_t *from);
    int size;
} loads[] = {
    {"lh", load_h, 2}, {"lhu", load_hu, 2}, {"lw", load_w, 4}, {"lwu", load_wu, 4}, {"ld", load_d, 8},
};

static const struct {
    const char *name;
    void (*store)(uint8_t *to, uint64_t value);
    int size;
} stores[] = {
    {"sh", store_h, 2}, {"sw", store_w, 4}, {"sd", store_d, 8},
};

static void print_case(const char *name, int offset, uint64_t value)
{
    print(name);
    print(" -");
    print_unsigned((uint64_t)-offset);
    print(": ");
    print_hex(value, 16);
    print_char('\n');
}

int main(void)
{
    for (int i = 0; i < 16; i++)
        pages[PAGE - 8 + i] = (uint8_t)(0x81 + 7 * i);
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        for (int offset = -loads[i].size; offset < 0; offset++)
            print_case(loads[i].name, offset, loads[i].load(pages + PAGE + offset));
    }
    for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++) {
        for (int offset = -stores[i].size; offset < 0; offset++) {
            memset(pages + PAGE - 16, 0xcc, 32);
            stores[i].store(pages + PAGE + offset, UINT64_C(0x1122334455667788));
            uint32_t sum = MIX_START;
            for (int j = 0; j < 32; j++)
                sum = mix(sum, pages[PAGE - 16 + j]);
            print_case(stores[i].name, offset, sum);
        }
    }
    print_result("add", (uint64_t)straddle_add(1, 20));
    print_result("entry", (uint64_t)straddle_entry(50, 8));
    print_result("branch taken", (uint64_t)straddle_branch(1, 2));
    print_result("branch not taken", (uint64_t)straddle_branch(2, 2));
    print_result("jump", (uint64_t)straddle_jump(37));
    memset(pages + PAGE - 4, 0x2a, 8);
    print_result("load", straddle_load(pages + PAGE - 4));
    print_result("whole", (uint64_t)whole_at_ffc(40, 2));
    print_result("compressed", (uint64_t)compressed_at_ffe(40, 2));
    print_result("loop", (uint64_t)straddle_loop(1000));
    return 0;
}
