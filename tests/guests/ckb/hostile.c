/* One bad system call: number, then up to six arguments in decimal. Exits with 100 plus the code. */
#include "ckb.h"

int main(int argc, const char **argv) {
    uint64_t a[7] = {0};
    for (int i = 0; i < argc && i < 7; i++) {
        a[i] = number_of(argv[i]);
    }
    return (int)(100 + (call6(a[0], a[1], a[2], a[3], a[4], a[5], a[6]) & 0xf));
}
