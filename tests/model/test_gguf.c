/* The format: what is written is read back, metadata in its order; hostile files are refused with a sentence that names the file and the field;
 * cut at each of the first 4096 bytes and at every border of a tensor; odd paths, a file of a terabyte, a disk that fails, memory that runs
 * out. Oracles: what was put in; the sentence that must come; real vocabulary files where they are at hand. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "model/gguf.h"

/* --- files made by hand ----------------------------------------------------------------------------------------------------- */

static void u32(sy_buf *b, uint32_t v) { sy_buf_put(b, &v, 4); }
static void u64(sy_buf *b, uint64_t v) { sy_buf_put(b, &v, 8); }
static void text(sy_buf *b, const char *s) { u64(b, strlen(s)); sy_buf_text(b, s); }
static void head(sy_buf *b, uint32_t version, uint64_t tensors, uint64_t keys) { sy_buf_text(b, "GGUF"), u32(b, version), u64(b, tensors), u64(b, keys); }
static void key_u32(sy_buf *b, const char *k, uint32_t v) { text(b, k), u32(b, SY_GGUF_U32), u32(b, v); }
static void info(sy_buf *b, const char *name, int nd, const int64_t *ne, uint32_t type, uint64_t offset)
{
    text(b, name), u32(b, (uint32_t)nd);
    for (int d = 0; d < nd; d++) u64(b, (uint64_t)ne[d]);
    u32(b, type), u64(b, offset);
}
static void pad(sy_buf *b, size_t to) { while (b->n % to) sy_buf_put(b, "", 1); }
static void zeros(sy_buf *b, size_t n) { while (n--) sy_buf_put(b, "", 1); }

static void check_inside(const sy_gguf *g, const uint8_t *data, size_t size)
{
    for (int i = 0; i < g->n; i++) assert_true(g->t[i].data >= data && g->t[i].bytes <= (size_t)(data + size - g->t[i].data));
    for (int i = 0; i < g->keys; i++) assert_true(g->key[i].raw >= data && g->key[i].bytes <= (size_t)(data + size - g->key[i].raw));
}

/* Parses a copy of exactly these bytes, so that a sanitizer sees a step outside. */
static sy_status parse(const void *bytes, size_t size, sy_err *err)
{
    uint8_t *copy = malloc(size ? size : 1);
    sy_arena a = { 0 };
    sy_gguf g;
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    *err = (sy_err){ 0 };
    sy_status st = sy_gguf_parse(&g, copy, size, "x.gguf", &a, err);
    if (st == SY_OK) check_inside(&g, copy, size);
    else if (!*err->text || !strstr(err->text, "x.gguf")) fail_msg("no sentence, or one without the file: '%s'", err->text);
    sy_arena_free(&a);
    free(copy);
    return st;
}

static const char *in_dir(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", sy_test_dir(), name);
    return path;
}

/* --- there and back --------------------------------------------------------------------------------------------------------- */

static void write_sample(const char *path)
{
    static const int32_t kinds[] = { 1, 3, -7 };
    static float data[96];
    sy_gguf_writer w;
    for (int i = 0; i < 96; i++) data[i] = (float)i;
    sy_expect_ok(sy_gguf_writer_open(&w, path, err));
    sy_gguf_put_text(&w, "general.architecture", "llama", 5);
    sy_gguf_put_u32(&w, "llama.block_count", 3);
    sy_gguf_put_f32(&w, "llama.eps", 1e-5f);
    sy_gguf_put_bool(&w, "a.yes", true);
    sy_gguf_put_array(&w, "a.kinds", SY_GGUF_I32, 3);
    sy_gguf_elem(&w, kinds, sizeof kinds);
    sy_gguf_put_array(&w, "a.words", SY_GGUF_TEXT, 3);
    sy_gguf_elem_text(&w, "one", 3), sy_gguf_elem_text(&w, "", 0), sy_gguf_elem_text(&w, "a\0b", 3);
    sy_expect_ok(sy_gguf_put_tensor(&w, "b", 0, 2, (int64_t[]){ 5, 3 }, err));
    sy_expect_ok(sy_gguf_put_tensor(&w, "a", 8, 3, (int64_t[]){ 2, 1, 32 }, err));
    sy_expect_ok(sy_gguf_put_tensor(&w, "c", 1, 1, (int64_t[]){ 7 }, err));
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    sy_expect_ok(sy_gguf_writer_data(&w, data, 20, err));     /* in pieces */
    sy_expect_ok(sy_gguf_writer_data(&w, data + 5, 40, err));
    sy_expect_ok(sy_gguf_writer_data(&w, data, 68, err));
    sy_expect_ok(sy_gguf_writer_data(&w, data, 14, err));
    sy_expect_ok(sy_gguf_writer_close(&w, err));
    sy_gguf_writer_abandon(&w);
}

static void both_ways(void **state)
{
    static const char *const order[] = { "general.architecture", "llama.block_count", "llama.eps", "a.yes", "a.kinds", "a.words" };
    char path[1024], again[1024];
    sy_map m, n;
    sy_gguf g;
    sy_arena a = { 0 };
    int64_t whole = 0;
    double real = 0;
    bool yes = false;
    const char *word = NULL;
    (void)state;
    snprintf(path, sizeof path, "%s", in_dir("a.gguf"));
    snprintf(again, sizeof again, "%s", in_dir("b.gguf"));
    write_sample(path);
    sy_expect_ok(sy_map_open(&m, path, err));
    sy_expect_ok(sy_gguf_parse(&g, m.data, m.size, path, &a, err));
    assert_int_equal(g.version, 3);
    assert_int_equal(g.keys, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(g.key[i].key, order[i]);
    sy_expect_ok(sy_gguf_text(&g, "general.architecture", true, &a, &word, err));
    sy_expect_ok(sy_gguf_int(&g, "llama.block_count", true, 1, 9, &whole, err));
    sy_expect_ok(sy_gguf_real(&g, "llama.eps", true, 0, 1, &real, err));
    sy_expect_ok(sy_gguf_bool(&g, "a.yes", true, &yes, err));
    assert_string_equal(word, "llama");
    assert_true(whole == 3 && (float)real == 1e-5f && yes);
    const sy_gguf_key *k = sy_gguf_key_find(&g, "a.kinds");
    assert_true(k && k->n == 3 && k->elem == SY_GGUF_I32 && sy_gguf_elem_int(k, 2, &whole) && whole == -7 && sy_gguf_elem_real(k, 1, &real) && real == 3);
    k = sy_gguf_key_find(&g, "a.words");
    const uint8_t *at = k->data;
    size_t len;
    assert_memory_equal(sy_gguf_next_text(&at, &len), "one", 3);
    sy_gguf_next_text(&at, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(sy_gguf_next_text(&at, &len), "a\0b", 3);
    assert_true(at == k->raw + k->bytes);
    assert_string_equal(g.t[0].name, "b");
    const sy_gguf_tensor *t = sy_gguf_find(&g, "a");
    assert_true(t && t->type == SY_W_Q8_0 && t->nd == 3 && t->dim[0] == 2 && t->dim[2] == 32 && t->bytes == 68 && (t->data - m.data) % 32 == 0);
    assert_null(sy_gguf_find(&g, "d"));
    assert_null(sy_gguf_key_find(&g, "zz"));

    sy_test_case("copied key by key, tensor by tensor: the same bytes");
    sy_gguf_writer w;
    sy_expect_ok(sy_gguf_writer_open(&w, again, err));
    for (int i = 0; i < g.keys; i++) sy_gguf_put_key(&w, &g.key[i]);
    for (int i = 0; i < g.n; i++) sy_expect_ok(sy_gguf_put_tensor(&w, g.t[i].name, g.t[i].id, g.t[i].nd, g.t[i].dim, err));
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    for (int i = 0; i < g.n; i++) sy_expect_ok(sy_gguf_writer_data(&w, g.t[i].data, g.t[i].bytes, err));
    sy_expect_ok(sy_gguf_writer_close(&w, err));
    sy_gguf_writer_abandon(&w);
    sy_expect_ok(sy_map_open(&n, again, err));
    assert_int_equal(n.size, m.size);
    sy_expect_same("file", n.data, m.data, m.size);
    sy_map_close(&n);
    sy_map_close(&m);
    sy_arena_free(&a);
}

static void writer_rules(void **state)
{
    sy_gguf_writer w;
    sy_err told = { 0 }, *err = &told;
    char long_name[80];
    (void)state;
    memset(long_name, 'x', 64), long_name[64] = 0;
    sy_expect_ok(sy_gguf_writer_open(&w, in_dir("c.gguf"), err));
    sy_expect_fail(sy_gguf_put_tensor(&w, long_name, 0, 1, (int64_t[]){ 1 }, err), SY_EFORMAT, "too long for the name");
    sy_expect_fail(sy_gguf_put_tensor(&w, "x", 12, 2, (int64_t[]){ 2, 100 }, err), SY_ESHAPE, "rows of 100 values");
    sy_expect_fail(sy_gguf_put_tensor(&w, "x", 99, 1, (int64_t[]){ 1 }, err), SY_EUNSUP, "unknown type 99");
    sy_expect_fail(sy_gguf_put_tensor(&w, "x", 0, 5, (int64_t[]){ 1, 1, 1, 1, 1 }, err), SY_EUNSUP, "5 dimensions");
    sy_expect_ok(sy_gguf_put_tensor(&w, "x", 0, 1, (int64_t[]){ 2 }, err));
    sy_expect_ok(sy_gguf_writer_begin(&w, err));
    sy_expect_fail(sy_gguf_writer_data(&w, long_name, 9, err), SY_EARG, "more than tensor 1 has");
    sy_expect_ok(sy_gguf_writer_data(&w, long_name, 7, err));
    sy_expect_fail(sy_gguf_writer_close(&w, err), SY_EARG, "not written whole");
    sy_gguf_writer_abandon(&w);
    sy_gguf_writer_abandon(&w);
    assert_false(sy_file_exists(in_dir("c.gguf")));
}

/* --- hostile files ------------------------------------------------------------------------------------------------------------ */

enum damage { COUNT_TENSORS, COUNT_KEYS, ZERO_VERSION, OTHER_ORDER, OLD, EMPTY_KEY, LONG_KEY, LONG_TEXT, KEY_TWICE, BAD_TYPE, BAD_ELEM, NESTED, ELEMENTS, BOOL_TWO, ALIGN_0, ALIGN_3,
              ALIGN_30, ALIGN_TYPE, NAME_TWICE, NO_NAME, LONG_NAME, CONTROL, DIMS_5, DIMS_0, DIM_0, DIM_NEGATIVE, WRAPS, TENSOR_TYPE, HALF_BLOCK, PAST_END, UNALIGNED, OVERLAP, IN_HEADER,
              HOLE, LEFT_OVER, DAMAGES };

static const struct { sy_status want; const char *part; } refusals[DAMAGES] = {
    [COUNT_TENSORS] = { SY_EFORMAT, "claims -9223372036854775808 tensors" }, [COUNT_KEYS] = { SY_EFORMAT, "keys" }, [ZERO_VERSION] = { SY_EUNSUP, "version 0" },
    [OTHER_ORDER] = { SY_EUNSUP, "other byte order" }, [OLD] = { SY_EUNSUP, "version 1" }, [EMPTY_KEY] = { SY_EFORMAT, "key 0 has no name" }, [LONG_KEY] = { SY_EFORMAT, "at most 65535" },
    [LONG_TEXT] = { SY_EFORMAT, "key 'a'" }, [KEY_TWICE] = { SY_EFORMAT, "key 'a' stands twice" }, [BAD_TYPE] = { SY_EFORMAT, "unknown type 13" }, [BAD_ELEM] = { SY_EFORMAT, "array of the unknown type 99" },
    [NESTED] = { SY_EUNSUP, "array of arrays" }, [ELEMENTS] = { SY_EFORMAT, "claims 2305843009213693952 elements" }, [BOOL_TWO] = { SY_EFORMAT, "holds 2 where a bool" },
    [ALIGN_0] = { SY_EFORMAT, "'general.alignment' is 0" }, [ALIGN_3] = { SY_EFORMAT, "'general.alignment' is 3" }, [ALIGN_30] = { SY_EFORMAT, "'general.alignment' is 1073741824" },
    [ALIGN_TYPE] = { SY_EFORMAT, "of type u64" }, [NAME_TWICE] = { SY_EFORMAT, "tensor 'a' stands twice" }, [NO_NAME] = { SY_EFORMAT, "tensor 0 has no name" }, [LONG_NAME] = { SY_EFORMAT, "at most 63" },
    [CONTROL] = { SY_EFORMAT, "control character" }, [DIMS_5] = { SY_EFORMAT, "has 5 dimensions" }, [DIMS_0] = { SY_EFORMAT, "has 0 dimensions" }, [DIM_0] = { SY_EFORMAT, "dimension 0 is 0" },
    [DIM_NEGATIVE] = { SY_EFORMAT, "dimension 0 is -8" }, [WRAPS] = { SY_EFORMAT, "more values than memory" }, [TENSOR_TYPE] = { SY_EUNSUP, "unknown type 77" }, [HALF_BLOCK] = { SY_EFORMAT, "rows of 8 values" },
    [PAST_END] = { SY_EFORMAT, "truncated" }, [UNALIGNED] = { SY_EFORMAT, "lies at 36" }, [OVERLAP] = { SY_EFORMAT, "lies at 0, it must follow" }, [IN_HEADER] = { SY_EFORMAT, "lies at 18446744073709551584" },
    [HOLE] = { SY_EFORMAT, "lies at 64, it must follow the one before it at 32" }, [LEFT_OVER] = { SY_EFORMAT, "belong to no tensor" },
};

static void damage(sy_buf *b, int d)
{
    char name[70];
    memset(name, 'n', sizeof name), name[64] = 0;
    bool keys = (d >= EMPTY_KEY && d <= ALIGN_TYPE) || d == COUNT_KEYS, tensors = d >= NAME_TWICE;
    head(b, d == ZERO_VERSION ? 0 : d == OTHER_ORDER ? 3u << 24 : d == OLD ? 1 : 3, d == COUNT_TENSORS ? 1ull << 63 : tensors ? 2 : 0, d == COUNT_KEYS ? 1ull << 63 : keys ? 2 : 0);
    if (keys) {
        if (d == LONG_KEY) u64(b, 65536), zeros(b, 65540);
        else text(b, d == EMPTY_KEY ? "" : d >= ALIGN_0 ? "general.alignment" : "a");
        u32(b, d == BAD_TYPE ? 13 : d == LONG_TEXT ? SY_GGUF_TEXT : d == BAD_ELEM || d == NESTED || d == ELEMENTS ? SY_GGUF_ARRAY : d == BOOL_TWO ? SY_GGUF_BOOL : d == ALIGN_TYPE ? SY_GGUF_U64 : SY_GGUF_U32);
        if (d == LONG_TEXT) u64(b, 1000);
        else if (d == BAD_ELEM || d == NESTED || d == ELEMENTS) u32(b, d == BAD_ELEM ? 99 : d == NESTED ? SY_GGUF_ARRAY : SY_GGUF_U32), u64(b, d == ELEMENTS ? 1ull << 61 : 1);
        else if (d == BOOL_TWO) sy_buf_put(b, "\2", 1);
        else if (d == ALIGN_TYPE) u64(b, 32);
        else u32(b, d == ALIGN_3 ? 3 : d == ALIGN_30 ? 1u << 30 : 0);
        key_u32(b, d == KEY_TWICE ? "a" : "b", 7);
    }
    if (tensors) {
        int64_t ne[5] = { d == DIM_0 ? 0 : d == DIM_NEGATIVE ? -8 : d == WRAPS ? 1ll << 40 : 8, d == WRAPS ? 1ll << 40 : 1, 1, 1, 1 };
        info(b, d == NO_NAME ? "" : d == LONG_NAME ? name : d == CONTROL ? "a\1" : "a", d == DIMS_5 ? 5 : d == DIMS_0 ? 0 : 2, ne, d == TENSOR_TYPE ? 77 : d == HALF_BLOCK ? 2 : 0, 0);
        info(b, d == NAME_TWICE ? "a" : "b", 1, ne, 0, d == UNALIGNED ? 36 : d == OVERLAP ? 0 : d == IN_HEADER ? (uint64_t)-32 : d == HOLE ? 64 : 32);
        pad(b, 32);
        zeros(b, d == PAST_END ? 63 : d == LEFT_OVER ? 96 : 64);
    } else zeros(b, 64);
}

static void hostile(void **state)
{
    (void)state;
    for (int d = 0; d < DAMAGES; d++) {
        sy_buf b = { 0 };
        sy_err err;
        damage(&b, d);
        sy_test_case("damage %d: %s", d, refusals[d].part);
        sy_expect_fail_(parse(b.data, b.n, &err), refusals[d].want, &err, refusals[d].part, "sy_gguf_parse");
        sy_buf_free(&b);
    }
    sy_err err;
    sy_test_case("no tensors and no keys");
    sy_buf b = { 0 };
    head(&b, 3, 0, 0);
    assert_int_equal(parse(b.data, b.n, &err), SY_OK);
    sy_buf_free(&b);
}

/* A head of more than 4096 bytes and a few tensors, cut at each of the first 4096 bytes and around every border. */
static void truncated(void **state)
{
    enum { TENSORS = 70, KEYS = 60 };
    sy_buf b = { 0 };
    sy_err err;
    size_t border[2 * TENSORS + 1], borders = 0;
    char name[32];
    (void)state;
    head(&b, 3, TENSORS, KEYS);
    for (int i = 0; i < KEYS; i++) {
        snprintf(name, sizeof name, "key.%d", i);
        text(&b, name);
        if (i % 3 == 0) u32(&b, SY_GGUF_U32), u32(&b, 5);
        else if (i % 3 == 1) u32(&b, SY_GGUF_TEXT), text(&b, "some words");
        else u32(&b, SY_GGUF_ARRAY), u32(&b, SY_GGUF_TEXT), u64(&b, 3), text(&b, "a"), text(&b, ""), text(&b, "bc");
    }
    for (int i = 0; i < TENSORS; i++) {
        snprintf(name, sizeof name, "blk.%d.weight", i);
        info(&b, name, 1, (int64_t[]){ 10 }, 0, (uint64_t)i * 64);
    }
    pad(&b, 32);
    assert_true(b.n > 4096);
    for (int i = 0; i < TENSORS; i++) {
        border[borders++] = b.n;
        zeros(&b, 40);
        border[borders++] = b.n;
        pad(&b, 32);
    }
    assert_int_equal(parse(b.data, b.n, &err), SY_OK);
    for (size_t cut = 0; cut < 4096; cut++) {
        sy_test_case("cut to %zu bytes", cut);
        sy_expect_fail_(parse(b.data, cut, &err), SY_EFORMAT, &err, "x.gguf", "sy_gguf_parse");
    }
    for (size_t i = 0; i + 1 < borders; i++)
        for (int by = -1; by <= 1; by++) {
            sy_test_case("cut at border %zu%+d", i, by);
            sy_expect_fail_(parse(b.data, border[i] + (size_t)by, &err), SY_EFORMAT, &err, "truncated", "sy_gguf_parse");
        }
    sy_test_case("every byte of the head changed");
    for (size_t i = 0; i < border[0]; i += 3) {
        uint8_t old = (uint8_t)b.data[i];
        b.data[i] = (char)(old ^ 0xff);
        parse(b.data, b.n, &err);                    /* a letter of a text is harmless; nothing may crash or point outside */
        b.data[i] = (char)old;
    }
    sy_buf_free(&b);
}

static void odd_paths(void **state)
{
    static const int64_t huge = 1ll << 38;           /* values: a terabyte of F32 */
    sy_buf b = { 0 };
    sy_map m;
    sy_gguf g;
    sy_arena a = { 0 };
    sy_err told = { 0 }, *err = &told;
    char path[1024];
    (void)state;
    sy_expect_fail(sy_map_open(&m, sy_test_dir(), err), SY_EARG, "is a folder");
    snprintf(path, sizeof path, "%s", in_dir("fifo.gguf"));
    assert_int_equal(mkfifo(path, 0600), 0);
    sy_expect_fail(sy_map_open(&m, path, err), SY_EARG, "is a pipe");
    sy_expect_fail(sy_map_open(&m, "/dev/zero", err), SY_EARG, "is a device");

    snprintf(path, sizeof path, "%s", in_dir("huge.gguf"));
    head(&b, 3, 1, 0);
    info(&b, "huge", 1, &huge, 0, 0);
    pad(&b, 32);
    sy_expect_ok(sy_file_write(path, b.data, b.n, err));
    if (truncate(path, (off_t)b.n + (off_t)huge * 4) != 0) print_message("skipped: this file system has no files of a terabyte (%s)\n", strerror(errno));
    else {
        sy_expect_ok(sy_map_open(&m, path, err));
        sy_expect_ok(sy_gguf_parse(&g, m.data, m.size, path, &a, err));
        assert_true(g.t[0].bytes == (size_t)huge * 4);
        sy_map_close(&m);
        b.data[0] = 'X';
        sy_expect_ok(sy_map_open(&m, path, err));
        sy_expect_fail(sy_gguf_parse(&g, (const uint8_t *)b.data, b.n, path, &a, err), SY_EFORMAT, "another kind of file");
        sy_map_close(&m);
        unlink(path);
    }
    sy_test_case("zeros as far as one sees");
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd >= 0 && ftruncate(fd, (off_t)1 << 40) == 0) {
        sy_expect_ok(sy_map_open(&m, path, err));
        sy_expect_fail(sy_gguf_parse(&g, m.data, m.size, path, &a, err), SY_EFORMAT, "does not begin with GGUF");
        sy_map_close(&m);
    }
    close(fd);
    unlink(path);
    sy_buf_free(&b);
    sy_arena_free(&a);
}

static void wrong_kinds(void **state)
{
    sy_buf b = { 0 };
    sy_gguf g;
    sy_arena a = { 0 };
    sy_err told = { 0 }, *err = &told;
    int64_t whole = -1;
    double real = -1;
    bool yes;
    const char *word;
    (void)state;
    head(&b, 3, 0, 6);
    key_u32(&b, "n", 70000);
    text(&b, "s"), u32(&b, SY_GGUF_TEXT), u64(&b, 2), sy_buf_put(&b, "a\0", 2);
    text(&b, "big"), u32(&b, SY_GGUF_U64), u64(&b, UINT64_MAX);
    text(&b, "list"), u32(&b, SY_GGUF_ARRAY), u32(&b, SY_GGUF_U8), u64(&b, 1), sy_buf_put(&b, "\7", 1);
    text(&b, "r"), u32(&b, SY_GGUF_F32), sy_buf_put(&b, &(float){ 0.5f }, 4);
    text(&b, "nan"), u32(&b, SY_GGUF_F64), u64(&b, 0x7ff8000000000000u);
    sy_expect_ok(sy_gguf_parse(&g, (const uint8_t *)b.data, b.n, "x.gguf", &a, err));
    sy_expect_ok(sy_gguf_int(&g, "absent", false, 0, 1, &whole, err));
    assert_int_equal(whole, -1);
    sy_expect_fail(sy_gguf_int(&g, "absent", true, 0, 1, &whole, err), SY_EFORMAT, "x.gguf has no key 'absent'");
    sy_expect_fail(sy_gguf_int(&g, "n", true, 0, 65536, &whole, err), SY_EFORMAT, "key 'n' is 70000, it must lie in 0..65536");
    sy_expect_fail(sy_gguf_int(&g, "big", true, 0, 65536, &whole, err), SY_EFORMAT, "18446744073709551615");
    sy_expect_fail(sy_gguf_int(&g, "r", true, 0, 1, &whole, err), SY_EFORMAT, "of type f32, it must be a whole number");
    sy_expect_fail(sy_gguf_int(&g, "list", true, 0, 9, &whole, err), SY_EFORMAT, "is an array");
    sy_expect_fail(sy_gguf_real(&g, "nan", true, -1e300, 1e300, &real, err), SY_EFORMAT, "must lie in");
    sy_expect_fail(sy_gguf_real(&g, "s", true, 0, 1, &real, err), SY_EFORMAT, "must be a number");
    sy_expect_fail(sy_gguf_bool(&g, "n", true, &yes, err), SY_EFORMAT, "must be a bool");
    sy_expect_fail(sy_gguf_text(&g, "s", true, &a, &word, err), SY_EFORMAT, "holds a NUL");
    sy_expect_fail(sy_gguf_text(&g, "n", true, &a, &word, err), SY_EFORMAT, "must be a text");
    sy_buf_free(&b);
    sy_arena_free(&a);
}

static void no_memory(void **state)
{
    char path[1024];
    sy_map m;
    (void)state;
    snprintf(path, sizeof path, "%s", in_dir("m.gguf"));
    write_sample(path);
    sy_expect_ok(sy_map_open(&m, path, err));
    for (uint64_t n = 1, done = 0; !done; n++) {
        sy_arena a = { 0 };
        sy_gguf g;
        sy_err err = { 0 };
        sy_test_case("allocation %llu fails", (unsigned long long)n);
        sy_alloc_fail_at(n, 1);
        sy_status st = sy_gguf_parse(&g, m.data, m.size, path, &a, &err);
        sy_alloc_fail_at(0, 0);
        if (st == SY_OK) done = 1;
        else assert_int_equal(st, SY_ENOMEM);
        sy_arena_free(&a);
    }
    sy_map_close(&m);
}

/* Vocabularies as they are published: metadata alone, every text walked to its end. */
static void real_files(void **state)
{
    static const struct { const char *name; uint64_t tokens; } file[] = {
        { "deepseek-llm", 102400 }, { "gpt-2", 50257 }, { "llama-spm", 32000 }, { "starcoder", 49152 } };
    const char *data = sy_test_data();
    char path[1024];
    (void)state;
    if (!data) { print_message("skipped: no folder of real data\n"); return; }
    for (size_t i = 0; i < SY_COUNT(file); i++) {
        sy_map m;
        sy_gguf g;
        sy_arena a = { 0 };
        snprintf(path, sizeof path, "%s/tokenizers/gguf-vocab/ggml-vocab-%s.gguf", data, file[i].name);
        if (!sy_file_exists(path)) { print_message("skipped: no %s\n", path); continue; }
        sy_test_case("%s", file[i].name);
        sy_expect_ok(sy_map_open(&m, path, err));
        sy_expect_ok(sy_gguf_parse(&g, m.data, m.size, path, &a, err));
        const sy_gguf_key *k = sy_gguf_key_find(&g, "tokenizer.ggml.tokens");
        assert_true(k && k->elem == SY_GGUF_TEXT && k->n == file[i].tokens);
        const uint8_t *at = k->data;
        size_t len;
        for (uint64_t t = 0; t < k->n; t++) sy_gguf_next_text(&at, &len);
        assert_true(at == k->raw + k->bytes);
        sy_map_close(&m);
        sy_arena_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways), cmocka_unit_test(writer_rules), cmocka_unit_test(hostile), cmocka_unit_test(truncated), cmocka_unit_test(odd_paths),
        cmocka_unit_test(wrong_kinds), cmocka_unit_test(no_memory), cmocka_unit_test(real_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
