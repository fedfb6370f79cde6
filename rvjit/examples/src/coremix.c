/* A mix of what controllers do: lists, small matrices, a state machine and CRCs, argv[1] times.
 *
 * Each part adds its results to one CRC, which is printed.
 */
#include "runtime.h"

/* --- CRC-16 (reflected, polynomial 0xa001), bit by bit ----------------------------------- */

static uint16_t crc_byte(uint16_t crc, uint8_t byte)
{
    for (int bit = 0; bit < 8; bit++) {
        uint16_t low = (uint16_t)((crc ^ byte) & 1);
        crc = (uint16_t)(crc >> 1 ^ (low ? 0xa001 : 0));
        byte >>= 1;
    }
    return crc;
}

static uint16_t crc_word(uint16_t crc, uint32_t word)
{
    for (int shift = 0; shift < 32; shift += 8)
        crc = crc_byte(crc, (uint8_t)(word >> shift));
    return crc;
}

/* --- a linked list ------------------------------------------------------------------------ */

enum { NODES = 40 };

struct node {
    struct node *next;
    int16_t value;
    int16_t index;
};

static struct node nodes[NODES];

static struct node *build_list(uint32_t *random)
{
    for (int i = 0; i < NODES; i++) {
        nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : NULL;
        nodes[i].value = (int16_t)(next_random(random) & 0x3ff);
        nodes[i].index = (int16_t)i;
    }
    return nodes;
}

static struct node *find(struct node *list, int16_t value)
{
    while (list != NULL && list->value != value)
        list = list->next;
    return list;
}

static struct node *reverse(struct node *list)
{
    struct node *done = NULL;
    while (list != NULL) {
        struct node *next = list->next;
        list->next = done;
        done = list;
        list = next;
    }
    return done;
}

static int by_value(const struct node *a, const struct node *b)
{
    return a->value != b->value ? a->value - b->value : a->index - b->index;
}

static int by_index(const struct node *a, const struct node *b)
{
    return a->index - b->index;
}

/* Merge sort from the bottom up: runs of 1, 2, 4, … nodes are merged pair by pair. */
static struct node *sort(struct node *list, int (*order)(const struct node *, const struct node *))
{
    for (int run = 1;; run *= 2) {
        struct node *rest = list, **tail = &list;
        int merges = 0;
        while (rest != NULL) {
            struct node *left = rest, *right = rest;
            int left_size = 0, right_size = run;
            while (left_size < run && right != NULL) {
                right = right->next;
                left_size++;
            }
            while (left_size > 0 || (right_size > 0 && right != NULL)) {
                struct node *taken;
                if (left_size > 0 && (right_size == 0 || right == NULL || order(left, right) <= 0)) {
                    taken = left;
                    left = left->next;
                    left_size--;
                } else {
                    taken = right;
                    right = right->next;
                    right_size--;
                }
                *tail = taken;
                tail = &taken->next;
            }
            rest = right;
            merges++;
        }
        *tail = NULL;
        if (merges <= 1)
            return list;
    }
}

static uint16_t list_crc(uint16_t crc, const struct node *list)
{
    for (int i = 0; list != NULL && i < 8; list = list->next, i++)
        crc = crc_word(crc, (uint32_t)(uint16_t)list->value << 16 | (uint16_t)list->index);
    return crc;
}

static uint16_t work_on_list(uint16_t crc, uint32_t *random)
{
    struct node *list = build_list(random);
    uint32_t hits = 0;
    for (int i = 0; i < 8; i++) {
        struct node *hit = find(list, (int16_t)(next_random(random) & 0x3ff));
        hits += hit != NULL ? 1 + (uint32_t)hit->index : 0;
        list = reverse(list);
    }
    list = sort(list, by_value);
    crc = list_crc(crc, list);
    list = sort(list, by_index);
    return crc_word(list_crc(crc, list), hits);
}

/* --- matrices ----------------------------------------------------------------------------- */

enum { N = 8 };

static uint16_t work_on_matrices(uint16_t crc, uint32_t *random)
{
    static int16_t a[N][N], b[N][N];
    static int32_t c[N][N];
    int16_t addend = (int16_t)(next_random(random) & 0xff);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            a[i][j] = (int16_t)((int32_t)(next_random(random) & 0x7ff) + addend);
            b[i][j] = (int16_t)((int32_t)(next_random(random) & 0x7ff) - 0x400);
        }
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            int32_t sum = 0;
            for (int k = 0; k < N; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
    }
    int32_t last = 0;
    uint32_t rises = 0;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            int32_t bits = (c[i][j] >> 2 & 15) * (c[i][j] >> 5 & 127);
            rises += bits > last ? 10 : 1;
            last = bits;
        }
    }
    return crc_word(crc_word(crc, rises), (uint32_t)c[N - 1][N - 1]);
}

/* --- a state machine that sorts words into kinds of numbers -------------------------------- */

enum state { START, SIGN, INTEGER, POINT, EXPONENT, INVALID, STATES };

static enum state step(enum state state, char c)
{
    int digit = c >= '0' && c <= '9';
    switch (state) {
    case START:
        return digit ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? POINT : INVALID;
    case SIGN:
        return digit ? INTEGER : c == '.' ? POINT : INVALID;
    case INTEGER:
        return digit ? INTEGER : c == '.' ? POINT : c == 'e' ? EXPONENT : INVALID;
    case POINT:
        return digit ? POINT : c == 'e' ? EXPONENT : INVALID;
    case EXPONENT:
        return digit ? EXPONENT : INVALID;
    default:
        return INVALID;
    }
}

static uint16_t work_on_words(uint16_t crc, uint32_t *random)
{
    static const char *const words[8] = {
        "5012,", "-874,", "35.54400,", ".1234500,", "5.500e3,", "T0.3e-1F,", "+0.64400,", "-11e7,",
    };
    uint32_t kinds[STATES] = {0};
    uint32_t changes = 0;
    for (int i = 0; i < 32; i++) {
        enum state state = START;
        for (const char *at = words[next_random(random) & 7]; *at != ','; at++) {
            enum state next = step(state, *at);
            changes += next != state;
            state = next;
        }
        kinds[state]++;
    }
    for (int i = 0; i < STATES; i++)
        crc = crc_word(crc, kinds[i]);
    return crc_word(crc, changes);
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 140);
    uint32_t random = 12345;
    uint16_t crc = 0xffff;
    for (uint64_t i = 0; i < rounds; i++) {
        crc = work_on_list(crc, &random);
        crc = work_on_matrices(crc, &random);
        crc = work_on_words(crc, &random);
    }
    print_result("rounds", rounds);
    print("crc: 0x");
    print_hex(crc, 4);
    print_char('\n');
    return 0;
}
