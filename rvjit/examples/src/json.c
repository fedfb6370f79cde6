/* A JSON parser (RFC 8259) run over documents of argv[1] generated records.
 *
 * Documents hold at most 100 records each. Printed are counts of what was parsed and a checksum
 * of names, strings and numbers. Numbers must be integers; strings may use every escape, and
 * \u escapes become UTF-8 (surrogates are kept as they are).
 */
#include "runtime.h"

enum { RECORDS = 100, TEXT = 200 * RECORDS, DEEPEST = 32 };

/* --- the writer --------------------------------------------------------------------------- */

static char text[TEXT];
static size_t length;

static void put(const char *from)
{
    size_t size = strlen(from);
    memcpy(text + length, from, size);
    length += size;
}

static void put_number(uint32_t value)
{
    char digits[11];
    int at = 10;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put(digits + at);
}

static void write_document(uint64_t first, int count, uint32_t *random)
{
    static const char *const names[8] = {
        "Ada", "Bj\\u00f6rn", "Carl \\\"C\\\"", "Dora\\n", "Em\xc3\xadlia", "F\\\\G", "", "Hal\\t9000",
    };
    length = 0;
    put("[\n");
    for (int i = 0; i < count; i++) {
        uint32_t choice = next_random(random);
        put(i == 0 ? "  {\"id\": " : ",\n  {\"id\": ");
        put_number((uint32_t)first + (uint32_t)i);
        put(", \"name\": \"");
        put(names[choice & 7]);
        put("\", \"active\": ");
        put(choice & 8 ? "true" : "false");
        put(", \"scores\": [");
        for (uint32_t j = 0; j < (choice >> 4 & 3); j++) {
            put(j > 0 ? ", -" : "-");
            put_number(next_random(random) >> 8);
        }
        put("], \"parent\": ");
        put(choice & 64 ? "null" : "{\"kind\": \"x\", \"rest\": []}");
        put("}");
    }
    put("\n]\n");
}

/* --- the parser --------------------------------------------------------------------------- */

static struct {
    const char *at, *end;
    uint32_t objects, arrays, strings, numbers, literals;
    uint32_t sum;
    int depth;
} parser;

static int parse_value(void);

static void skip_space(void)
{
    while (parser.at < parser.end
           && (*parser.at == ' ' || *parser.at == '\n' || *parser.at == '\t' || *parser.at == '\r'))
        parser.at++;
}

/* Skip space and consume c if it comes next. */
static int accept(char c)
{
    skip_space();
    if (parser.at == parser.end || *parser.at != c)
        return 0;
    parser.at++;
    return 1;
}

static void mix_byte(uint32_t byte)
{
    parser.sum = mix(parser.sum, byte & 0xff);
}

static void mix_code_point(uint32_t code)
{
    if (code < 0x80) {
        mix_byte(code);
    } else if (code < 0x800) {
        mix_byte(0xc0 | code >> 6);
        mix_byte(0x80 | (code & 0x3f));
    } else {
        mix_byte(0xe0 | code >> 12);
        mix_byte(0x80 | (code >> 6 & 0x3f));
        mix_byte(0x80 | (code & 0x3f));
    }
}

static int parse_escape(void)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (parser.at == parser.end)
        return 0;
    char c = *parser.at++;
    for (int i = 0; letters[i] != '\0'; i++) {
        if (letters[i] == c) {
            mix_byte((uint8_t)meanings[i]);
            return 1;
        }
    }
    if (c != 'u' || parser.end - parser.at < 4)
        return 0;
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char digit = *parser.at++;
        if (digit >= '0' && digit <= '9')
            code = code * 16 + (uint32_t)(digit - '0');
        else if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
            code = code * 16 + (uint32_t)((digit | 32) - 'a') + 10;
        else
            return 0;
    }
    mix_code_point(code);
    return 1;
}

/* The rest of a string, after its opening quote. */
static int parse_string(void)
{
    parser.strings++;
    while (parser.at < parser.end) {
        uint8_t c = (uint8_t)*parser.at++;
        if (c == '"')
            return 1;
        if (c < ' ')
            return 0;
        if (c != '\\')
            mix_byte(c);
        else if (!parse_escape())
            return 0;
    }
    return 0;
}

static int parse_number(void)
{
    uint32_t value = 0;
    int negative = *parser.at == '-';
    const char *first = parser.at += negative;
    while (parser.at < parser.end && *parser.at >= '0' && *parser.at <= '9')
        value = value * 10 + (uint32_t)(*parser.at++ - '0');
    if (parser.at == first || (*first == '0' && parser.at - first > 1))
        return 0;
    parser.numbers++;
    parser.sum = mix(parser.sum, negative ? 0 - value : value);
    return 1;
}

static int parse_literal(const char *literal)
{
    size_t size = strlen(literal);
    if ((size_t)(parser.end - parser.at) < size || memcmp(parser.at, literal, size) != 0)
        return 0;
    parser.at += size;
    parser.literals++;
    mix_byte((uint8_t)*literal);
    return 1;
}

static int parse_object(void)
{
    parser.objects++;
    if (accept('}'))
        return 1;
    do {
        if (!accept('"') || !parse_string() || !accept(':') || !parse_value())
            return 0;
    } while (accept(','));
    return accept('}');
}

static int parse_array(void)
{
    parser.arrays++;
    if (accept(']'))
        return 1;
    do {
        if (!parse_value())
            return 0;
    } while (accept(','));
    return accept(']');
}

static int parse_value(void)
{
    int good;
    skip_space();
    if (parser.at == parser.end || parser.depth == DEEPEST)
        return 0;
    parser.depth++;
    switch (*parser.at) {
    case '{': parser.at++; good = parse_object(); break;
    case '[': parser.at++; good = parse_array(); break;
    case '"': parser.at++; good = parse_string(); break;
    case 't': good = parse_literal("true"); break;
    case 'f': good = parse_literal("false"); break;
    case 'n': good = parse_literal("null"); break;
    default: good = parse_number(); break;
    }
    parser.depth--;
    return good;
}

int main(int argc, char **argv)
{
    uint64_t records = size_argument(argc, argv, 800);
    uint64_t bytes = 0;
    uint32_t random = 4242;
    parser.sum = MIX_START;
    for (uint64_t done = 0; done < records; done += RECORDS) {
        int count = records - done < RECORDS ? (int)(records - done) : RECORDS;
        write_document(done, count, &random);
        bytes += length;
        parser.at = text;
        parser.end = text + length;
        int good = parse_value();
        skip_space();
        if (!good || parser.at != parser.end) {
            print_result("syntax error at byte", (uint64_t)(parser.at - text));
            return 1;
        }
    }
    print_result("bytes", bytes);
    print_result("objects", parser.objects);
    print_result("arrays", parser.arrays);
    print_result("strings", parser.strings);
    print_result("numbers", parser.numbers);
    print_result("literals", parser.literals);
    print_result("checksum", parser.sum);
    return 0;
}
