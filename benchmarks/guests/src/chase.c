/* Memory latency: a random cycle through 8 MiB is followed, and counters at random places in
 * 4 MiB are raised, argv[1] thousand steps.
 */
#include "runtime.h"

enum { NODES = 1 << 20, COUNTERS = 1 << 19 };

static struct { uint32_t next, value; } nodes[NODES];
static uint64_t counters[COUNTERS];

int main(int argc, char **argv)
{
    uint64_t steps = size_argument(argc, argv, 100) * 1000;
    uint32_t random = 2463534242u, at = 0, sum = MIX_START;
    for (uint32_t i = 0; i < NODES; i++) {
        nodes[i].next = i;
        nodes[i].value = next_random(&random);
    }
    for (uint32_t i = NODES - 1; i > 0; i--) {   /* Sattolo: one cycle through all */
        uint32_t j = (uint32_t)((uint64_t)next_random(&random) * i >> 32);
        uint32_t kept = nodes[i].next;
        nodes[i].next = nodes[j].next;
        nodes[j].next = kept;
    }
    for (uint64_t i = 0; i < steps; i++) {
        sum = mix(sum, nodes[at].value);
        counters[sum >> 13] += i;
        at = nodes[at].next;
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < COUNTERS; i++)
        total = total * 31 + counters[i];
    print_result("total", total);
    print_result("checksum", sum);
    return 0;
}
