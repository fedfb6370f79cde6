/* Reads that are larger and smaller than writes, of nothing, and across closed ends. */
#include "ckb.h"

static char data[5000], copy[5000];

static void fill(char *at, uint64_t size, uint64_t seed) {
    for (uint64_t i = 0; i < size; i++) {
        at[i] = (char)(i * 7 + seed);
    }
}

static int same(const char *a, const char *b, uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            return 0;
        }
    }
    return 1;
}

/* Writes 5000 bytes, 10 bytes, none, then 100 bytes of which only 30 are taken. */
static int writer(void) {
    uint64_t fd, count = 1, length;
    CHECK(inherited_fds(&fd, &count) == SUCCESS && count == 1);
    fill(data, sizeof data, 1);
    CHECK(send(fd, data, sizeof data) == SUCCESS);
    CHECK(send(fd, data, 10) == SUCCESS);
    length = 0;
    CHECK(write_fd(fd, data, &length) == SUCCESS && length == 0);
    length = 100;
    CHECK(write_fd(fd, data, &length) == SUCCESS && length == 30);
    CHECK(write_fd(fd, data, &length) == OTHER_END_CLOSED);
    return 11;
}

/* Reads what comes until the other end is closed, and exits with how much it was. */
static int reader(void) {
    uint64_t fd, count = 1, total = 0;
    CHECK(inherited_fds(&fd, &count) == SUCCESS && count == 1);
    for (;;) {
        uint64_t length = 64;
        CHECK(read_fd(fd, copy, &length) == SUCCESS);
        if (!length) {
            uint64_t more = 5;
            CHECK(read_fd(fd, copy, &more) == OTHER_END_CLOSED && more == 5);
            return (int)total;
        }
        total += length;
    }
}

int main(int argc, const char **argv) {
    if (argc) {
        return argv[0][0] == 'w' ? writer() : reader();
    }
    uint64_t ends[2], id, length;
    const char *write_role[] = {"writer"}, *read_role[] = {"reader"};
    int8_t code;

    CHECK(pipe(ends) == SUCCESS && (ends[0] & 1) == 0 && ends[1] == ends[0] + 1);
    uint64_t given[] = {ends[1], 0};
    CHECK(spawn_self(1, write_role, given, &id) == SUCCESS);
    fill(data, sizeof data, 1);
    /* Smaller than the write: it waits until all is taken. */
    uint64_t sizes[] = {1, 4, 0, 3000, 1995};
    char *at = copy;
    for (int i = 0; i < 5; i++) {
        length = sizes[i];
        CHECK(read_fd(ends[0], at, &length) == SUCCESS && length == sizes[i]);
        at += length;
    }
    CHECK(same(copy, data, sizeof data));
    /* Larger: short. */
    length = 4000;
    CHECK(read_fd(ends[0], copy, &length) == SUCCESS && length == 10);
    length = 50;
    CHECK(read_fd(ends[0], copy, &length) == SUCCESS && length == 0); /* of the empty write */
    length = 30;
    CHECK(read_fd(ends[0], copy, &length) == SUCCESS && length == 30);
    CHECK(close_fd(ends[0]) == SUCCESS); /* the writer has 70 bytes left */
    CHECK(wait(id, &code) == SUCCESS && code == 11);

    CHECK(pipe(ends) == SUCCESS);
    uint64_t given_end[] = {ends[0], 0};
    CHECK(spawn_self(1, read_role, given_end, &id) == SUCCESS);
    CHECK(send(ends[1], data, 3) == SUCCESS);
    CHECK(send(ends[1], data, 100) == SUCCESS); /* in two reads */
    CHECK(close_fd(ends[1]) == SUCCESS);
    CHECK(wait(id, &code) == SUCCESS && code == 103);

    /* The other end is closed before anybody asks. */
    CHECK(pipe(ends) == SUCCESS && close_fd(ends[1]) == SUCCESS);
    length = 9;
    CHECK(read_fd(ends[0], copy, &length) == OTHER_END_CLOSED && length == 9);
    return 0;
}
