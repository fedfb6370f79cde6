/* Two VMs and two pipes: a number goes to the child and comes back one larger, argv[0] times. */
#include "ckb.h"

static int answer(void) {
    uint64_t fds[2], count = 2, value, length;
    CHECK(inherited_fds(fds, &count) == SUCCESS && count == 2);
    for (;;) {
        length = sizeof value;
        CHECK(read_fd(fds[0], &value, &length) == SUCCESS);
        if (!length) {
            return 7; /* the parent has closed its end */
        }
        CHECK(length == sizeof value);
        value++;
        CHECK(write_fd(fds[1], &value, &length) == SUCCESS && length == sizeof value);
    }
}

int main(int argc, const char **argv) {
    if (argc == 2) {
        return answer();
    }
    uint64_t rounds = argc ? number_of(argv[0]) : 5;
    uint64_t to[2], from[2], id, value = 0, length;
    const char *args[] = {"child", "answers"};
    CHECK(pipe(to) == SUCCESS && pipe(from) == SUCCESS);
    uint64_t fds[] = {to[0], from[1], 0};
    CHECK(spawn_self(2, args, fds, &id) == SUCCESS);
    for (uint64_t i = 0; i < rounds; i++) {
        length = sizeof value;
        CHECK(write_fd(to[1], &value, &length) == SUCCESS && length == sizeof value);
        CHECK(read_fd(from[0], &value, &length) == SUCCESS && length == sizeof value);
    }
    CHECK(value == rounds);
    CHECK(close_fd(to[1]) == SUCCESS);
    int8_t code;
    CHECK(wait(id, &code) == SUCCESS && code == 7);
    return 0;
}
