// Formatted output and input, dates.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(void) {
    unsigned long sum = 0;
    for (int i = 0; i < 20000; i++) {
        char line[300], word[10];
        int number;
        unsigned long hex;
        snprintf(line, sizeof line, "%d %s %08lx %5u|%-10s|%c", i, "hello", i * 977ul, i, "x", 'a' + i % 26);
        sum += strlen(line) + strtol(line, NULL, 10);
        sscanf(line, "%d %9s %lx", &number, word, &hex);
        time_t seconds = i * 100000l;
        strftime(line, sizeof line, "%Y-%m-%d %H:%M", gmtime(&seconds));
        sum += number + hex + line[3];
    }
    printf("%lu\n", sum);
}
