/* A tree of VMs, two children for each down to a depth (argv[0], by default 2); leaves exit with
 * their depth, all others with the sum of their children's codes and 1. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t depth = argc ? number_of(argv[0]) : 2;
    if (!depth) {
        return 3;
    }
    char buffer[21];
    const char *args[] = {text_of(depth - 1, buffer)};
    uint64_t ids[2];
    int8_t codes[2];
    for (int i = 0; i < 2; i++) {
        CHECK(spawn_self(1, args, NULL, &ids[i]) == SUCCESS);
    }
    CHECK(ids[0] < ids[1]);
    CHECK(process_id() < ids[0]);
    for (int i = 0; i < 2; i++) {
        CHECK(wait(ids[i], &codes[i]) == SUCCESS);
    }
    return codes[0] + codes[1] + 1;
}
