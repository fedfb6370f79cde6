// Floating point without floating-point registers: functions, printing, parsing.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    double sum = 0;
    for (int i = 1; i < 20000; i++) {
        char line[100];
        sum += sin(i) * sqrt(i) / exp(1.0 / i) + pow(i, 0.3);
        snprintf(line, sizeof line, "%.6g", sum);
        sum += strtod(line, NULL) * 1e-6;
    }
    printf("%f\n", sum);
}
