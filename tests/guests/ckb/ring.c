/* A ring of 16 VMs: a token goes round argv[0] times (by default 2), each VM adds its id. */
#include "ckb.h"

#define VMS 16

/* Pass the token on from fds[0] to fds[1] until there is none. */
static int pass_on(void) {
    uint64_t fds[2], count = 2, token, length;
    CHECK(inherited_fds(fds, &count) == SUCCESS && count == 2);
    uint64_t id = process_id();
    for (;;) {
        length = sizeof token;
        CHECK(read_fd(fds[0], &token, &length) == SUCCESS);
        if (!length) {
            return (int)id;
        }
        token += id;
        CHECK(send(fds[1], &token, sizeof token) == SUCCESS);
    }
}

int main(int argc, const char **argv) {
    if (argc == 2) {
        return pass_on();
    }
    uint64_t rounds = argc ? number_of(argv[0]) : 2;
    const char *args[] = {"ring", "member"};
    uint64_t first[2], ids[VMS - 1], sum = 0;
    CHECK(pipe(first) == SUCCESS);
    uint64_t previous = first[0];
    for (int i = 0; i < VMS - 1; i++) {
        uint64_t next[2];
        CHECK(pipe(next) == SUCCESS);
        uint64_t fds[] = {previous, next[1], 0};
        CHECK(spawn_self(2, args, fds, &ids[i]) == SUCCESS);
        previous = next[0];
        sum += ids[i];
    }
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t token = round;
        CHECK(send(first[1], &token, sizeof token) == SUCCESS);
        CHECK(receive(previous, &token, sizeof token) == SUCCESS);
        CHECK(token == round + sum);
    }
    CHECK(close_fd(first[1]) == SUCCESS);
    for (int i = 0; i < VMS - 1; i++) {
        int8_t code;
        CHECK(wait(ids[i], &code) == SUCCESS && (uint64_t)code == ids[i]);
    }
    return 0;
}
