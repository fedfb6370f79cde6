/* Prints its arguments and environment, one a line, then copies standard input to the output. */
#include "runtime.h"

enum { SYS_READ = 63, SYS_WRITE = 64 };

int main(int argc, char **argv)
{
    static char buffer[512];
    char **envp = argv + argc + 1;
    print_result("argc", (uint64_t)argc);
    for (int i = 1; i < argc; i++) {
        print("argv: ");
        print(argv[i]);
        print_char('\n');
    }
    for (; *envp != NULL; envp++) {
        print("envp: ");
        print(*envp);
        print_char('\n');
    }
    flush();
    for (;;) {
        long size = system_call(SYS_READ, 0, (long)(uintptr_t)buffer, sizeof buffer, 0, 0, 0);
        if (size <= 0)
            return size == 0 ? 0 : 1;
        for (long done = 0; done < size;) {
            long at = (long)(uintptr_t)(buffer + done);
            long written = system_call(SYS_WRITE, 1, at, size - done, 0, 0, 0);
            if (written <= 0)
                return 1;
            done += written;
        }
    }
}
