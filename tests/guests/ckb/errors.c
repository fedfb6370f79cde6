/* Every code that a system call of the scheduler can give. */
#include "ckb.h"

/* Without arguments of its own, an inherited end that is closed, and one that stays. */
static int child(void) {
    uint64_t fds[4] = {99, 99, 99, 99}, count = 1, length = 1;
    char byte = 0;
    CHECK(inherited_fds(fds, &count) == SUCCESS && count == 2 && fds[1] == 99);
    count = 4;
    CHECK(inherited_fds(fds, &count) == SUCCESS && count == 2 && fds[2] == 99);
    CHECK(close_fd(fds[0]) == SUCCESS);
    uint64_t again[2];
    count = 2;
    CHECK(inherited_fds(again, &count) == SUCCESS && count == 2 && again[0] == fds[0]);
    CHECK(read_fd(fds[0], &byte, &length) == INVALID_FD);
    CHECK(read_fd(fds[1], &byte, &length) == OTHER_END_CLOSED); /* whose other end was fds[0] */
    return -5;
}

int main(int argc, const char **argv) {
    if (argc) {
        return child();
    }
    uint64_t a[2], b[2], id, length = 4;
    char bytes[4] = {0};
    int8_t code = 0;
    const char *args[] = {"child"};
    (void)argv;

    CHECK(process_id() == 0);
    CHECK(vm_version() == 2);
    uint64_t none[1] = {99}, count = 1;
    CHECK(inherited_fds(none, &count) == SUCCESS && count == 0 && none[0] == 99);

    CHECK(pipe(a) == SUCCESS && a[0] == 2 && a[1] == 3);
    CHECK(pipe(b) == SUCCESS && b[0] == 4 && b[1] == 5);
    CHECK(read_fd(a[1], bytes, &length) == INVALID_FD);
    CHECK(write_fd(a[0], bytes, &length) == INVALID_FD);
    CHECK(read_fd(6, bytes, &length) == INVALID_FD);
    CHECK(write_fd(7, bytes, &length) == INVALID_FD);
    CHECK(read_fd(-2ul, bytes, &length) == INVALID_FD);
    CHECK(close_fd(6) == INVALID_FD);
    CHECK(length == 4);

    CHECK(wait(0x1234, &code) == WAIT_FAILURE && code == 0);
    CHECK(wait(1, &code) == WAIT_FAILURE);

    struct spawn_args spawning = {1, args, &id, NULL};
    CHECK(spawn(0, CELL_DEP, 2, 0, &spawning) == INDEX_OUT_OF_BOUND);  /* no such place */
    CHECK(spawn(0, HEADER_DEP, 0, 0, &spawning) == INDEX_OUT_OF_BOUND);
    CHECK(spawn(50, CELL_DEP, 0, 0, &spawning) == INDEX_OUT_OF_BOUND); /* no such cell */
    CHECK(spawn(1ul << 32, CELL_DEP, 0, 0, &spawning) == INDEX_OUT_OF_BOUND);
    CHECK(spawn(0, CELL_DEP, 0, 0x7fffffff00000000, &spawning) == SLICE_OUT_OF_BOUND);
    CHECK(spawn(0, CELL_DEP, 0, 0x7fffffff, &spawning) == SLICE_OUT_OF_BOUND);
    CHECK(exec(0, CELL_DEP, 2, 0, 0, NULL) == INDEX_OUT_OF_BOUND);
    CHECK(exec(0, 77, 0, 0, 0, NULL) == INDEX_OUT_OF_BOUND); /* a bad source is no fault here */

    uint64_t not_ours[] = {a[0], 8, 0};
    spawning.fds = not_ours;
    CHECK(spawn(0, CELL_DEP, 0, 0, &spawning) == INVALID_FD);
    CHECK(close_fd(a[1]) == SUCCESS && close_fd(a[1]) == INVALID_FD);
    CHECK(read_fd(a[0], bytes, &length) == OTHER_END_CLOSED);

    uint64_t both[] = {b[1], b[0], 0};
    spawning.fds = both;
    CHECK(spawn(0, CELL_DEP, 0, 0, &spawning) == SUCCESS && id == 1);
    CHECK(close_fd(b[0]) == INVALID_FD); /* it is the child's now */
    CHECK(write_fd(b[1], bytes, &length) == INVALID_FD);
    CHECK(wait(1, &code) == SUCCESS && code == -5);
    /* It was woken when the child ended, or found it dead: only that takes it off the list. */
    uint64_t second = wait(1, &code);
    CHECK(second == SUCCESS || second == WAIT_FAILURE);
    CHECK(wait(1, &code) == WAIT_FAILURE);
    return second == SUCCESS ? 20 : 21;
}
