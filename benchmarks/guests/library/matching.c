// Regular expressions, wildcards, searches in strings.
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    unsigned long sum = 0;
    for (int i = 0; i < 3000; i++) {
        char line[200];
        regex_t pattern;
        regmatch_t found[3];
        snprintf(line, sizeof line, "%d some text abc%dfoobarx and %x more", i, i * 7, i);
        regcomp(&pattern, "([a-z]+)[0-9]*(foo|bar)+x?", REG_EXTENDED);
        sum += regexec(&pattern, line, 3, found, 0) == 0 ? found[0].rm_so : 0;
        regfree(&pattern);
        sum += fnmatch("*te?t*[0-9]*", line, 0) + (strstr(line, "more") - line) + strcspn(line, "q");
        for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
            sum += strlen(word);
        }
    }
    printf("%lu\n", sum);
}
