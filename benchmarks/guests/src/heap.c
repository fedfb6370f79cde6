/* Shortest paths on a grid of 64 by 64 with a binary heap (Dijkstra), argv[1] times. */
#include "runtime.h"

enum { SIDE = 64, CELLS = SIDE * SIDE, MOST = 4 * CELLS };

struct entry {
    uint32_t distance, cell;
};

static uint8_t cost[CELLS];
static uint32_t best[CELLS];
static struct entry heap[MOST];
static uint32_t count;

static void push(uint32_t distance, uint32_t cell)
{
    uint32_t at = count++;
    while (at > 0 && heap[(at - 1) / 2].distance > distance) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at].distance = distance;
    heap[at].cell = cell;
}

static struct entry pop(void)
{
    struct entry top = heap[0], last = heap[--count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1].distance < heap[child].distance)
            child++;
        if (heap[child].distance >= last.distance)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static void reach(uint32_t distance, uint32_t cell)
{
    distance += cost[cell];
    if (distance < best[cell]) {
        best[cell] = distance;
        push(distance, cell);
    }
}

static uint32_t search(void)
{
    for (uint32_t i = 0; i < CELLS; i++)
        best[i] = UINT32_MAX;
    count = 0;
    best[0] = 0;
    push(0, 0);
    while (count > 0) {
        struct entry at = pop();
        if (at.distance > best[at.cell])
            continue;
        uint32_t x = at.cell % SIDE, y = at.cell / SIDE;
        if (x > 0)
            reach(at.distance, at.cell - 1);
        if (x + 1 < SIDE)
            reach(at.distance, at.cell + 1);
        if (y > 0)
            reach(at.distance, at.cell - SIDE);
        if (y + 1 < SIDE)
            reach(at.distance, at.cell + SIDE);
    }
    return best[CELLS - 1];
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 10);
    uint32_t random = 65537, sum = MIX_START;
    for (uint64_t i = 0; i < rounds; i++) {
        for (uint32_t j = 0; j < CELLS; j++)
            cost[j] = (uint8_t)(1 + (next_random(&random) >> 8 & 63));
        sum = mix(sum, search());
    }
    print_result("checksum", sum);
    return 0;
}
