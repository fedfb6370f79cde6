/* ckb-debugger's calls for files: the content that 9000 gives, a file read in parts, a new one, and
 * C's streams. Exits with 0. */
#include "ckb.h"

#define OPEN 9003
#define REOPEN 9004
#define READ 9005
#define AT_END 9006
#define FAILED 9007
#define GET_CHAR 9008
#define CLOSE 9009
#define TELL 9010
#define SEEK 9011
#define WRITE 9012
#define WRITE_FILE 9013

int main(int argc, const char **argv) {
    char buffer[64];
    (void)argc;
    (void)argv;
    CHECK(call6(9000, P(buffer), 4, 0, 0, 0, 0) == 4 && buffer[0] == 'c' && buffer[3] == 't');
    CHECK(call6(9000, P(buffer), 64, 0, 0, 0, 0) == 3 && buffer[2] == 't');
    CHECK(call6(9000, P(buffer), 64, 0, 0, 0, 0) == -1ul);
    uint64_t now = call6(9001, 0, 0, 0, 0, 0, 0);
    CHECK(now > 1500000000000000000ul && call6(9001, 0, 0, 0, 0, 0, 0) > now);
    CHECK(call6(9002, 0, 0, 0, 0, 0, 0) != call6(9002, 0, 0, 0, 0, 0, 0));

    CHECK(call6(OPEN, P("/data/none"), P("r"), 0, 0, 0, 0) == 0);
    CHECK(call6(OPEN, P("/etc/passwd"), P("r"), 0, 0, 0, 0) == 0);
    CHECK(call6(OPEN, P("/data/in.txt"), P("x"), 0, 0, 0, 0) == 0);
    uint64_t in = call6(OPEN, P("/data/in.txt"), P("rb"), 0, 0, 0, 0);
    CHECK(in != 0);
    CHECK(call6(READ, P(buffer), 2, 3, in, 0, 0) == 3 && buffer[5] == '5');
    CHECK(call6(TELL, in, 0, 0, 0, 0, 0) == 6);
    CHECK(call6(GET_CHAR, in, 0, 0, 0, 0, 0) == '6');
    CHECK(call6(AT_END, in, 0, 0, 0, 0, 0) == 0);
    CHECK(call6(READ, P(buffer), 2, 30, in, 0, 0) == 1 && buffer[1] == '8'); /* of 3 bytes */
    CHECK(call6(AT_END, in, 0, 0, 0, 0, 0) == 1 && call6(FAILED, in, 0, 0, 0, 0, 0) == 0);
    CHECK(call6(GET_CHAR, in, 0, 0, 0, 0, 0) == -1ul);
    CHECK(call6(SEEK, in, -2ul, 2, 0, 0, 0) == 0 && call6(GET_CHAR, in, 0, 0, 0, 0, 0) == '7');
    CHECK(call6(SEEK, in, 0, 9, 0, 0, 0) == -1ul);
    CHECK(call6(REOPEN, P("/data/in.txt"), P("r"), in, 0, 0, 0) == in);
    CHECK(call6(TELL, in, 0, 0, 0, 0, 0) == 0);
    CHECK(call6(CLOSE, in, 0, 0, 0, 0, 0) == 0 && call6(CLOSE, in, 0, 0, 0, 0, 0) == -1ul);
    CHECK(call6(GET_CHAR, in, 0, 0, 0, 0, 0) == -1ul && call6(READ, 0, 1, 1, in, 0, 0) == 0);

    CHECK(call6(WRITE_FILE, P("/data/new.txt"), P("written"), 7, 0, 0, 0) == 0);
    CHECK(call6(WRITE_FILE, P("/new.txt"), P("written"), 7, 0, 0, 0) == -1ul);
    uint64_t out = call6(OPEN, P("/data/new.txt"), P("a"), 0, 0, 0, 0);
    CHECK(out && call6(WRITE, P(" more"), 1, 5, out, 0, 0) == 5);
    CHECK(call6(CLOSE, out, 0, 0, 0, 0, 0) == 0);

    CHECK(call6(64, 1, P("printed\n"), 8, 0, 0, 0) == 8);
    CHECK(call6(64, 77, P("printed\n"), 8, 0, 0, 0) == -1ul);
    return 0;
}
