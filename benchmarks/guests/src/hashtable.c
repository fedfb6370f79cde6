/* A hash table with open addressing: inserts, look-ups and removals of 64-bit keys, argv[1]
 * thousand operations on a table of 32768 slots that is about half full.
 */
#include "runtime.h"

enum { SLOTS = 32768, RANGE = 24576 };

static uint64_t keys[SLOTS];      /* 0 is free */
static uint64_t values[SLOTS];
static uint32_t used;

static uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint32_t home(uint64_t key)
{
    return (uint32_t)scramble(key) & (SLOTS - 1);
}

/* The slot of the key, or the free one where it belongs. */
static uint32_t find(uint64_t key)
{
    uint32_t slot = home(key);
    while (keys[slot] != 0 && keys[slot] != key)
        slot = (slot + 1) & (SLOTS - 1);
    return slot;
}

/* Free a slot and close the gap, so that every key can be found from its home. */
static void clear(uint32_t slot)
{
    uint32_t next = slot;
    used--;
    for (;;) {
        next = (next + 1) & (SLOTS - 1);
        if (keys[next] == 0)
            break;
        uint32_t from = home(keys[next]);
        if (((next - from) & (SLOTS - 1)) >= ((next - slot) & (SLOTS - 1))) {
            keys[slot] = keys[next];
            values[slot] = values[next];
            slot = next;
        }
    }
    keys[slot] = 0;
}

int main(int argc, char **argv)
{
    uint64_t operations = size_argument(argc, argv, 100) * 1000, total = 0;
    uint32_t random = 123454321, hits = 0;
    for (uint64_t i = 0; i < operations; i++) {
        uint32_t r = next_random(&random);
        uint64_t key = (r >> 4) % RANGE + 1;
        uint32_t slot = find(key);
        if (keys[slot] == key) {
            hits++;
            total += values[slot]++;
            if ((r & 3) == 0)
                clear(slot);
        } else if ((r & 3) != 1) {
            keys[slot] = key;
            values[slot] = i;
            used++;
        }
    }
    print_result("used", used);
    print_result("hits", hits);
    print_result("total", total);
    return 0;
}
