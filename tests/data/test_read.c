/* tests/data/test_read.c - files into documents: text, JSON lines, .zst, and hostile ones. Oracle: the expected documents, written out. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "data/read.h"

/* What a sink heard, as text: counted spans as they are, masked ones in [], documents end with '|'. */
static sy_buf heard;

static sy_status hear(void *arg, const char *text, size_t n, bool counted, sy_err *err)
{
    (void)arg, (void)err;
    if (!counted) sy_buf_put(&heard, "[", 1);
    sy_buf_put(&heard, text, n);
    if (!counted) sy_buf_put(&heard, "]", 1);
    return SY_OK;
}

static sy_status hear_end(void *arg, sy_err *err)
{
    (void)arg, (void)err;
    sy_buf_put(&heard, "|", 1);
    return SY_OK;
}

static const sy__sink sink = { .text = hear, .end = hear_end };

static const char *file(const char *name, const void *data, size_t n)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", sy_test_dir(), name);
    FILE *f = fopen(path, "wb");                     /* no fsync: there are hundreds of these */
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return path;
}

static sy_status read_path(const char *path, const char *opts, bool *binary, sy_err *err)
{
    static sy_arena a;
    sy_data_options o;
    struct stat st;
    sy_opt_defaults(sy_data_opts, &o);
    if (opts) SY_TRY(sy_opt_parse(sy_data_opts, &o, opts, &a, NULL, err));
    assert_int_equal(stat(path, &st), 0);
    sy__file f = { path, st.st_size, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec };
    sy_buf_clear(&heard);
    sy_status status = sy__read_file(&f, &o, &sink, binary, err);
    sy_arena_free(&a);
    return status;
}

typedef struct { const char *name, *in; size_t n; const char *opts, *out; } good;
#define G(name, in, opts, out) { name, in, sizeof in - 1, opts, out }

static const good goods[] = {
    G("a.txt", "one\ntwo\n", NULL, "one\ntwo\n|"),
    G("empty.txt", "", NULL, "|"),
    G("crlf.txt", "a\r\nb\r\n", NULL, "a\r\nb\r\n|"),
    G("nonl.txt", "no newline at the end", NULL, "no newline at the end|"),
    G("bom.txt", "\xEF\xBB\xBFtext", NULL, "text|"),
    G("bomonly.txt", "\xEF\xBB\xBF", NULL, "|"),
    G("notbom.txt", "\xEF\xBBx", NULL, "\xEF\xBBx|"),
    G("bad.txt", "a\xFF\xC0\x80\xED\xA0\x80z", NULL, "a\xFF\xC0\x80\xED\xA0\x80z|"),
    G("a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n", NULL, "one|two|"),
    G("a.ndjson", "{\"text\":\"one\"}", NULL, "one|"),
    G("crlf.jsonl", "{\"text\":\"one\"}\r\n\r\n  \n{\"text\":\"two\"}", NULL, "one|two|"),
    G("bom.jsonl", "\xEF\xBB\xBF{\"text\":\"x\"}\n", NULL, "x|"),
    G("none.jsonl", "", NULL, ""),
    G("emptydoc.jsonl", "{\"text\":\"\"}\n{\"text\":\"y\"}\n", NULL, "|y|"),
    G("escape.jsonl", "{\"text\":\"a\\n\\u00e9\\ud83d\\ude00\"}\n", NULL, "a\n\xC3\xA9\xF0\x9F\x98\x80|"),
    G("qa.jsonl", "{\"question\":\"1+1?\",\"answer\":\"2\"}\n", "prompt_field=question,completion_field=answer", "[1+1?]2|"),
    G("pc.jsonl", "{\"prompt\":\"p\",\"completion\":\"c\"}\n", NULL, "[p]c|"),
    G("pcu.jsonl", "{\"prompt\":\"p\",\"completion\":\"c\"}\n", "mask_prompt=false", "pc|"),
    G("chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}]}\n", NULL,
      "[<|user|>\n][hi][\n][<|assistant|>\n]yo\n|"),
    G("other.jsonl", "{\"body\":\"b\",\"text\":7}\n", "text_field=body", "b|"),
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(goods); i++) {
        bool binary = true;
        sy_test_case("%s", goods[i].name);
        sy_expect_ok(read_path(file(goods[i].name, goods[i].in, goods[i].n), goods[i].opts, &binary, err));
        assert_false(binary);
        assert_string_equal(heard.data ? heard.data : "", goods[i].out);
    }
}

/* Fed byte by byte, in threes, or in one piece: the same documents. */
static void test_pieces(void **state)
{
    (void)state;
    sy_data_options o;
    sy_arena a = { 0 };
    for (size_t i = 0; i < SY_COUNT(goods); i++)
        for (size_t piece = 1; piece <= goods[i].n + 1; piece++) {
            sy__file f = { goods[i].name, 0, 0 };
            bool binary = true;
            sy_test_case("%s in pieces of %zu", goods[i].name, piece);
            sy_opt_defaults(sy_data_opts, &o);
            if (goods[i].opts) sy_expect_ok(sy_opt_parse(sy_data_opts, &o, goods[i].opts, &a, NULL, err));
            sy_buf_clear(&heard);
            sy_expect_ok(sy__read_bytes(&f, goods[i].in, goods[i].n, piece, &o, &sink, &binary, err));
            assert_false(binary);
            assert_string_equal(heard.data ? heard.data : "", goods[i].out);
        }
    sy_arena_free(&a);
}

static void test_zst(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(goods); i++) {
        char name[64], packed[4096];
        bool binary = true;
        sy_test_case("%s.zst", goods[i].name);
        snprintf(name, sizeof name, "%s.zst", goods[i].name);
        size_t half = goods[i].n / 2, n = ZSTD_compress(packed, sizeof packed, goods[i].in, half, 3);      /* two frames */
        n += ZSTD_compress(packed + n, sizeof packed - n, goods[i].in + half, goods[i].n - half, 3);
        sy_expect_ok(read_path(file(name, packed, n), goods[i].opts, &binary, err));
        assert_false(binary);
        assert_string_equal(heard.data ? heard.data : "", goods[i].out);
        sy_err e;                                    /* cut at any place: a sentence or (between frames) less text, never a crash */
        for (size_t cut = 1; cut < n; cut++) (void)read_path(file(name, packed, cut), goods[i].opts, &binary, &e);
    }
    size_t zeros = (size_t)200 << 20, room = ZSTD_compressBound(zeros);
    char *big = calloc(zeros, 1), *packed = malloc(room);
    memset(big, 'a', zeros);
    size_t n = ZSTD_compress(packed, room, big, zeros, 1);
    bool binary;
    sy_err e, *err = &e;
    free(big);
    sy_expect_fail(read_path(file("bomb.txt.zst", packed, n), NULL, &binary, err), SY_EFORMAT, "bomb.txt.zst");
    free(packed);
}

static void test_bad(void **state)
{
    (void)state;
    static const struct { const char *name, *in, *part; } bads[] = {
        { "list.jsonl", "{\"text\":\"ok\"}\n{\"text\":[\"a\",[\"b\"]]}\n", "line 2: 'text' is a list" },
        { "null.jsonl", "{\"text\":null}\n", "line 1: 'text' is null" },
        { "scalar.jsonl", "7\n", "line 1 is a number" },
        { "array.jsonl", "[1,2]\n", "line 1 is a list" },
        { "nothing.jsonl", "{}\n", "no field at all" },
        { "gsm.jsonl", "{\"question\":\"q\",\"answer\":\"a\"}\n", "but 'question', 'answer'" },
        { "half.jsonl", "{\"text\":\"ok\"}\n{\"text\":\"o", "line 2" },
        { "twice.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n", "line 1" },
        { "utf8.jsonl", "{\"text\":\"a\xFF\"}\n", "line 1" },
        { "msgs.jsonl", "{\"messages\":\"hi\"}\n", "'messages' is a text" },
        { "role.jsonl", "{\"messages\":[{\"content\":\"x\"}]}\n", "message 1" },
        { "parts.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]}\n", "message 1" },
        { "comp.jsonl", "{\"prompt\":\"x\",\"completion\":3}\n", "'completion' is a number" },
    };
    sy_err e, *err = &e;
    bool binary;
    for (size_t i = 0; i < SY_COUNT(bads); i++) {
        sy_test_case("%s", bads[i].name);
        sy_expect_fail(read_path(file(bads[i].name, bads[i].in, strlen(bads[i].in)), NULL, &binary, err), SY_EFORMAT, bads[i].part);
        assert_non_null(strstr(e.text, bads[i].name));
    }
    size_t n = (1 << 20) + 100, deep = 100000;
    char *line = malloc(n);
    memset(line, 'x', n);
    memcpy(line, "{}\n", 3);
    sy_expect_fail(read_path(file("long.jsonl", "{\"text\":\"a\"}\n", 13), "max_line_mb=0", &binary, err), SY_EARG, "max_line_mb");
    memcpy(line, "\n \n", 3);
    sy_expect_fail(read_path(file("long.jsonl", line, n), "max_line_mb=1", &binary, err), SY_EFORMAT, "line 3 is longer than max_line_mb = 1");
    memset(line, '[', deep);
    sy_expect_fail(read_path(file("deep.jsonl", line, deep), NULL, &binary, err), SY_EFORMAT, "line 1");
    free(line);
}

static void test_binary(void **state)
{
    (void)state;
    bool binary = false;
    sy_expect_ok(read_path(file("x.bin", "abc\0def", 7), NULL, &binary, err));
    assert_true(binary);
    assert_int_equal(heard.n, 0);
    char late[9000];                                 /* a zero byte further on is kept: bytes are bytes */
    memset(late, 'q', sizeof late);
    late[8500] = 0;
    sy_expect_ok(read_path(file("late.txt", late, sizeof late), NULL, &binary, err));
    assert_false(binary);
    assert_int_equal(heard.n, sizeof late + 1);
    assert_memory_equal(heard.data, late, sizeof late);
}

/* A text above the block size comes in pieces that are cut after a line, and that add up. */
static sy_buf whole;
static size_t blocks;
static sy_status hear_block(void *arg, const char *text, size_t n, bool counted, sy_err *err)
{
    (void)arg, (void)counted, (void)err;
    if (whole.n && !(whole.data[whole.n - 1] == '\n')) fail_msg("block %zu does not begin a line", blocks);
    assert_true(n <= SY__TEXT_BLOCK);
    sy_buf_put(&whole, text, n);
    blocks++;
    return SY_OK;
}

static void test_blocks(void **state)
{
    (void)state;
    sy_buf text = { 0 };
    for (int i = 0; text.n < 3 * (size_t)SY__TEXT_BLOCK; i++) sy_buf_printf(&text, "line %d of it\n%s", i, i % 7 ? "" : "\n  x\n");
    const char *path = file("big.txt", text.data, text.n);
    struct stat st;
    stat(path, &st);
    sy__file f = { path, st.st_size, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec };
    sy_data_options o;
    bool binary;
    sy_opt_defaults(sy_data_opts, &o);
    sy__sink s = { .text = hear_block, .end = hear_end };
    sy_expect_ok(sy__read_file(&f, &o, &s, &binary, err));
    assert_int_equal(whole.n, text.n);
    assert_memory_equal(whole.data, text.data, text.n);
    assert_in_range(blocks, 3, 6);
    sy_buf_free(&text);
    sy_buf_free(&whole);
}

static char growing[512];
static sy_status grow(void *arg, const char *text, size_t n, bool counted, sy_err *err)
{
    (void)arg, (void)text, (void)n, (void)counted;
    return sy_file_append(growing, "more\n", 5, err);
}

static void test_changes(void **state)
{
    (void)state;
    sy_err e, *err = &e;
    bool binary;
    sy_data_options o;
    struct stat st;
    sy_opt_defaults(sy_data_opts, &o);
    snprintf(growing, sizeof growing, "%s", file("grows.txt", "some text\n", 10));
    stat(growing, &st);
    sy__file f = { growing, st.st_size, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec };
    sy__sink s = { .text = grow, .end = hear_end };
    sy_expect_fail(sy__read_file(&f, &o, &s, &binary, err), SY_EIO, "changed while it was read (10 bytes, then 15)");
    unlink(growing);
    sy_expect_fail(sy__read_file(&f, &o, &sink, &binary, err), SY_EIO, "went away");
}

static const sy_syscalls *real_calls;
static int reads_left;
static ssize_t failing_read(int fd, void *buf, size_t n)
{
    if (reads_left-- > 0) return real_calls->read(fd, buf, n);
    errno = EIO;
    return -1;
}

static void test_faults(void **state)
{
    (void)state;
    const char *path = file("fault.jsonl", goods[8].in, goods[8].n);
    sy_err e, *err = &e;
    bool binary;
    real_calls = sy_file_calls;
    sy_syscalls bad = *sy_file_calls;
    bad.read = failing_read;
    sy_file_calls = &bad;
    reads_left = 0;
    sy_status status = read_path(path, NULL, &binary, err);
    sy_file_calls = real_calls;
    assert_int_equal(status, SY_EIO);
    assert_non_null(strstr(e.text, "Input/output error"));
    for (uint64_t n = 1; ; n++) {                    /* memory runs out at the n-th call, for every n */
        sy_alloc_fail_at(n, 0);
        status = read_path(path, NULL, &binary, err);
        sy_alloc_fail_at(0, 0);
        heard.failed = false;
        if (status == SY_OK) {
            assert_true(n > 2);
            break;
        }
        if (status != SY_ENOMEM) fail_msg("allocation %llu: %s", (unsigned long long)n, e.text);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_pieces), cmocka_unit_test(test_zst), cmocka_unit_test(test_bad), cmocka_unit_test(test_binary),
                                        cmocka_unit_test(test_blocks), cmocka_unit_test(test_changes), cmocka_unit_test(test_faults) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_buf_free(&heard);
    return failed;
}
