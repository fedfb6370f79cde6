/* Nobody can go on: a VM waits for itself, or two wait for each other's bytes. */
#include "ckb.h"

int main(int argc, const char **argv) {
    int8_t code;
    uint64_t length = 1, byte, id, there[2], back[2];
    if (!argc) {
        wait(process_id(), &code);
        return 1;
    }
    if (argv[0][0] == 'c') {
        uint64_t fds[2], count = 2;
        CHECK(inherited_fds(fds, &count) == SUCCESS);
        read_fd(fds[0], &byte, &length);
        return 2;
    }
    const char *args[] = {"child"};
    CHECK(pipe(there) == SUCCESS && pipe(back) == SUCCESS);
    uint64_t fds[] = {there[0], back[1], 0};
    CHECK(spawn_self(1, args, fds, &id) == SUCCESS);
    read_fd(back[0], &byte, &length);
    return 3;
}
