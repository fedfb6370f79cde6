/* As many pipes, then as many VMs, as there may be. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t ends[2], first[2], byte, length, id;
    if (argc) {
        uint64_t fd, count = 1;
        CHECK(inherited_fds(&fd, &count) == SUCCESS && count == 1);
        length = 1;
        CHECK(read_fd(fd, &byte, &length) == SUCCESS && length == 0);
        return 1;
    }
    const char *args[] = {"waits"};
    (void)argv;
    int pipes = 0;
    uint64_t code;
    CHECK(pipe(first) == SUCCESS);
    while ((code = pipe(ends)) == SUCCESS) {
        pipes++;
    }
    CHECK(code == MAX_FDS_CREATED && pipes == 31);
    CHECK(close_fd(ends[1]) == SUCCESS);
    CHECK(pipe(ends) == SUCCESS); /* 63 are fewer than 64: 65 in the end */
    CHECK(pipe(ends) == MAX_FDS_CREATED);
    for (uint64_t fd = 2; fd < 64; fd++) {
        close_fd(fd);
    }
    int vms = 0;
    for (;;) {
        CHECK(pipe(ends) == SUCCESS);
        uint64_t fds[] = {ends[0], 0};
        code = spawn_self(1, args, fds, &id);
        if (code != SUCCESS) {
            break;
        }
        vms++;
    }
    CHECK(code == MAX_VMS_SPAWNED);
    return vms; /* and leaves them behind */
}
