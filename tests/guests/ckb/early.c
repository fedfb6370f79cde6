/* The root ends while a child could still run, one waits and one is a snapshot. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t ids[6], ends[2];
    (void)argv;
    if (argc) {
        uint64_t fd, count = 1, byte, length = 1;
        inherited_fds(&fd, &count);
        if (count) {
            read_fd(fd, &byte, &length);
        }
        return 9;
    }
    const char *args[] = {"child"};
    for (int i = 0; i < 6; i++) {
        CHECK(pipe(ends) == SUCCESS);
        uint64_t fds[] = {ends[0], 0};
        CHECK(spawn_self(1, args, fds, &ids[i]) == SUCCESS);
        CHECK(ids[i] == (uint64_t)i + 1);
    }
    return 42;
}
