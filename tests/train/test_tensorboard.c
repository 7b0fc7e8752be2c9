/* tests/train/test_tensorboard.c - event files, taken apart by hand: frames, checksums (bit by bit, from the polynomial), protobuf fields. That TensorBoard's own
 * reader finds the same is checked by tests/ref/check_events.py. */
#include "testing.h"

#include <math.h>
#include <time.h>

#include "bed.h"
#include "train/tensorboard.h"

static uint32_t masked_crc(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t v = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return v;
    }
    fail_msg("a varint has no end");
    return 0;
}

typedef struct scalar { int64_t step; double wall; char tag[200]; float value; } scalar;

/* Every field that is known must be there; one that is not is a failure. depth 0: Event, 1: Summary, 2: Value. */
static void fields(const uint8_t *p, const uint8_t *end, int depth, scalar *out, unsigned *found)
{
    while (p < end) {
        uint64_t key = varint(&p, end), n;
        if (depth == 0 && key == (1 << 3 | 1)) memcpy(&out->wall, p, 8), p += 8, *found |= 1;
        else if (depth == 0 && key == (2 << 3 | 0)) out->step = (int64_t)varint(&p, end), *found |= 2;
        else if ((depth == 0 && key == (5 << 3 | 2)) || (depth == 1 && key == (1 << 3 | 2))) {
            n = varint(&p, end);
            assert_true(n <= (uint64_t)(end - p));
            fields(p, p + n, depth + 1, out, found);
            p += n;
        } else if (depth == 2 && key == (1 << 3 | 2)) {
            n = varint(&p, end);
            assert_true(n < sizeof out->tag && n <= (uint64_t)(end - p));
            memcpy(out->tag, p, n), out->tag[n] = 0, p += n, *found |= 4;
        } else if (depth == 2 && key == (2 << 3 | 5)) memcpy(&out->value, p, 4), p += 4, *found |= 8;
        else fail_msg("field %llu at depth %d", (unsigned long long)key, depth);
        assert_true(p <= end);
    }
}

static size_t record(const uint8_t *p, size_t n, scalar *out)
{
    uint64_t size;
    uint32_t crc;
    unsigned found = 0;
    assert_true(n >= 16);
    memcpy(&size, p, 8), memcpy(&crc, p + 8, 4);
    assert_int_equal(crc, masked_crc(p, 8));
    assert_true(size <= n - 16);
    memcpy(&crc, p + 12 + size, 4);
    assert_int_equal(crc, masked_crc(p + 12, (size_t)size));
    fields(p + 12, p + 12 + size, 0, out, &found);
    assert_int_equal(found, 15);
    return 16 + (size_t)size;
}

static void test_scalars(void **state)
{
    (void)state;
    char longest[130];
    memset(longest, 'n', sizeof longest), longest[120] = 0;
    static const struct { int64_t step; double value; } cases[] = { { 0, 0 }, { 1, -1.5 }, { 127, 3e38 }, { 128, 1e-40 }, { 16384, NAN }, { INT64_C(1) << 40, INFINITY }, { INT64_MAX, 1 } };
    const char *tags[] = { "a", "train/loss", "eval/\xc3\xa4 domain", longest };
    assert_int_equal(masked_crc((const uint8_t *)"123456789", 9), (uint32_t)((0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u));    /* the check value of CRC-32C */
    for (size_t i = 0; i < SY_COUNT(cases); i++)
        for (size_t t = 0; t < SY_COUNT(tags); t++) {
            sy_buf b = { 0 };
            scalar s = { 0 };
            float want = (float)cases[i].value;
            sy_test_case("step %lld, tag %s", (long long)cases[i].step, tags[t]);
            sy_tb_scalar(&b, cases[i].step, tags[t], cases[i].value);
            assert_int_equal(record((const uint8_t *)b.data, b.n, &s), b.n);
            assert_true(s.step == cases[i].step);
            assert_string_equal(s.tag, tags[t]);
            sy_expect_same("value", &s.value, &want, 4);
            assert_true(fabs(s.wall - (double)time(NULL)) < 60);
            sy_buf_free(&b);
        }
}

/* The event file of a run holds what its metrics say. */
static void test_run(void **state)
{
    (void)state;
    bed b;
    const char *out = bed_path("run");
    bed_open(&b, 2, "");
    sy_expect_ok(bed_train(&b, out, false, err));
    sy_buf e = bed_read(out, "events.out.tfevents.switchyard"), m = bed_read(out, "metrics.jsonl");
    int losses = 0, evals = 0, aux = 0;
    char *line = m.data;
    for (size_t at = 0; at < e.n; ) {
        scalar s = { 0 };
        at += record((const uint8_t *)e.data + at, e.n - at, &s);
        if (!strcmp(s.tag, "train/loss")) {
            char *loss = strstr(line, "\"loss\":"), *step = strstr(line, "\"step\":");
            assert_non_null(loss);
            assert_true(s.value == (float)strtod(loss + 7, NULL) && s.step == strtoll(step + 7, NULL, 10));
            line = strchr(line, '\n') + 1;
            losses++;
        }
        evals += !strcmp(s.tag, "eval/all");
        aux += !strncmp(s.tag, "aux/", 4);
    }
    assert_int_equal(*line, 0);
    assert_true(losses >= 6 && evals == 3 && aux == losses);       /* 12 steps, evaluated at 5, 10 and 12 */
    sy_buf_free(&e);
    sy_buf_free(&m);
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scalars), cmocka_unit_test(test_run) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
