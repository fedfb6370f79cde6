/* Waits that are served when a VM ends: two wait for one, which is told to end by a third. The
 * entry of a VM that ended while others waited stays until somebody asks again. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t fds[2], count = 1, byte = 0, length = 1, target, waiter, ends[2];
    int8_t code;
    if (argc && argv[0][0] == 't') {
        CHECK(inherited_fds(fds, &count) == SUCCESS);
        CHECK(read_fd(fds[0], &byte, &length) == SUCCESS && length == 1);
        return -100;
    }
    if (argc) {
        CHECK(wait(number_of(argv[1]), &code) == SUCCESS && code == -100);
        return 50;
    }
    CHECK(pipe(ends) == SUCCESS);
    const char *target_args[] = {"target"};
    uint64_t given[] = {ends[0], 0};
    CHECK(spawn_self(1, target_args, given, &target) == SUCCESS);
    char buffer[21];
    const char *waiter_args[] = {"waiter", text_of(target, buffer)};
    CHECK(spawn_self(2, waiter_args, NULL, &waiter) == SUCCESS);
    CHECK(send(ends[1], "x", 1) == SUCCESS);
    CHECK(wait(waiter, &code) == SUCCESS && code == 50);
    CHECK(wait(target, &code) == SUCCESS && code == -100); /* again, as nobody took it */
    CHECK(wait(target, &code) == WAIT_FAILURE);
    return 0;
}
