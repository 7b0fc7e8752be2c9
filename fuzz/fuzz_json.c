/* fuzz_json - any bytes as JSON: parsed or refused; what is parsed is written by our writer and reads back equal. */
#include <stdint.h>
#include <stdlib.h>

#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write(sy_json *j, json_t *v)
{
    const char *key;
    size_t i;
    json_t *x;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        sy_json_begin(j, '{');
        json_object_foreach(v, key, x) sy_json_key(j, key), write(j, x);
        sy_json_end(j, '}');
        break;
    case JSON_ARRAY:
        sy_json_begin(j, '[');
        json_array_foreach(v, i, x) write(j, x);
        sy_json_end(j, ']');
        break;
    case JSON_STRING: sy_json_bytes(j, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: sy_json_int(j, json_integer_value(v)); break;
    case JSON_REAL: sy_json_real(j, json_real_value(v)); break;
    case JSON_TRUE: case JSON_FALSE: sy_json_bool(j, json_is_true(v)); break;
    case JSON_NULL: sy_json_null(j); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sy_err err = { 0 };
    json_t *v, *back;
    if (sy_json_parse(&v, (const char *)data, size, "input", &err) != SY_OK) {
        if (!*err.text) abort();
        return 0;
    }
    for (int indent = 0; indent <= 2; indent += 2) {
        sy_buf b = { 0 };
        sy_json j;
        sy_json_open(&j, &b, indent);
        write(&j, v);
        if (b.failed || sy_json_parse(&back, b.data, b.n, "written", &err) != SY_OK) abort();
        if (!json_equal(v, back)) abort();
        json_decref(back);
        sy_buf_free(&b);
    }
    json_decref(v);
    return 0;
}
