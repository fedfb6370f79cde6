/* Makes the Linux system calls that static programs make and prints what each returned.
 *
 * argv[1], if there, names a file to open. What differs between machines is reduced to "ok".
 */
#include "runtime.h"

enum {
    GETCWD = 17, IOCTL = 29, FACCESSAT = 48, OPENAT = 56, CLOSE = 57, LSEEK = 62, READ = 63,
    WRITE = 64, READV = 65, WRITEV = 66, PPOLL = 73, READLINKAT = 78, NEWFSTATAT = 79, FSTAT = 80,
    EXIT_GROUP = 94, SET_TID_ADDRESS = 96, CLOCK_GETTIME = 113, SCHED_YIELD = 124,
    SIGALTSTACK = 132, RT_SIGACTION = 134, RT_SIGPROCMASK = 135, UNAME = 160, GETTIMEOFDAY = 169,
    GETPID = 172, GETTID = 178, SYSINFO = 179, BRK = 214, MUNMAP = 215, MREMAP = 216, MMAP = 222,
    MPROTECT = 226, PRLIMIT64 = 261, GETRANDOM = 278, NO_SUCH_CALL = 2000,
};

enum {
    AT_FDCWD = -100, BAD_FD = 99, TCGETS = 0x5401, PAGE = 4096, RLIMIT_STACK = 3, SIGUSR1 = 10,
    PROT_READ = 1, PROT_RW = 3, MAP_ANONYMOUS = 0x22, MAP_FIXED = 0x10, MAYMOVE = 1,
    SEEK_SET = 0, SEEK_END = 2,
};

struct vector {
    void *base;
    uint64_t size;
};

static char scratch[1024] __attribute__((aligned(16)));
static char small[16];

#define ADDRESS(object) ((long)(uintptr_t)(object))

static long call(long number, long a, long b, long c, long d)
{
    return system_call(number, a, b, c, d, 0, 0);
}

static long map(long at, long size, long protection, long flags)
{
    return system_call(MMAP, at, size, protection, flags, -1, 0);
}

static void show(const char *name, long value)
{
    print(name);
    print(": ");
    print_signed(value);
    print_char('\n');
}

static void check(const char *name, int good)
{
    print(name);
    print(good ? ": ok\n" : ": WRONG\n");
}

static int all(const char *from, long size, char byte)
{
    while (size > 0 && from[size - 1] == byte)
        size--;
    return size == 0;
}

static void try_brk(void)
{
    long start = call(BRK, 0, 0, 0, 0);
    check("brk", start > 0);
    check("brk grow", call(BRK, start + 3 * PAGE, 0, 0, 0) == start + 3 * PAGE);
    char *heap = (char *)(uintptr_t)start;
    check("brk zero", all(heap, 3 * PAGE, 0));
    memset(heap, 1, 3 * PAGE);
    check("brk shrink", call(BRK, start + 100, 0, 0, 0) == start + 100);
    check("brk kept", all(heap, 100, 1));
    check("brk refused", call(BRK, 1, 0, 0, 0) == start + 100);
    check("brk huge", call(BRK, 1L << 60, 0, 0, 0) == start + 100);
    check("brk back", call(BRK, start, 0, 0, 0) == start);
}

static void try_mmap(void)
{
    long at = map(0, 3 * PAGE, PROT_RW, MAP_ANONYMOUS);
    char *pages = (char *)(uintptr_t)at;
    check("mmap", at > 0 && at % PAGE == 0);
    check("mmap zero", all(pages, 3 * PAGE, 0));
    memset(pages, 2, 3 * PAGE);
    check("mmap fixed", map(at + PAGE, PAGE, PROT_RW, MAP_ANONYMOUS | MAP_FIXED) == at + PAGE);
    check("mmap fixed zero", all(pages + PAGE, PAGE, 0) && all(pages + 2 * PAGE, PAGE, 2));
    show("mmap nothing", map(0, 0, PROT_RW, MAP_ANONYMOUS));
    show("mmap huge", map(0, 1L << 60, PROT_RW, MAP_ANONYMOUS));
    show("mprotect read", call(MPROTECT, at, PAGE, PROT_READ, 0));
    check("mprotect kept", all(pages, PAGE, 2));
    show("mprotect write", call(MPROTECT, at, PAGE, PROT_RW, 0));
    memset(pages, 3, PAGE);
    show("mprotect unaligned", call(MPROTECT, at + 1, PAGE, PROT_READ, 0));
    show("munmap middle", call(MUNMAP, at + PAGE, PAGE, 0, 0));
    show("munmap again", call(MUNMAP, at + PAGE, PAGE, 0, 0));
    show("munmap unaligned", call(MUNMAP, at + 8, PAGE, 0, 0));
    show("munmap last", call(MUNMAP, at + 2 * PAGE, PAGE, 0, 0));
    long moved = call(MREMAP, at, PAGE, 5 * PAGE, MAYMOVE);
    char *grown = (char *)(uintptr_t)moved;
    check("mremap grow", moved > 0 && moved % PAGE == 0);
    check("mremap kept", all(grown, PAGE, 3) && all(grown + PAGE, 4 * PAGE, 0));
    check("mremap shrink", call(MREMAP, moved, 5 * PAGE, PAGE, 0) == moved);
    show("munmap", call(MUNMAP, moved, PAGE, 0, 0));
}

static void try_clocks(void)
{
    int64_t first[2] = {-1, -1}, second[2] = {-1, -1};
    show("clock_gettime realtime", call(CLOCK_GETTIME, 0, ADDRESS(first), 0, 0));
    show("clock_gettime monotonic", call(CLOCK_GETTIME, 1, ADDRESS(first), 0, 0));
    call(CLOCK_GETTIME, 1, ADDRESS(second), 0, 0);
    check("clock range", first[0] >= 0 && first[1] >= 0 && first[1] < 1000000000);
    check("clock order", second[0] > first[0] || (second[0] == first[0] && second[1] >= first[1]));
    show("clock_gettime unknown", call(CLOCK_GETTIME, 999, ADDRESS(first), 0, 0));
    show("gettimeofday", call(GETTIMEOFDAY, ADDRESS(first), 0, 0, 0));
    check("gettimeofday range", first[0] >= 0 && first[1] >= 0 && first[1] < 1000000);
}

static void try_identity(void)
{
    show("getrandom", call(GETRANDOM, ADDRESS(small), sizeof small, 0, 0));
    show("uname", call(UNAME, ADDRESS(scratch), 0, 0, 0));
    print("sysname: ");
    print(scratch);
    print("\nmachine: ");
    print(scratch + 4 * 65);
    print_char('\n');
    check("getpid", call(GETPID, 0, 0, 0, 0) > 0);
    check("gettid", call(GETTID, 0, 0, 0, 0) > 0);
    check("set_tid_address", call(SET_TID_ADDRESS, ADDRESS(small), 0, 0, 0) > 0);
    show("sysinfo", call(SYSINFO, ADDRESS(scratch), 0, 0, 0));
    uint64_t limits[2] = {0, 0};
    show("prlimit64", call(PRLIMIT64, 0, RLIMIT_STACK, 0, ADDRESS(limits)));
    check("prlimit64 order", limits[0] > 0 && limits[0] <= limits[1]);
    show("prlimit64 unknown", call(PRLIMIT64, 0, 99, 0, ADDRESS(limits)));
}

static void try_signals(void)
{
    int64_t action[4] = {0}, no_wait[2] = {0};
    show("sigaltstack", call(SIGALTSTACK, 0, ADDRESS(scratch), 0, 0));
    show("rt_sigaction", call(RT_SIGACTION, SIGUSR1, 0, ADDRESS(action), 8));
    show("rt_sigaction size", call(RT_SIGACTION, SIGUSR1, 0, ADDRESS(action), 4));
    show("rt_sigprocmask", call(RT_SIGPROCMASK, 0, 0, ADDRESS(action), 8));
    show("ppoll", call(PPOLL, 0, 0, ADDRESS(no_wait), 0));
    show("sched_yield", call(SCHED_YIELD, 0, 0, 0, 0));
}

static void try_output(void)
{
    char hello[] = "writev: hel", world[] = "lo, world\n";
    struct vector parts[3] = {{hello, 11}, {small, 0}, {world, 10}};
    flush();
    long written = call(WRITEV, 1, ADDRESS(parts), 3, 0);
    show("writev", written);
    show("write bad fd", call(WRITE, BAD_FD, ADDRESS(hello), 1, 0));
    show("write bad pointer", call(WRITE, 1, 8, 1, 0));
    show("write nothing", call(WRITE, 1, ADDRESS(hello), 0, 0));
    show("read bad fd", call(READ, BAD_FD, ADDRESS(scratch), 1, 0));
    show("fstat", call(FSTAT, 1, ADDRESS(scratch), 0, 0));
    show("fstat bad fd", call(FSTAT, BAD_FD, ADDRESS(scratch), 0, 0));
    show("ioctl TCGETS", call(IOCTL, 1, TCGETS, ADDRESS(scratch), 0));
    show("lseek on a pipe", call(LSEEK, 1, 0, SEEK_SET, 0));
    show("lseek bad fd", call(LSEEK, BAD_FD, 0, SEEK_SET, 0));
    show("close bad fd", call(CLOSE, BAD_FD, 0, 0, 0));
}

static void try_names(void)
{
    long gone = ADDRESS("/nonexistent/file");
    show("openat", call(OPENAT, AT_FDCWD, gone, 0, 0));
    show("faccessat", call(FACCESSAT, AT_FDCWD, gone, 0, 0));
    show("newfstatat", call(NEWFSTATAT, AT_FDCWD, gone, ADDRESS(scratch), 0));
    show("readlinkat", call(READLINKAT, AT_FDCWD, gone, ADDRESS(scratch), sizeof scratch));
    show("openat bad pointer", call(OPENAT, AT_FDCWD, 8, 0, 0));
    long size = call(READLINKAT, AT_FDCWD, ADDRESS("/proc/self/exe"), ADDRESS(scratch),
                     sizeof scratch);
    check("readlinkat exe", size > 0 || size == -2);
    size = call(GETCWD, ADDRESS(scratch), sizeof scratch, 0, 0);
    check("getcwd", size > 1 && scratch[0] == '/' && scratch[size - 1] == '\0');
}

/* The file's first bytes by read and by readv, its size by fstat and by lseek. */
static void try_file(const char *name)
{
    long fd = call(OPENAT, AT_FDCWD, ADDRESS(name), 0, 0);
    if (fd < 0) {
        show("open", fd);
        return;
    }
    check("open", fd > 2);
    show("access", call(FACCESSAT, AT_FDCWD, ADDRESS(name), 4, 0));
    show("fstat file", call(FSTAT, fd, ADDRESS(scratch), 0, 0));
    int64_t size;
    memcpy(&size, scratch + 48, sizeof size);
    show("size", size);
    show("lseek end", call(LSEEK, fd, 0, SEEK_END, 0));
    show("read at end", call(READ, fd, ADDRESS(scratch), 16, 0));
    show("lseek set", call(LSEEK, fd, 1, SEEK_SET, 0));
    show("lseek negative", call(LSEEK, fd, -5, SEEK_SET, 0));
    struct vector parts[2] = {{small, 3}, {scratch, 5}};
    memset(small, 0, sizeof small);
    memset(scratch, 0, sizeof scratch);
    show("readv", call(READV, fd, ADDRESS(parts), 2, 0));
    print("bytes: ");
    print(small);
    print_char('|');
    print(scratch);
    print_char('\n');
    show("write to it", call(WRITE, fd, ADDRESS(small), 1, 0));
    show("close", call(CLOSE, fd, 0, 0, 0));
    show("close again", call(CLOSE, fd, 0, 0, 0));
}

int main(int argc, char **argv)
{
    try_brk();
    try_mmap();
    try_clocks();
    try_identity();
    try_signals();
    try_output();
    try_names();
    if (argc > 1)
        try_file(argv[1]);
    show("unknown call", call(NO_SUCH_CALL, 1, 2, 3, 4));
    flush();
    call(EXIT_GROUP, 0, 0, 0, 0);
    return 1;
}
