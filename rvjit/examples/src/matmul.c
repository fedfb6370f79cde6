/* Product of two integer matrices: one of argv[1] rows and 48 columns with one of 48 by 48.
 *
 * Rows are generated, multiplied and summed in blocks, so any number of them fits.
 */
#include "runtime.h"

enum { N = 48 };

static int32_t left[N][N];
static int32_t right[N][N];
static int64_t product[N][N];

static void fill(int32_t matrix[N][N], int rows, uint32_t *random)
{
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < N; j++)
            matrix[i][j] = (int32_t)(next_random(random) & 0xffff) - 0x8000;
    }
}

static void multiply(int rows)
{
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < N; j++) {
            int64_t sum = 0;
            for (int k = 0; k < N; k++)
                sum += (int64_t)left[i][k] * right[k][j];
            product[i][j] = sum;
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t rows = size_argument(argc, argv, 240);
    uint32_t random = 20011;
    uint32_t sum = MIX_START;
    fill(right, N, &random);
    for (uint64_t done = 0; done < rows; done += N) {
        int count = rows - done < N ? (int)(rows - done) : N;
        fill(left, count, &random);
        multiply(count);
        for (int i = 0; i < count; i++) {
            for (int j = 0; j < N; j++)
                sum = mix(sum, (uint32_t)product[i][j] ^ (uint32_t)((uint64_t)product[i][j] >> 32));
        }
    }
    print_result("rows", rows);
    print_result("checksum", sum);
    return 0;
}
