/* A chain of programs in one VM: each counts argv[0] down, keeps a pipe, and ends with what came. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t ends[2], id;
    char buffer[21];
    if (!argc) {
        const char *args[] = {"3", "child"};
        CHECK(pipe(ends) == SUCCESS);
        uint64_t fds[] = {ends[0], 0};
        CHECK(spawn_self(2, args, fds, &id) == SUCCESS);
        CHECK(send(ends[1], "\x2a", 1) == SUCCESS);
        int8_t code;
        CHECK(wait(id, &code) == SUCCESS);
        return code;
    }
    uint64_t left = number_of(argv[0]), fd, count = 1;
    if (left) {
        const char *args[] = {text_of(left - 1, buffer), argv[1], "more"};
        exec(0, CELL_DEP, 0, 0, 3, args);
        return 1; /* never */
    }
    CHECK(argc == 3);
    CHECK(inherited_fds(&fd, &count) == SUCCESS && count == 1); /* kept by every program */
    char byte;
    CHECK(receive(fd, &byte, 1) == SUCCESS);
    return byte;
}
