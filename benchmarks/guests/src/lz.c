/* LZ77 with a hash table, as in LZ4: 64 KiB of text of few words are packed, unpacked and compared,
 * argv[1] times.
 */
#include "runtime.h"

enum { SIZE = 65536, BITS = 12, SHORTEST = 4, LONGEST = 255 + SHORTEST };

static uint8_t plain[SIZE], packed[SIZE + SIZE / 128 + 16], unpacked[SIZE];
static uint32_t last_seen[1 << BITS];

static void write_plain(uint32_t *random)
{
    static const char *const words[8] = {
        "register ", "memory ", "of the ", "machine, ", "page ", "and ", "a cycle limit. ", "x31 ",
    };
    for (uint32_t at = 0; at < SIZE;) {
        uint32_t r = next_random(random);
        for (const char *from = words[r >> 9 & 7]; *from != '\0' && at < SIZE; from++)
            plain[at++] = (uint8_t)*from;
        if ((r & 7) == 0 && at < SIZE)
            plain[at++] = (uint8_t)(r >> 16);
    }
}

static uint32_t hash_at(const uint8_t *p)
{
    uint32_t word = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return word * 2654435761u >> (32 - BITS);
}

/* A token is a count of literals (below 128) and these, or 128, a length and a distance. */
static uint32_t pack(void)
{
    uint32_t at = 0, first = 0, out = 0;
    memset(last_seen, 0, sizeof last_seen);
    while (at < SIZE) {
        uint32_t length = 0, from = 0;
        if (at + SHORTEST <= SIZE) {
            uint32_t slot = hash_at(plain + at);
            from = last_seen[slot];
            last_seen[slot] = at;
            uint32_t most = SIZE - at < LONGEST ? SIZE - at : LONGEST;
            if (from < at)
                while (length < most && plain[from + length] == plain[at + length])
                    length++;
        }
        int match = length >= SHORTEST;
        if (!match)
            at++;
        if (at - first == 127 || match || at == SIZE) {
            if (at > first) {
                packed[out++] = (uint8_t)(at - first);
                while (first < at)
                    packed[out++] = plain[first++];
            }
        }
        if (match) {
            uint32_t distance = at - from;
            packed[out++] = 128;
            packed[out++] = (uint8_t)(length - SHORTEST);
            packed[out++] = (uint8_t)distance;
            packed[out++] = (uint8_t)(distance >> 8);
            at += length;
            first = at;
        }
    }
    return out;
}

static uint32_t unpack(uint32_t size)
{
    uint32_t out = 0;
    for (uint32_t at = 0; at < size;) {
        uint32_t count = packed[at++];
        if (count < 128) {
            while (count-- > 0)
                unpacked[out++] = packed[at++];
        } else {
            uint32_t length = packed[at] + SHORTEST;
            uint32_t from = out - (packed[at + 1] | (uint32_t)packed[at + 2] << 8);
            at += 3;
            while (length-- > 0)
                unpacked[out++] = unpacked[from++];
        }
    }
    return out;
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 5), bytes = 0;
    uint32_t random = 555, sum = MIX_START, wrong = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        write_plain(&random);
        uint32_t size = pack();
        bytes += size;
        wrong += unpack(size) != SIZE || memcmp(plain, unpacked, SIZE) != 0;
        sum = mix(sum, packed[size / 2]);
    }
    print_result("packed", bytes);
    print_result("wrong", wrong);
    print_result("checksum", sum);
    return 0;
}
