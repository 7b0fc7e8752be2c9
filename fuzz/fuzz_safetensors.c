/* fuzz_safetensors - any bytes as a safetensors file: parsed or refused with a sentence; what is parsed lies inside and can be read. */
#include <stdint.h>
#include <stdlib.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sy_arena a = { 0 };
    sy_err err = { 0 };
    sy_st st;
    sy_status s = sy_st_parse(&st, data, size, "input", &a, &err);
    if (s != SY_OK && !*err.text) abort();
    for (int i = 0; s == SY_OK && i < st.n; i++) {
        const sy_st_tensor *t = &st.t[i];
        double v[2];
        if (t->data < data + 8 || t->bytes > (size_t)(data + size - t->data) || t->bytes != t->n * (size_t)sy_dtype_size(t->type)) abort();
        if (sy_st_find(&st, t->name) != t) abort();
        if (t->n) sy_st_read_f64(t, t->n - 1, 1, v, &err);
        if (sy_st_read_f64(t, t->n, 2, v, &err) == SY_OK) abort();
    }
    sy_arena_free(&a);
    return 0;
}
