/* The format: every type there and back, 2-byte floats against the compiler's own conversions, hostile headers, a disk that fails, memory
 * that runs out. Oracles: _Float16 and exact arithmetic in double; the bytes that were written; the sentence that must come. */
#include "testing.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/random.h"
#include "model/safetensors.h"

/* --- numbers ------------------------------------------------------------------------------------------------------------- */

static uint32_t bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static float    real(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static float    half(uint16_t h) { _Float16 x; memcpy(&x, &h, 2); return (float)x; }
static uint16_t half_of(float f) { _Float16 x = (_Float16)f; uint16_t h; memcpy(&h, &x, 2); return h; }

/* The bfloat16 nearest to f by distances in double: none of the engine's bit tricks. */
static uint16_t bf16_nearest(float f)
{
    uint16_t low = (uint16_t)(bits(f) >> 16), high = (uint16_t)(low + 1);      /* towards zero, away from it */
    if (isinf(f)) return low;
    double x = fabs((double)f), a = fabs((double)real((uint32_t)low << 16)), b = fabs((double)real((uint32_t)high << 16));
    if (isinf(b)) b = 0x1p128;
    if (x - a != b - x) return x - a < b - x ? low : high;
    return low & 1 ? high : low;
}

static void both_ways(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = sy_f16_to((uint16_t)h), b = sy_bf16_to((uint16_t)h);
        if (isnan(half((uint16_t)h))) {
            if (!isnan(f) || !isnan(sy_f16_to(sy_f16_of(f)))) fail_msg("f16 %04x is a NaN, reads as %g", h, (double)f);
        } else if (bits(f) != bits(half((uint16_t)h)) || sy_f16_of(f) != h) fail_msg("f16 %04x reads as %g, goes back as %04x", h, (double)f, sy_f16_of(f));
        if (bits(b) != h << 16) fail_msg("bf16 %04x reads as %g", h, (double)b);
        if (isnan(b) ? !isnan(sy_bf16_to(sy_bf16_of(b))) : sy_bf16_of(b) != h) fail_msg("bf16 %04x goes back as %04x", h, sy_bf16_of(b));
    }
}

static void round_one(float f)
{
    if (isnan(f)) {
        if (!isnan(sy_f16_to(sy_f16_of(f))) || !isnan(sy_bf16_to(sy_bf16_of(f)))) fail_msg("the NaN %08x is lost", bits(f));
        return;
    }
    if (sy_f16_of(f) != half_of(f)) fail_msg("%a rounds to f16 %04x, want %04x", (double)f, sy_f16_of(f), half_of(f));
    if (sy_bf16_of(f) != bf16_nearest(f)) fail_msg("%a rounds to bf16 %04x, want %04x", (double)f, sy_bf16_of(f), bf16_nearest(f));
}

/* Around every 2-byte value, at and around every midpoint, and anywhere. */
static void rounding(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float v[4] = { sy_f16_to((uint16_t)h), sy_bf16_to((uint16_t)h) };
        v[2] = (v[0] + sy_f16_to((uint16_t)(h + 1))) / 2;
        v[3] = real((h << 16) + 0x8000);
        for (int i = 0; i < 4; i++) {
            round_one(v[i]);
            round_one(nextafterf(v[i], INFINITY));
            round_one(nextafterf(v[i], -INFINITY));
        }
    }
    uint64_t x = sy_test_seed();
    for (int i = 0; i < 1000000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        round_one(real((uint32_t)(x >> 32)));
    }
    const uint32_t odd[] = { 0x7f800001, 0xff800001, 0x7f80ffff, 0x7fffffff, 0xffffffff, 0x7fbf0000 };      /* NaNs whose high bits are few, or all */
    for (size_t i = 0; i < SY_COUNT(odd); i++) round_one(real(odd[i]));
}

/* OCP 8-bit floats: known points, and order along the bits. */
static void eight_bits(void **state)
{
    static const struct { uint8_t b; float v; } at[] = { { 0x00, 0 }, { 0x01, 0x1p-9f }, { 0x07, 7 * 0x1p-9f }, { 0x08, 0x1p-6f }, { 0x38, 1 }, { 0x3c, 1.5f }, { 0x7e, 448 }, { 0xb8, -1 }, { 0xfe, -448 } };
    uint8_t all[256];
    float f[256];
    (void)state;
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    sy_st_tensor t = { .name = "x", .type = SY_DT_F8_E4M3, .nd = 1, .dim = { 256 }, .data = all, .bytes = 256, .n = 256 };
    sy_expect_ok(sy_st_read_f32(&t, 0, 256, f, err));
    for (size_t i = 0; i < SY_COUNT(at); i++) sy_expect_near("e4m3", (double)f[at[i].b], (double)at[i].v, 0, 0);
    assert_true(isnan(f[0x7f]) && isnan(f[0xff]) && signbit(f[0x80]));
    for (int i = 1; i < 0x7f; i++) assert_true(f[i] > f[i - 1] && f[i + 128] == -f[i]);
}

/* --- there and back ------------------------------------------------------------------------------------------------------ */

static char *in_dir(const char *name)
{
    static char path[2][512];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", sy_test_dir(), name);
    return path[turn];
}

static void open_file(const char *path, sy_map *map, sy_st *st, sy_arena *a)
{
    sy_expect_ok(sy_map_open(map, path, err));
    sy_expect_ok(sy_st_parse(st, map->data, map->size, path, a, err));
}

static void every_type(void **state)
{
    static const char *const meta[] = { "format", "pt", "a \"quoted\"\nkey", "\xc3\xa4 \x01", NULL };
    uint8_t data[16 * 24];
    char name[SY_DTYPES + 2][32];
    sy_st_out out[SY_DTYPES + 2];
    sy_map map, again;
    sy_st st;
    sy_arena a = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37 + 5);
    for (int t = 0; t < SY_DTYPES; t++) {
        snprintf(name[t], sizeof name[t], "%c.%s", 'z' - t, sy_dtype_name((sy_dtype)t));
        out[t] = (sy_st_out){ name[t], (sy_dtype)t, 2, { 2, 3 }, data + 8 * t };
    }
    out[SY_DTYPES] = (sy_st_out){ "empty", SY_DT_F32, 3, { 4, 0, 2 }, data };
    out[SY_DTYPES + 1] = (sy_st_out){ "scalar", SY_DT_F64, 0, { 0 }, data };
    sy_expect_ok(sy_st_write(in_dir("all.safetensors"), out, SY_DTYPES + 2, meta, err));
    open_file(in_dir("all.safetensors"), &map, &st, &a);
    assert_int_equal(st.n, SY_DTYPES + 2);
    assert_string_equal(sy_st_meta(&st, "format"), "pt");
    assert_string_equal(sy_st_meta(&st, meta[2]), meta[3]);
    assert_null(sy_st_meta(&st, "nothing"));
    assert_null(sy_st_find(&st, "nothing"));
    for (int i = 0; i < SY_DTYPES + 2; i++) {
        const sy_st_tensor *t = sy_st_find(&st, out[i].name);
        sy_test_case("%s", out[i].name);
        assert_non_null(t);
        assert_true(t->type == out[i].type && t->nd == out[i].nd && !memcmp(t->dim, out[i].dim, (size_t)t->nd * sizeof *t->dim));
        assert_int_equal((uintptr_t)t->data % (size_t)sy_dtype_size(t->type), 0);       /* header padded, widest first: aligned for all */
        sy_expect_same("data", t->data, out[i].data, t->bytes);
        float f[6];
        double d[6];
        bool number = t->type != SY_DT_F8_E5M2 && t->type != SY_DT_F8_E8M0 && t->type != SY_DT_I64 && t->type != SY_DT_U64;
        sy_err e = { 0 };
        if (!number) sy_expect_fail_(sy_st_read_f32(t, 0, t->n, f, &e), SY_EUNSUP, &e, "cannot be read as real numbers", "read");
        else if (t->n) {
            sy_expect_ok(sy_st_read_f32(t, 0, t->n, f, err));
            sy_expect_ok(sy_st_read_f64(t, 0, t->n, d, err));
            for (size_t k = 0; k < t->n; k++) if (!isnan(f[k])) sy_expect_near("value", (double)f[k], t->type == SY_DT_F64 ? (double)(float)d[k] : d[k], 0, 0x1p-23);
        }
        sy_expect_fail_(sy_st_read_f64(t, 1, t->n, d, &e), SY_ESHAPE, &e, "were asked for", "read past the end");
        sy_expect_fail_(sy_st_read_f64(t, SIZE_MAX, 2, d, &e), SY_ESHAPE, &e, "were asked for", "read from far away");
    }
    for (int i = 0; i < SY_DTYPES / 2; i++) { sy_st_out x = out[i]; out[i] = out[SY_DTYPES - i]; out[SY_DTYPES - i] = x; }
    sy_expect_ok(sy_st_write(in_dir("again.safetensors"), out, SY_DTYPES + 2, meta, err));         /* order of the list: the same bytes */
    sy_expect_ok(sy_map_open(&again, in_dir("again.safetensors"), err));
    assert_int_equal(map.size, again.size);
    sy_expect_same("file", again.data, map.data, map.size);
    sy_map_close(&map);
    sy_map_close(&again);
    sy_arena_free(&a);
}

/* --- hostile files ------------------------------------------------------------------------------------------------------- */

/* A file on the heap at exactly its size, so that the address sanitizer sees any read beyond it. */
static uint8_t *file_of(uint64_t claimed, const char *head, size_t n, size_t data, size_t *size)
{
    *size = 8 + n + data;
    uint8_t *f = malloc(*size);
    assert_non_null(f);
    memcpy(f, &claimed, 8);
    memcpy(f + 8, head, n);
    memset(f + 8 + n, 7, data);
    return f;
}

/* What a parsed file must satisfy whatever stands in it. */
static void check_inside(const sy_st *st, const uint8_t *file, size_t size)
{
    for (int i = 0; i < st->n; i++) {
        const sy_st_tensor *t = &st->t[i];
        size_t n = 1;
        for (int d = 0; d < t->nd; d++) n *= (size_t)t->dim[d];
        assert_true(t->n == n && t->bytes == n * (size_t)sy_dtype_size(t->type));
        assert_true(t->data >= file + 8 && t->bytes <= (size_t)(file + size - t->data));
        if (i) assert_true(strcmp(st->t[i - 1].name, t->name) < 0);
    }
}

static sy_status parse(const uint8_t *f, size_t size, sy_err *err)
{
    sy_arena a = { 0 };
    sy_st st;
    sy_status s = sy_st_parse(&st, f, size, "x.safetensors", &a, err);
    if (s == SY_OK) check_inside(&st, f, size);
    else assert_true(*err->text && !strchr(err->text, '\n'));
    sy_arena_free(&a);
    return s;
}

#define T(name, type, shape, b, e) "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #b "," #e "]}"

static void headers(void **state)
{
    static const struct { const char *head; size_t data; sy_status want; const char *part, *what; } cases[] = {
        { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "U8", "[3]", 8, 11) "}", 11, SY_OK, NULL, "plain" },
        { "{}", 0, SY_OK, NULL, "no tensors" },
        { "{\"__metadata__\":{},\"a\":{\"data_offsets\":[0,0],\"shape\":[0],\"dtype\":\"F32\"}}", 0, SY_OK, NULL, "an empty tensor" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[0]", 8, 8) "," T("c", "F32", "[0,7]", 0, 0) "}", 8, SY_OK, NULL, "empty ones at both ends" },
        { "[]", 0, SY_EFORMAT, "not a JSON object", "an array" },
        { "3", 0, SY_EFORMAT, "not a JSON object", "a number" },
        { "", 0, SY_EFORMAT, NULL, "no header" },
        { "{}x", 0, SY_EFORMAT, NULL, "text behind it" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("a", "F32", "[2]", 0, 8) "}", 8, SY_EFORMAT, "duplicate", "a name twice" },
        { "{" T("a", "F32", "[2]", 8, 0) "}", 8, SY_EFORMAT, "outside", "begin after end" },
        { "{" T("a", "F32", "[2]", -8, 0) "}", 8, SY_EFORMAT, "outside", "negative begin" },
        { "{" T("a", "F32", "[2]", 0, 8.0) "}", 8, SY_EFORMAT, "outside", "a real offset" },
        { "{" T("a", "F32", "[2]", 0, 9223372036854775807) "}", 8, SY_EFORMAT, "outside", "end far away" },
        { "{" T("a", "F32", "[2]", 0, 18446744073709551616) "}", 8, SY_EFORMAT, NULL, "end beyond 64 bits" },
        { "{" T("a", "F32", "[2]", 0, 1e400) "}", 8, SY_EFORMAT, NULL, "end beyond reals" },
        { "{" T("a", "F32", "[3]", 0, 8) "}", 8, SY_EFORMAT, "its shape needs 12", "shape unlike range" },
        { "{" T("a", "F32", "[-2]", 0, 8) "}", 8, SY_EFORMAT, "dimension 0", "negative dimension" },
        { "{" T("a", "F32", "[\"2\"]", 0, 8) "}", 8, SY_EFORMAT, "dimension 0", "a text as dimension" },
        { "{" T("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, SY_EFORMAT, "its shape", "a product that wraps to 0" },
        { "{" T("a", "F32", "[9223372036854775807,9223372036854775807,0]", 0, 0) "}", 0, SY_EFORMAT, "its shape", "a product that wraps, times 0" },
        { "{" T("a", "F32", "[0,9223372036854775807,9223372036854775807]", 0, 0) "}", 0, SY_EFORMAT, "its shape", "0 times a product that wraps" },
        { "{" T("a", "U8", "[4611686018427387904,2,2]", 0, 8) "}", 8, SY_EFORMAT, "its shape", "a product that wraps past its sign" },
        { "{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, SY_EUNSUP, "9 dimensions", "nine dimensions" },
        { "{" T("a", "F33", "[2]", 0, 8) "}", 8, SY_EUNSUP, "F33", "an unknown type" },
        { "{\"a\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, SY_EFORMAT, "no dtype", "a number as type" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,8]}}", 8, SY_EFORMAT, "no dtype, shape", "an object as shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4,8]}}", 8, SY_EFORMAT, "data_offsets", "three offsets" },
        { "{\"a\":7}", 8, SY_EFORMAT, "no dtype", "no object" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", 12, SY_EFORMAT, "hole or overlaps", "overlap" },
        { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 0, 8) "}", 8, SY_EFORMAT, "hole or overlaps", "the same bytes twice" },
        { "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 8, 12) "}", 12, SY_EFORMAT, "hole or overlaps", "a hole" },
        { "{" T("a", "F32", "[1]", 4, 8) "}", 8, SY_EFORMAT, "hole or overlaps", "a hole at the start" },
        { "{" T("a", "F32", "[1]", 0, 4) "}", 8, SY_EFORMAT, "belong to no tensor", "bytes left over" },
        { "{" T("a", "F32", "[3]", 0, 12) "}", 8, SY_EFORMAT, "outside", "data cut" },
        { "{\"__metadata__\":[]}", 0, SY_EFORMAT, "__metadata__", "metadata that is no object" },
        { "{\"__metadata__\":{\"a\":1}}", 0, SY_EFORMAT, "not a text", "metadata with a number" },
        { "{" T("\xff\xfe", "F32", "[2]", 0, 8) "}", 8, SY_EFORMAT, NULL, "a name that is not UTF-8" },
        { "{" T("a\\u0000b", "F32", "[2]", 0, 8) "}", 8, SY_EFORMAT, NULL, "a NUL in a name" },
    };
    (void)state;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        size_t size, n = strlen(cases[i].head);
        sy_err err = { 0 };
        uint8_t *f = file_of(n, cases[i].head, n, cases[i].data, &size);
        sy_test_case("%s", cases[i].what);
        sy_status st = parse(f, size, &err);
        if (cases[i].want != SY_OK) sy_expect_fail_(st, cases[i].want, &err, cases[i].part, "sy_st_parse");
        else if (st != SY_OK) fail_msg("case '%s': %s", cases[i].what, err.text);
        free(f);
    }
}

/* Header lengths that lie, the file cut at every byte, and every bit of it turned. */
static void damaged(void **state)
{
    static const char head[] = "{\"__metadata__\":{\"k\":\"v\"}," T("a", "F32", "[2,1]", 0, 8) "," T("b", "U8", "[3]", 8, 11) "}";
    static const uint64_t claims[] = { 0, 1, 1ull << 63, UINT64_MAX, UINT64_MAX - 7, 100000001, sizeof head + 11, sizeof head + 10 };
    size_t n = sizeof head - 1, size;
    sy_err err = { 0 };
    (void)state;
    uint8_t *f = file_of(n, head, n, 11, &size);
    assert_int_equal(parse(f, size, &err), SY_OK);
    for (size_t i = 0; i < SY_COUNT(claims); i++) {
        sy_test_case("header of %llu bytes", (unsigned long long)claims[i]);
        memcpy(f, &claims[i], 8);
        sy_expect_fail_(parse(f, size, &err), SY_EFORMAT, &err, "x.safetensors", "sy_st_parse");
    }
    memcpy(f, &(uint64_t){ n }, 8);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *g = malloc(cut ? cut : 1);
        memcpy(g, f, cut);
        sy_test_case("cut to %zu bytes", cut);
        sy_expect_fail_(parse(g, cut, &err), SY_EFORMAT, &err, "x.safetensors", "sy_st_parse");
        free(g);
    }
    for (size_t bit = 0; bit < 8 * (8 + n); bit++) {
        sy_test_case("bit %zu turned", bit);
        f[bit / 8] ^= (uint8_t)(1 << bit % 8);
        parse(f, size, &err);                        /* some are harmless (a letter of a name); none may crash or point outside */
        f[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(f);
}

static void large(void **state)
{
    enum { N = 100000 };
    sy_buf b = { 0 };
    sy_err err = { 0 };
    size_t size;
    (void)state;
    sy_test_case("100000 tensors");
    for (int i = 0; i < N; i++) sy_buf_printf(&b, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "{", i * 7919 % N, i, i + 1);
    sy_buf_text(&b, "}");
    uint8_t *f = file_of(b.n, b.data, b.n, N, &size);
    if (parse(f, size, &err) != SY_OK) fail_msg("%s", err.text);
    free(f);
    sy_buf_clear(&b);
    sy_test_case("brackets 100000 deep");
    sy_buf_text(&b, "{\"a\":");
    for (int i = 0; i < N; i++) sy_buf_text(&b, "[");
    f = file_of(b.n, b.data, b.n, 0, &size);
    sy_expect_fail_(parse(f, size, &err), SY_EFORMAT, &err, "nested deeper", "sy_st_parse");
    free(f);
    sy_buf_free(&b);
}

/* --- a disk that fails --------------------------------------------------------------------------------------------------- */

static const sy_syscalls *disk;                      /* the real one */
static int fail_in, fail_errno, most;                /* calls until one fails; bytes that one write takes */
static bool fell;                                    /* it has failed, and stays so: a full disk does */

static bool down(void)
{
    if (!fell && (fail_in == 0 || --fail_in > 0)) return false;
    errno = fail_errno;
    return fell = true;
}
static ssize_t poor_write(int fd, const void *p, size_t n) { return down() ? -1 : disk->write(fd, p, n > (size_t)most ? (size_t)most : n); }
static int poor_open(const char *path, int flags, mode_t mode) { return down() ? -1 : disk->open(path, flags, mode); }
static int poor_fsync(int fd) { return down() ? -1 : disk->fsync(fd); }
static int poor_close(int fd)
{
    struct stat s;
    bool bad = fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && down();       /* the descriptor of a folder loses nothing */
    int e = errno, r = disk->close(fd);
    errno = e;
    return bad ? -1 : r;
}
static int poor_rename(const char *a, const char *b) { return down() ? -1 : disk->rename(a, b); }

static void failing_disk(void **state)
{
    static const int errors[] = { ENOSPC, EIO, EDQUOT, EROFS };
    float old[64] = { 1 }, new[64] = { 2 };
    sy_st_out t = { "t", SY_DT_F32, 1, { 64 }, old };
    char path[512], dir[512];
    sy_syscalls poor = *(disk = sy_file_calls);
    (void)state;
    poor.open = poor_open, poor.write = poor_write, poor.fsync = poor_fsync, poor.close = poor_close, poor.rename = poor_rename;
    snprintf(dir, sizeof dir, "%s", in_dir("disk"));
    snprintf(path, sizeof path, "%s", in_dir("disk/t.safetensors"));
    sy_expect_ok(sy_mkdirs(dir, err));
    for (size_t i = 0; i < SY_COUNT(errors); i++) {
        for (int n = 1, done = 0; !done; n++) {
            sy_err err = { 0 };
            t.data = old;
            sy_expect_ok(sy_st_write(path, &t, 1, NULL, err));
            t.data = new;
            sy_test_case("%s at call %d", strerror(errors[i]), n);
            fell = false, fail_in = n, fail_errno = errors[i], most = 100;
            sy_file_calls = &poor;
            sy_status st = sy_st_write(path, &t, 1, NULL, &err);
            sy_file_calls = disk;
            done = !fell;
            if (done && st != SY_OK) fail_msg("no call failed: %s", err.text);
            if (!done && st == SY_OK) fail_msg("call %d failed and nobody noticed", n);
            if (!done) sy_expect_fail_(st, SY_EIO, &err, errors[i] == ENOSPC || errors[i] == EDQUOT ? "free some space" : strerror(errors[i]), "sy_st_write");
            sy_map map;
            sy_st s;
            sy_arena a = { 0 };
            open_file(path, &map, &s, &a);           /* the old file or the new one, whole */
            float first;
            memcpy(&first, s.t[0].data, 4);
            assert_true(first == (float)2 || (!done && first == (float)1));
            sy_map_close(&map);
            const char **names;
            int files;
            sy_expect_ok(sy_dir_list(dir, &a, &names, &files, err));
            assert_int_equal(files, 1);              /* no temporary file stays */
            sy_arena_free(&a);
            assert_true(n < 100);
        }
    }
}

/* What is no regular file is refused, quickly; a sparse terabyte is no trouble. */
static void strange_files(void **state)
{
    sy_map map;
    sy_err e = { 0 }, *err = &e;
    (void)state;
    sy_expect_fail(sy_map_open(&map, "/dev/zero", err), SY_EARG, "not a file");
    char *fifo = in_dir("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    sy_expect_fail(sy_map_open(&map, fifo, err), SY_EARG, "a pipe");
    sy_expect_fail(sy_map_open(&map, sy_test_dir(), err), SY_EARG, "a folder");
    char *loop = in_dir("loop");
    assert_int_equal(symlink(loop, loop), 0);
    sy_expect_fail(sy_map_open(&map, loop, err), SY_EIO, "loop");
    FILE *f = fopen(in_dir("sparse"), "w");
    assert_non_null(f);
    if (ftruncate(fileno(f), (off_t)1 << 40) == 0) {
        sy_expect_ok(sy_map_open(&map, in_dir("sparse"), err));
        sy_expect_fail(parse(map.data, map.size, err), SY_EFORMAT, "x.safetensors");
        sy_map_close(&map);
    } else print_message("skipped: this file system has no sparse file of 1 TB\n");
    fclose(f);
}

/* --- memory that runs out -------------------------------------------------------------------------------------------------- */

static void out_of_memory(void **state)
{
    static const char *const meta[] = { "k", "v", NULL };
    static const char head[] = "{\"__metadata__\":{\"k\":\"v\"}," T("a", "F32", "[2,1]", 0, 8) "," T("b", "U8", "[3]", 8, 11) "}";
    float data[4] = { 0 };
    sy_st_out t[] = { { "t", SY_DT_F32, 1, { 4 }, data }, { "u", SY_DT_F32, 1, { 4 }, data } };
    size_t size;
    uint8_t *f = file_of(sizeof head - 1, head, sizeof head - 1, 11, &size);
    char *path = in_dir("memory.safetensors");
    (void)state;
    for (int way = 0; way < 2; way++) {
        sy_status st = SY_ENOMEM;
        for (uint64_t n = 1; st != SY_OK; n++) {
            sy_err err = { 0 };
            sy_test_case("%s, allocation %llu", way ? "write" : "parse", (unsigned long long)n);
            sy_alloc_fail_at(n, 0);
            st = way ? sy_st_write(path, t, 2, meta, &err) : parse(f, size, &err);
            sy_alloc_fail_at(0, 0);
            if (st != SY_OK) sy_expect_fail_(st, SY_ENOMEM, &err, "memory", way ? "sy_st_write" : "sy_st_parse");
            assert_true(n < 1000);
        }
    }
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(both_ways), cmocka_unit_test(rounding), cmocka_unit_test(eight_bits), cmocka_unit_test(every_type), cmocka_unit_test(headers),
                                        cmocka_unit_test(damaged), cmocka_unit_test(large), cmocka_unit_test(failing_disk), cmocka_unit_test(strange_files), cmocka_unit_test(out_of_memory) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
