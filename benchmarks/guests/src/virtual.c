/* Calls through tables of functions, as compiled from methods: a scene of 256 objects of eight
 * kinds in an order that does not repeat, each asked three things, argv[1] times.
 */
#include "runtime.h"

enum { OBJECTS = 256 };

struct object;

struct methods {
    uint64_t (*area)(const struct object *);
    void (*grow)(struct object *, uint32_t);
    int (*contains)(const struct object *, uint32_t, uint32_t);
};

struct object {
    const struct methods *methods;
    uint32_t a, b, c;
};

static void grow_a(struct object *o, uint32_t by) { o->a = (o->a + by) & 1023; }
static void grow_both(struct object *o, uint32_t by) { o->a = (o->a + by) & 511; o->b ^= by & 63; }
static void turn(struct object *o, uint32_t by) { uint32_t a = o->a; o->a = o->b; o->b = a + (by & 1); }

static uint64_t area_square(const struct object *o) { return (uint64_t)o->a * o->a; }
static uint64_t area_box(const struct object *o) { return (uint64_t)o->a * o->b; }
static uint64_t area_triangle(const struct object *o) { return (uint64_t)o->a * o->b / 2; }
static uint64_t area_frame(const struct object *o) { return (uint64_t)o->a * o->b - (uint64_t)o->c * o->c; }
static uint64_t area_disc(const struct object *o) { return (uint64_t)o->a * o->a * 355 / 113; }
static uint64_t area_ring(const struct object *o) { return ((uint64_t)o->a * o->a - (uint64_t)o->c) * 355 / 113; }
static uint64_t area_line(const struct object *o) { return o->c; }
static uint64_t area_point(const struct object *o) { (void)o; return 1; }

static int in_box(const struct object *o, uint32_t x, uint32_t y) { return x < o->a && y < o->b; }
static int in_square(const struct object *o, uint32_t x, uint32_t y) { return x < o->a && y < o->a; }
static int in_triangle(const struct object *o, uint32_t x, uint32_t y) { return x + y < o->a + o->b; }
static int in_disc(const struct object *o, uint32_t x, uint32_t y) { return x * x + y * y < o->a * o->a; }
static int on_line(const struct object *o, uint32_t x, uint32_t y) { return x * o->b == y * o->a; }
static int on_point(const struct object *o, uint32_t x, uint32_t y) { return x == o->a && y == o->b; }

static const struct methods kinds[8] = {
    {area_square, grow_a, in_square}, {area_box, grow_both, in_box},
    {area_triangle, grow_both, in_triangle}, {area_frame, turn, in_box},
    {area_disc, grow_a, in_disc}, {area_ring, grow_a, in_disc},
    {area_line, turn, on_line}, {area_point, grow_both, on_point},
};

static struct object objects[OBJECTS];

int main(int argc, char **argv)
{
    uint64_t rounds = size_argument(argc, argv, 200);
    uint32_t random = 31337, sum = MIX_START, hits = 0;
    for (int i = 0; i < OBJECTS; i++) {
        uint32_t r = next_random(&random);
        objects[i] = (struct object){&kinds[r >> 7 & 7], r >> 10 & 255, r >> 18 & 255, r >> 26};
    }
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t area = 0;
        for (int j = 0; j < OBJECTS; j++) {
            struct object *o = &objects[j];
            o->methods->grow(o, (uint32_t)i + (uint32_t)j);
            area += o->methods->area(o);
            hits += (uint32_t)o->methods->contains(o, (uint32_t)j, (uint32_t)area & 127);
        }
        sum = mix(sum, (uint32_t)area ^ (uint32_t)(area >> 32));
    }
    print_result("hits", hits);
    print_result("checksum", sum);
    return 0;
}
