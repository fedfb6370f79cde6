/* The Mandelbrot set in fixed point, argv[1] columns wide and half as many rows high.
 *
 * The picture is printed up to 160 columns, the sum of all iterations always.
 */
#include "runtime.h"

enum { BITS = 24, LIMIT = 192, WIDEST_PICTURE = 160, WIDEST = 65535 };

#define ONE (INT64_C(1) << BITS)

/* Iterations until the point escapes, at most LIMIT. */
static int escape_time(int64_t cx, int64_t cy)
{
    int64_t x = 0, y = 0;
    for (int i = 0; i < LIMIT; i++) {
        int64_t xx = (x * x) >> BITS, yy = (y * y) >> BITS;
        if (xx + yy > 4 * ONE)
            return i;
        y = ((x * y) >> (BITS - 1)) + cy;
        x = xx - yy + cx;
    }
    return LIMIT;
}

static char shade(int iterations)
{
    static const char shades[] = ".,:;-=+*o%O8&#@";
    int index = 0;
    if (iterations == LIMIT)
        return ' ';
    while (iterations > 1 && index < (int)sizeof shades - 2) {
        iterations = iterations * 2 / 3;
        index++;
    }
    return shades[index];
}

int main(int argc, char **argv)
{
    uint64_t size = size_argument(argc, argv, 96);
    int64_t width = size < WIDEST ? (int64_t)size : WIDEST;
    int64_t height = (width + 1) / 2;
    uint64_t total = 0;
    for (int64_t row = 0; row < height; row++) {
        int64_t cy = (2 * row + 1) * 5 * ONE / (4 * height) - 5 * ONE / 4;
        for (int64_t column = 0; column < width; column++) {
            int64_t cx = (2 * column + 1) * 3 * ONE / (2 * width) - 9 * ONE / 4;
            int iterations = escape_time(cx, cy);
            total += (uint64_t)iterations;
            if (width <= WIDEST_PICTURE)
                print_char(shade(iterations));
        }
        if (width <= WIDEST_PICTURE)
            print_char('\n');
    }
    print_result("iterations", total);
    return 0;
}
