/* fuzz_imatrix - any bytes as an importance matrix: read or refused with a sentence; what is read is finite, not negative, and has its size. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sy_imatrix m;
    sy_err err = { 0 };
    if (sy_imatrix_parse(&m, data, size, "input", &err) != SY_OK) {
        if (!*err.text) abort();
        return 0;
    }
    for (int i = 0; i < m.n; i++) {
        const sy_importance *e = &m.e[i];
        size_t n = (size_t)(e->rows ? e->rows : 1) * (size_t)e->cols;
        const float *row;
        for (size_t k = 0; k < n; k++) if (!isfinite(e->value[k]) || e->value[k] < 0) abort();
        if (sy_imatrix_row(&m, e->name, 0, e->rows ? e->rows : 1, e->cols, &row, &err) != SY_OK || row != e->value) abort();
    }
    sy_imatrix_close(&m);
    return 0;
}
