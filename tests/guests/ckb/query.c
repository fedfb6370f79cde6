/* One call that loads something: number, buffer size, offset, then a3, a4, a5, all in decimal.
 * Prints the code, the length that came back, and the bytes that were stored, in hex. */
#include "ckb.h"

static char buffer[4096];
static char text[2 * sizeof buffer + 64];

static char *put_hex(char *at, uint64_t value, int digits) {
    while (digits--) {
        *at++ = "0123456789abcdef"[value >> (4 * digits) & 15];
    }
    return at;
}

int main(int argc, const char **argv) {
    uint64_t a[6] = {0}, length;
    for (int i = 0; i < argc && i < 6; i++) {
        a[i] = number_of(argv[i]);
    }
    CHECK(a[1] <= sizeof buffer);
    length = a[1];
    uint64_t code = call6(a[0], P(buffer), P(&length), a[2], a[3], a[4], a[5]);
    char *at = put_hex(text, code, 16);
    *at++ = ' ';
    at = put_hex(at, length, 16);
    *at++ = ' ';
    uint64_t stored = code ? 0 : length < a[1] ? length : a[1];
    for (uint64_t i = 0; i < stored; i++) {
        at = put_hex(at, (uint8_t)buffer[i], 2);
    }
    *at = 0;
    debug(text);
    return (int)code;
}
