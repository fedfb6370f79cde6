/* An end goes from VM to VM, three deep; those who gave it away cannot use it, the last one can. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t depth = argc ? number_of(argv[0]) : 3, ends[2], id, length = 5;
    char buffer[21], word[5];
    int8_t code;
    if (!argc) {
        CHECK(pipe(ends) == SUCCESS);
    } else {
        uint64_t count = 1;
        CHECK(inherited_fds(&ends[1], &count) == SUCCESS && count == 1);
        if (!depth) {
            CHECK(send(ends[1], "hello", 5) == SUCCESS);
            return 13;
        }
    }
    const char *args[] = {text_of(depth - 1, buffer)};
    uint64_t fds[] = {ends[1], 0};
    CHECK(spawn_self(1, args, fds, &id) == SUCCESS);
    CHECK(write_fd(ends[1], "no", &length) == INVALID_FD);
    CHECK(close_fd(ends[1]) == INVALID_FD);
    if (!argc) {
        CHECK(receive(ends[0], word, 5) == SUCCESS && word[0] == 'h' && word[4] == 'o');
        CHECK(read_fd(ends[0], word, &length) == OTHER_END_CLOSED || length == 0);
    }
    CHECK(wait(id, &code) == SUCCESS);
    return code;
}
