/* What a script of CKB needs: its entry, the system calls, and checks that say where they failed.
 *
 * A program has all its roles in one file: a VM that is spawned from the program's own cell finds
 * its role in argv. main's result is the exit code.
 */
#ifndef CKB_H
#define CKB_H

#include <stddef.h>
#include <stdint.h>

#define SUCCESS 0
#define INDEX_OUT_OF_BOUND 1
#define ITEM_MISSING 2
#define SLICE_OUT_OF_BOUND 3
#define WAIT_FAILURE 5
#define INVALID_FD 6
#define OTHER_END_CLOSED 7
#define MAX_VMS_SPAWNED 8
#define MAX_FDS_CREATED 9

#define INPUT 1
#define OUTPUT 2
#define CELL_DEP 3
#define HEADER_DEP 4
#define GROUP 0x0100000000000000

__attribute__((naked, used, section(".text.start"))) void _start(void) {
    __asm__(
        "lw a0, 0(sp)\n"
        "addi a1, sp, 8\n"
        "andi sp, sp, -16\n"
        "call main\n"
        "li a7, 93\n"
        "ecall\n");
}

/* The compiler calls these of its own. */
__attribute__((used)) void *memset(void *target, int value, size_t size) {
    for (char *at = target; size; size--) {
        *at++ = (char)value;
    }
    return target;
}

__attribute__((used)) void *memcpy(void *target, const void *source, size_t size) {
    const char *from = source;
    for (char *at = target; size; size--) {
        *at++ = *from++;
    }
    return target;
}

static inline uint64_t call6(
    uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    register uint64_t a0 __asm__("a0") = a;
    register uint64_t a1 __asm__("a1") = b;
    register uint64_t a2 __asm__("a2") = c;
    register uint64_t a3 __asm__("a3") = d;
    register uint64_t a4 __asm__("a4") = e;
    register uint64_t a5 __asm__("a5") = f;
    register uint64_t a7 __asm__("a7") = number;
    __asm__ volatile("ecall"
                     : "+r"(a0)
                     : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5), "r"(a7)
                     : "memory");
    return a0;
}

#define P(pointer) ((uint64_t)(uintptr_t)(pointer))

__attribute__((noreturn)) static inline void leave(int code) {
    call6(93, (uint64_t)code, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

/* The exit code tells the line, modulo 100 and from 1 on. */
#define CHECK(condition)                     \
    do {                                     \
        if (!(condition)) {                  \
            leave(1 + (__LINE__ - 1) % 100); \
        }                                    \
    } while (0)

struct spawn_args {
    uint64_t argc;
    const char **argv;
    uint64_t *process_id;
    const uint64_t *fds;
};

static inline uint64_t vm_version(void) { return call6(2041, 0, 0, 0, 0, 0, 0); }
static inline uint64_t current_cycles(void) { return call6(2042, 0, 0, 0, 0, 0, 0); }
static inline uint64_t exec(
    uint64_t index, uint64_t source, uint64_t place, uint64_t bounds, uint64_t argc,
    const char **argv) {
    return call6(2043, index, source, place, bounds, argc, P(argv));
}
static inline uint64_t debug(const char *text) { return call6(2177, P(text), 0, 0, 0, 0, 0); }
static inline uint64_t spawn(
    uint64_t index, uint64_t source, uint64_t place, uint64_t bounds, struct spawn_args *args) {
    return call6(2601, index, source, place, bounds, P(args), 0);
}
static inline uint64_t wait(uint64_t id, int8_t *code) {
    return call6(2602, id, P(code), 0, 0, 0, 0);
}
static inline uint64_t process_id(void) { return call6(2603, 0, 0, 0, 0, 0, 0); }
static inline uint64_t pipe(uint64_t fds[2]) { return call6(2604, P(fds), 0, 0, 0, 0, 0); }
static inline uint64_t write_fd(uint64_t fd, const void *data, uint64_t *length) {
    return call6(2605, fd, P(data), P(length), 0, 0, 0);
}
static inline uint64_t read_fd(uint64_t fd, void *data, uint64_t *length) {
    return call6(2606, fd, P(data), P(length), 0, 0, 0);
}
static inline uint64_t inherited_fds(uint64_t *fds, uint64_t *count) {
    return call6(2607, P(fds), P(count), 0, 0, 0, 0);
}
static inline uint64_t close_fd(uint64_t fd) { return call6(2608, fd, 0, 0, 0, 0, 0); }

/* Spawn this program again, from cell dep 0; fds end with a 0. */
static inline uint64_t spawn_self(
    uint64_t argc, const char **argv, const uint64_t *fds, uint64_t *id) {
    struct spawn_args args = {argc, argv, id, fds};
    return spawn(0, CELL_DEP, 0, 0, &args);
}

/* Write all of it, or say why not. */
static inline uint64_t send(uint64_t fd, const void *data, uint64_t size) {
    uint64_t length = size;
    uint64_t code = write_fd(fd, data, &length);
    return code ? code : length == size ? 0 : OTHER_END_CLOSED;
}

/* Read until all of it is there; a short end is told as a closed one. */
static inline uint64_t receive(uint64_t fd, void *data, uint64_t size) {
    char *at = data;
    while (size) {
        uint64_t length = size;
        uint64_t code = read_fd(fd, at, &length);
        if (code) {
            return code;
        }
        if (!length) {
            return OTHER_END_CLOSED;
        }
        at += length;
        size -= length;
    }
    return 0;
}

static inline uint64_t number_of(const char *text) {
    uint64_t value = 0;
    while (*text) {
        value = value * 10 + (uint64_t)(*text++ - '0');
    }
    return value;
}

/* Decimal text of a number in a buffer of 21 bytes; returns where it begins. */
static inline const char *text_of(uint64_t value, char *buffer) {
    char *at = buffer + 20;
    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return at;
}

#endif
