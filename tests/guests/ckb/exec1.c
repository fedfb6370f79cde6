/* exec as VM version 1 has it: argv is index, source, place, bounds, then what the next program
 * gets. Without arguments it says so by exit code 77; with one, that is the code. */
#include "ckb.h"

int main(int argc, const char **argv) {
    if (!argc) {
        return 77;
    }
    if (argc == 1) {
        return (int)number_of(argv[0]);
    }
    uint64_t code = exec(
        number_of(argv[0]), number_of(argv[1]), number_of(argv[2]), number_of(argv[3]),
        (uint64_t)argc - 4, argv + 4);
    return (int)(100 + code);
}
