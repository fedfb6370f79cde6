/* Calls and returns: Takeuchi's function, the towers of Hanoi and a walk over a search tree,
 * argv[1] times each. None of the functions can become a loop, and none is inlined into itself.
 */
#include "runtime.h"

#define RECURSIVE __attribute__((noinline))

enum { DISKS = 9, KEYS = 512 };

RECURSIVE static int tak(int x, int y, int z)
{
    if (y >= x)
        return z;
    return tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}

static uint8_t peg_of[DISKS];
static uint32_t moves;

RECURSIVE static void move(int disk, uint8_t to)
{
    if (disk < 0)
        return;
    uint8_t from = peg_of[disk];
    move(disk - 1, (uint8_t)(3 - from - to));
    peg_of[disk] = to;
    moves++;
    move(disk - 1, to);
}

struct tree {
    struct tree *left, *right;
    uint32_t key, count;
};

static struct tree pool[KEYS];
static uint32_t used;

RECURSIVE static struct tree *insert(struct tree *tree, uint32_t key)
{
    if (tree == NULL) {
        tree = &pool[used++];
        tree->left = tree->right = NULL;
        tree->key = key;
        tree->count = 1;
        return tree;
    }
    if (key < tree->key)
        tree->left = insert(tree->left, key);
    else
        tree->right = insert(tree->right, key);
    tree->count++;
    return tree;
}

RECURSIVE static uint32_t walk(const struct tree *tree, uint32_t sum)
{
    if (tree == NULL)
        return sum;
    sum = walk(tree->left, sum);
    return walk(tree->right, mix(sum, tree->key ^ tree->count));
}

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 10);
    uint32_t random = 99, sum = MIX_START;
    for (uint64_t i = 0; i < rounds; i++) {
        sum = mix(sum, (uint32_t)tak(10 + (int)(i & 1), 6, (int)(i & 3)));
        move(DISKS - 1, (uint8_t)((peg_of[DISKS - 1] + 1) % 3));
        struct tree *tree = NULL;
        used = 0;
        for (int j = 0; j < KEYS; j++)
            tree = insert(tree, next_random(&random));
        sum = walk(tree, sum);
    }
    print_result("moves", moves);
    print_result("checksum", sum);
    return 0;
}
