// Hashes of passwords: MD5, DES, Blowfish, SHA-256, SHA-512.
#include <stdio.h>

char *crypt(const char *, const char *);

int main(void) {
    static const char *const salts[] = {
        "$1$abcdefgh", "ab", "$2a$04$abcdefghijklmnopqrstuu", "$5$rounds=1000$salt", "$6$rounds=1000$salt",
    };
    unsigned long sum = 0;
    for (int i = 0; i < 20; i++) {
        sum += crypt("password", salts[i % 5])[9];
    }
    printf("%lu\n", sum);
}
