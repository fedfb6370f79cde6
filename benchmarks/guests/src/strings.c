/* String handling: a text of 4096 words is written, split, folded to lower case, searched, reversed
 * word by word and compared, argv[1] times.
 */
#include "runtime.h"

enum { WORDS = 4096, TEXT = 16 * WORDS };

static char text[TEXT], folded[TEXT];
static const char *starts[WORDS];

static const char *const syllables[16] = {
    "An", "be", "Cor", "di", "El", "fo", "Gra", "hu", "I", "jo", "Kel", "la", "Mo", "ne", "O", "per",
};

static char *append(char *to, const char *from)
{
    while (*from != '\0')
        *to++ = *from++;
    return to;
}

static uint32_t write_text(uint32_t *random)
{
    char *to = text;
    for (int i = 0; i < WORDS; i++) {
        uint32_t r = next_random(random);
        for (uint32_t parts = 1 + (r & 3); parts > 0; parts--, r >>= 4)
            to = append(to, syllables[r >> 4 & 15]);
        *to++ = r & 1 ? ' ' : '\n';
    }
    *to = '\0';
    return (uint32_t)(to - text);
}

static void fold(char *to, const char *from)
{
    char c;
    do {
        c = *from++;
        *to++ = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    } while (c != '\0');
}

static int is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

static uint32_t split(char *from)
{
    uint32_t count = 0;
    while (*from != '\0') {
        while (is_space(*from))
            *from++ = '\0';
        if (*from == '\0')
            break;
        starts[count++] = from;
        while (*from != '\0' && !is_space(*from))
            from++;
    }
    return count;
}

static int compare(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b)
        a++, b++;
    return (uint8_t)*a - (uint8_t)*b;
}

static uint32_t count_occurrences(const char *in, const char *what)
{
    uint32_t count = 0;
    for (; *in != '\0'; in++) {
        const char *a = in, *b = what;
        while (*b != '\0' && *a == *b)
            a++, b++;
        count += *b == '\0';
    }
    return count;
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 10);
    uint32_t random = 8675309, sum = MIX_START;
    for (uint64_t i = 0; i < rounds; i++) {
        uint32_t size = write_text(&random);
        fold(folded, text);
        sum = mix(sum, count_occurrences(folded, "mone"));
        sum = mix(sum, count_occurrences(text, "Gra"));
        uint32_t count = split(folded), sorted = 0, longest = 0;
        for (uint32_t j = 1; j < count; j++) {
            sorted += compare(starts[j - 1], starts[j]) <= 0;
            uint32_t length = (uint32_t)strlen(starts[j]);
            longest = length > longest ? length : longest;
        }
        memcpy(text, folded, size);
        for (uint32_t j = 0; j < size / 2; j++) {
            char c = text[j];
            text[j] = text[size - 1 - j];
            text[size - 1 - j] = c;
        }
        sum = mix(mix(mix(mix(sum, size), sorted), longest), (uint8_t)text[i % size]);
    }
    print_result("checksum", sum);
    return 0;
}
