/* tests/data/test_data.c - opened corpora: rows, batches, splits, held-out windows, domains, caches. Oracles: the text itself, byte by byte, and
 * the same rows asked for in another way. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/random.h"
#include "data/data.h"

static sy_tokenizer *plain, *with_eot;

static const char *in_dir(const char *name)
{
    static char path[8][512];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, 512, "%s/%s", sy_test_dir(), name);
    return p;
}

static void write_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s", in_dir(name));
    *strrchr(path, '/') = 0;
    sy_expect_ok(sy_mkdirs(path, err));
    sy_expect_ok(sy_file_write(in_dir(name), text, strlen(text), err));
}

/* n bytes of lower-case noise, the same for the same key. */
static void write_noise(const char *name, size_t n, uint64_t key)
{
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++) text[i] = (char)('a' + sy_draw_below(key, i, 0, 26));
    text[n] = 0;
    write_file(name, text);
    free(text);
}

static void write_lines(const char *name, int lines, int least, int most, uint64_t key)
{
    sy_buf b = { 0 };
    for (int i = 0; i < lines; i++) {
        int n = least + (int)sy_draw_below(key, (uint64_t)i, 1, (uint64_t)(most - least) + 1);
        sy_buf_printf(&b, "{\"text\": \"%d ", i);
        for (int j = 0; j < n; j++) sy_buf_printf(&b, "%c", (char)('a' + (i + j) % 26));
        sy_buf_text(&b, "\"}\n");
    }
    write_file(name, b.data);
    sy_buf_free(&b);
}

static sy_status open_data(sy_data **d, const char *const *train, int n, const char *const *eval, int n_eval, const char *cache, const char *opts,
                           const sy_tokenizer *tok, sy_err *err)
{
    sy_data_options o;
    sy_arena a = { 0 };
    sy_opt_defaults(sy_data_opts, &o);
    sy_expect_ok(sy_opt_parse(sy_data_opts, &o, opts, &a, NULL, err));
    sy_sources src = { .train = train, .n_train = n, .eval = eval, .n_eval = n_eval, .cache_dir = cache };
    sy_status status = sy_data_open(d, &src, &o, tok, 42, err);
    sy_arena_free(&a);
    return status;
}

static sy_data *must_open(const char *const *train, int n, const char *opts, const sy_tokenizer *tok)
{
    sy_data *d = NULL;
    sy_expect_ok(open_data(&d, train, n, NULL, 0, NULL, opts, tok, err));
    return d;
}

/* Everything in a batch that a model sees, as bytes, appended row by row: equal buffers mean equal training. */
static void put_batch(sy_buf *to, const sy_batch *b)
{
    for (int s = 0, t = 0; s < b->n_seg; s++) {
        assert_int_equal(b->seg[s].row, t);
        assert_int_equal(b->seg[s].pos0, 0);
        assert_null(b->seg[s].k);
        sy_buf_put(to, &b->seq_no[s], sizeof b->seq_no[s]);
        for (int i = 0; i < b->seg[s].n; i++, t++) {
            int all[4] = { b->id[t], b->label[t], b->pos[t], b->domain[t] };
            assert_int_equal(b->pos[t], i);
            assert_int_equal(b->seq[t], s);
            if (i) assert_int_equal(b->label[t - 1], b->id[t]);
            sy_buf_put(to, all, sizeof all);
        }
        if (s == b->n_seg - 1) assert_int_equal(t, b->T);
    }
}

static void put_rows(sy_buf *to, sy_data *d, int64_t first, int rows)
{
    sy_arena a = { 0 };
    sy_batch b;
    sy_expect_ok(sy_data_rows(d, first, rows, &a, &b, err));
    put_batch(to, &b);
    sy_arena_free(&a);
}

static void expect_equal(const char *what, const sy_buf *got, const sy_buf *want)
{
    assert_false(got->failed || want->failed);
    assert_int_equal(got->n, want->n);
    sy_expect_same(what, got->data, want->data, want->n);
}

static const char *three[3];
static void make_three(void)
{
    static char spec[3][600];
    write_noise("three/prose.txt", 5000, 1);
    write_lines("three/lines.jsonl", 120, 1, 90, 2);
    write_noise("three/code/a.c", 700, 3);
    write_noise("three/code/sub/b.c", 1300, 4);
    snprintf(spec[0], 600, "%s@2", in_dir("three/prose.txt"));
    snprintf(spec[1], 600, "%s@1", in_dir("three/lines.jsonl"));
    snprintf(spec[2], 600, "code=%s@1", in_dir("three/code"));
    for (int i = 0; i < 3; i++) three[i] = spec[i];
}

/* 1x8, 8x1, 3+5, and a fresh opening that begins at row k: all the same stream, over several epochs. */
static void test_one_stream(void **state)
{
    (void)state;
    make_three();
    sy_data *d = must_open(three, 3, "seq_len=64", with_eot), *other = must_open(three, 3, "seq_len=64", with_eot);
    int64_t n = 4 * sy_data_epoch_rows(d);
    sy_buf whole = { 0 }, got = { 0 };
    put_rows(&whole, d, 0, (int)n);
    assert_string_equal(sy_data_id(d), sy_data_id(other));
    static const int sizes[] = { 1, 3, 8, 17 };
    for (size_t i = 0; i < SY_COUNT(sizes); i++) {
        sy_test_case("%d rows at a time", sizes[i]);
        sy_buf_clear(&got);
        for (int64_t k = 0; k < n; k += sizes[i]) put_rows(&got, other, k, (int)(n - k < sizes[i] ? n - k : sizes[i]));
        expect_equal("stream", &got, &whole);
    }
    sy_data_close(other);
    for (int64_t k = 1; k < n; k += n / 7) {
        sy_test_case("resumed at row %lld", (long long)k);
        sy_data *fresh = must_open(three, 3, "seq_len=64", with_eot);
        sy_buf_clear(&got);
        put_rows(&got, d, 0, (int)k);
        put_rows(&got, fresh, k, (int)(n - k));
        expect_equal("stream", &got, &whole);
        sy_data_close(fresh);
    }
    sy_buf_free(&whole);
    sy_buf_free(&got);
    sy_data_close(d);
}

static void test_weights(void **state)
{
    (void)state;
    make_three();
    sy_data *d = must_open(three, 3, "seq_len=64", plain);
    static const char *const names[] = { "prose", "lines", "code" };
    static const double want[] = { .5, .25, .25 };
    assert_int_equal(sy_data_domains(d), 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(sy_data_domain(d, i)->name, names[i]);
        assert_int_equal(sy_data_find(d, names[i]), i);
        sy_expect_near("weight", sy_data_domain(d, i)->weight, want[i], 1e-12, 0);
    }
    assert_int_equal(sy_data_find(d, "nobody"), -1);
    int64_t rows[3] = { 0 };
    sy_arena a = { 0 };
    for (int64_t k = 0; k < 400; k++) {
        sy_batch b;
        sy_expect_ok(sy_data_rows(d, k, 1, &a, &b, err));
        rows[b.domain[0]]++;
        for (int i = 0; i < 3; i++) assert_true(llabs(4 * rows[i] - (int64_t)(want[i] * 4 * (double)(k + 1))) < 4);
        sy_arena_reset(&a);
    }
    sy_arena_free(&a);
    sy_data_close(d);
}

/* In one epoch every byte but each document's first is a label exactly once; the end of a document only with a token for it. */
static void test_epoch_is_the_text(void **state)
{
    (void)state;
    write_lines("cover/lines.jsonl", 200, 1, 150, 9);
    const char *spec[] = { in_dir("cover/lines.jsonl") };
    for (int eot = 0; eot < 2; eot++) {
        sy_data *d = must_open(spec, 1, "seq_len=48,val_fraction=0", eot ? with_eot : plain);
        const sy_domain *m = sy_data_domain(d, 0);
        sy_arena a = { 0 };
        sy_batch b;
        sy_expect_ok(sy_data_rows(d, 0, (int)sy_data_epoch_rows(d), &a, &b, err));
        int64_t labels = 0, ends = 0;
        for (int t = 0; t < b.T; t++) labels += b.label[t] >= 0, ends += b.label[t] == 256;
        assert_int_equal(m->docs, 200);
        assert_int_equal(labels, m->train_tokens - 200 + (eot ? 200 : 0));
        assert_int_equal(ends, eot ? 200 : 0);
        assert_int_equal(m->train_bytes, m->train_tokens);
        assert_int_equal(m->eval_tokens, 0);
        sy_arena_free(&a);
        sy_data_close(d);
    }
}

static int64_t eval_all(const sy_data *d, int domain, int rows, sy_buf *labels, sy_eval *it)
{
    sy_arena a = { 0 };
    int64_t batches = 0;
    bool more = true;
    sy_expect_ok(sy_eval_start(it, d, domain, rows, err));
    for (;;) {
        sy_batch b;
        sy_expect_ok(sy_eval_next(it, &a, &b, &more, err));
        if (!more) break;
        batches++;
        assert_in_range(b.T, 1, rows * 64);
        for (int t = 0; t < b.T; t++)
            if (b.label[t] >= 0) sy_buf_put(labels, &(char){ (char)b.label[t] }, 1);
        sy_arena_reset(&a);
    }
    sy_arena_free(&a);
    return batches;
}

/* One text: its last tenth, byte by byte, whatever the number of rows; training never sees it. */
static void test_split_of_one_text(void **state)
{
    (void)state;
    write_noise("one.txt", 10000, 5);
    const char *spec[] = { in_dir("one.txt") };
    sy_buf text = { 0 };
    sy_expect_ok(sy_file_read(spec[0], 1 << 20, &text, err));
    sy_data *d = must_open(spec, 1, "seq_len=64", plain);
    const sy_domain *m = sy_data_domain(d, 0);
    assert_int_equal(m->train_tokens, 9000);
    assert_int_equal(m->eval_tokens, 1000);
    assert_int_equal(m->eval_bytes, 1000);
    for (int rows = 1; rows < 20; rows += 6) {
        sy_buf got = { 0 };
        sy_eval it;
        eval_all(d, 0, rows, &got, &it);
        assert_int_equal(it.tokens, 999);
        assert_int_equal(it.bytes, 999);
        sy_expect_same("held-out text", got.data, text.data + 9001, 999);
        sy_buf_free(&got);
    }
    sy_buf_free(&text);
    sy_data_close(d);
}

/* Many documents: the border lies between two of them. */
static void test_split_of_many(void **state)
{
    (void)state;
    write_lines("many.jsonl", 300, 20, 60, 6);
    const char *spec[] = { in_dir("many.jsonl") };
    sy_data *d = must_open(spec, 1, "seq_len=64,val_fraction=0.2", with_eot);
    const sy_domain *m = sy_data_domain(d, 0);
    double share = (double)m->eval_tokens / (double)(m->eval_tokens + m->train_tokens);
    assert_true(share > 0.19 && share < 0.21);
    sy_buf got = { 0 };
    sy_eval it;
    eval_all(d, 0, 4, &got, &it);
    int64_t ends = 0;
    for (size_t i = 0; i < got.n; i++) ends += got.data[i] == 0;        /* 256 as a char */
    assert_int_equal(it.tokens, m->eval_tokens);     /* less the first of each document, plus its end */
    assert_int_equal(it.bytes, m->eval_tokens - ends);
    assert_in_range(ends, 50, 70);
    sy_buf_free(&got);
    sy_data_close(d);
}

static void test_eval_data(void **state)
{
    (void)state;
    make_three();
    write_noise("held/prose.txt", 640, 8);
    write_noise("held/other.txt", 333, 9);
    const char *eval[] = { in_dir("held/prose.txt"), in_dir("held/other.txt") };
    sy_data *d = NULL;
    sy_expect_ok(open_data(&d, three, 3, eval, 2, NULL, "seq_len=64", plain, err));
    assert_int_equal(sy_data_domains(d), 4);
    assert_string_equal(sy_data_domain(d, 3)->name, "other");
    assert_int_equal(sy_data_domain(d, 0)->train_tokens, 5000);
    assert_int_equal(sy_data_domain(d, 0)->eval_tokens, 640);
    assert_int_equal(sy_data_domain(d, 3)->eval_tokens, 333);
    assert_int_equal(sy_data_domain(d, 3)->train_tokens, 0);
    sy_eval it;
    sy_err e, *err = &e;
    sy_expect_fail(sy_eval_start(&it, d, 1, 4, err), SY_EARG, "'lines' has no held-out text");
    sy_data_close(d);
    sy_expect_ok(open_data(&d, NULL, 0, eval, 2, NULL, "seq_len=64", plain, err));
    sy_arena a = { 0 };
    sy_batch b;
    sy_expect_fail(sy_data_rows(d, 0, 1, &a, &b, err), SY_EARG, "for evaluation only");
    sy_buf got = { 0 };
    eval_all(d, 1, 4, &got, &it);
    assert_int_equal(it.tokens, 332);
    sy_buf_free(&got);
    sy_data_close(d);
}

static void test_masks(void **state)
{
    (void)state;
    sy_buf b = { 0 };
    for (int i = 0; i < 60; i++) sy_buf_printf(&b, "{\"question\": \"What is %d + 1?\", \"answer\": \"It is %d.\"}\n", i, i + 1);
    write_file("qa.jsonl", b.data);
    const char *spec[] = { in_dir("qa.jsonl") };
    static const char opts[] = "seq_len=40,val_fraction=0.1,prompt_field=question,completion_field=answer";
    sy_data *d = must_open(spec, 1, opts, with_eot);
    sy_arena a = { 0 };
    sy_batch batch;
    sy_expect_ok(sy_data_rows(d, 0, (int)sy_data_epoch_rows(d), &a, &batch, err));
    sy_buf_clear(&b);
    for (int s = 0; s < batch.n_seg; s++) {
        const sy_segment *g = &batch.seg[s];
        for (int i = 0; i < g->n; i++)
            if (batch.label[g->row + i] >= 0) sy_buf_put(&b, &(char){ batch.label[g->row + i] == 256 ? '|' : (char)batch.label[g->row + i] }, 1);
    }
    sy_buf_put(&b, "", 1);
    int answers = 0;                                 /* what is counted is exactly the answers with their ends, in some order */
    for (char *p = strtok(b.data, "|"); p; p = strtok(NULL, "|"), answers++) {
        int n, end = 0;
        assert_int_equal(sscanf(p, "It is %d.%n", &n, &end), 1);
        assert_int_equal(p[end], 0);
    }
    assert_int_equal(answers, batch.n_seg);
    assert_true(sy_data_domain(d, 0)->masked > 0);
    sy_buf_free(&b);
    sy_arena_free(&a);
    sy_data_close(d);
}

static void test_folder_domains(void **state)
{
    (void)state;
    write_noise("tree/x.txt", 400, 1);
    write_noise("tree/alpha/1.txt", 400, 2);
    write_noise("tree/alpha/deep/2.txt", 400, 3);
    write_noise("tree/beta/3.md", 400, 4);
    write_noise("tree/.hidden/4.txt", 400, 5);
    write_noise("tree/beta/.hidden.txt", 400, 6);
    write_file("tree/empty/e.txt", "");
    sy_expect_ok(sy_file_write(in_dir("tree/beta/image.png"), "\x89PNG\0\0\0", 7, err));
    assert_int_equal(symlink("..", in_dir("tree/alpha/loop")), 0);
    const char *spec[] = { in_dir("tree") };
    sy_data *d = must_open(spec, 1, "seq_len=32", plain);
    static const struct { const char *name; int64_t files, skipped, docs, empty; } want[] = { { "tree", 1, 0, 1, 1 }, { "alpha", 2, 0, 2, 0 }, { "beta", 1, 1, 1, 0 } };
    assert_int_equal(sy_data_domains(d), 3);
    for (int i = 0; i < 3; i++) {
        const sy_domain *m = sy_data_domain(d, i);
        sy_test_case("domain %s", want[i].name);
        assert_string_equal(m->name, want[i].name);
        assert_int_equal(m->files, want[i].files);
        assert_int_equal(m->skipped, want[i].skipped);
        assert_int_equal(m->docs, want[i].docs);
        assert_int_equal(m->empty, want[i].empty);
    }
    sy_data_close(d);
    char named[600];
    snprintf(named, sizeof named, "all_of_it=%s", in_dir("tree"));
    spec[0] = named;
    d = must_open(spec, 1, "seq_len=32", plain);
    assert_int_equal(sy_data_domains(d), 1);
    assert_int_equal(sy_data_domain(d, 0)->docs, 4);
    sy_data_close(d);
}

static void test_refusals(void **state)
{
    (void)state;
    make_three();
    write_file("none.txt", "");
    write_file("tiny.txt", "x");
    write_file("emptydir/.keep", "");
    write_file("emptylines.jsonl", "{\"text\":\"\"}\n");
    write_file("bad.jsonl", "{\"text\":\"fine\"}\n{\"text\":[1,[2]]}\n");
    sy_expect_ok(sy_file_write(in_dir("binary.txt"), "\0\1", 2, err));
    mkfifo(in_dir("fifo"), 0600);
    const struct { const char *a, *b; sy_status status; const char *part; } cases[] = {
        { "nowhere.txt", NULL, SY_ENOENT, "nowhere.txt' is not there: No such file" },
        { "none.txt", NULL, SY_EARG, "none.txt' holds no text: 0 binary files, 1 empty documents" },
        { "emptylines.jsonl", NULL, SY_EARG, "holds no text" },
        { "binary.txt", NULL, SY_EARG, "binary.txt' holds no text: 1 binary files" },
        { "emptydir", NULL, SY_EARG, "emptydir' holds no files" },
        { "tiny.txt", NULL, SY_EARG, "'tiny' has nothing to train on: 1 tokens" },
        { "bad.jsonl", NULL, SY_EFORMAT, "line 2: 'text' is a list" },
        { "fifo", NULL, SY_EARG, "neither a file nor a folder" },
        { "three/prose.txt@0", NULL, SY_EARG, "weight must be above 0" },
        { "three/prose.txt@nan", NULL, SY_EARG, "weight must be above 0" },
        { "three/prose.txt@2", "three/lines.jsonl", SY_EARG, "'prose' has a weight and 'lines' has none" },
    };
    sy_data *d = NULL;
    sy_err e, *err = &e;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        const char *spec[] = { in_dir(cases[i].a), cases[i].b ? in_dir(cases[i].b) : NULL };
        sy_test_case("%s", cases[i].a);
        sy_expect_fail(open_data(&d, spec, cases[i].b ? 2 : 1, NULL, 0, NULL, "seq_len=32", plain, err), cases[i].status, cases[i].part);
        assert_null(strchr(e.text, '\n'));
    }
    static const struct { const char *spec, *part; } bare[] = { { "", "an empty source" }, { "all=x", "a domain's name" }, { "a b=x", "a domain's name" }, { "n=", "is not there" } };
    for (size_t i = 0; i < SY_COUNT(bare); i++) {
        const char *spec[] = { bare[i].spec };
        sy_test_case("'%s'", bare[i].spec);
        assert_int_not_equal(open_data(&d, spec, 1, NULL, 0, NULL, "", plain, err), SY_OK);
        assert_non_null(strstr(e.text, bare[i].part));
    }
    sy_expect_fail(open_data(&d, NULL, 0, NULL, 0, NULL, "", plain, err), SY_EARG, "no data");
    assert_null(d);
}

/* The 1st, 2nd, ... allocation fails: a status, and nothing leaks (the sanitizer looks). */
static void test_no_memory(void **state)
{
    (void)state;
    make_three();
    for (int cached = 0; cached < 2; cached++)
        for (uint64_t n = 1; ; n++) {
            sy_data *d = NULL;
            sy_err e = { 0 };
            sy_data_options o;
            sy_opt_defaults(sy_data_opts, &o);
            sy_sources src = { .train = three, .n_train = 3, .cache_dir = cached ? in_dir("memcache") : NULL };
            sy_alloc_fail_at(n, 0);
            sy_status status = sy_data_open(&d, &src, &o, plain, 1, &e);
            sy_alloc_fail_at(0, 0);
            if (status == SY_OK) {
                sy_data_close(d);
                assert_true(n > 10);
                break;
            }
            if (status != SY_ENOMEM) fail_msg("allocation %llu: %s", (unsigned long long)n, e.text);
            assert_null(d);
            assert_true(n < 5000);
        }
    sy_data *d = must_open(three, 3, "seq_len=64", plain);
    sy_arena a = { 0 };
    sy_batch b;
    sy_err e, *err = &e;
    sy_alloc_fail_at(1, 0);
    sy_status status = sy_data_rows(d, 0, 4, &a, &b, err);
    sy_alloc_fail_at(0, 0);
    assert_int_equal(status, SY_ENOMEM);
    sy_arena_reset(&a);
    for (int64_t k = 0; k < 200; k += 4) {           /* steady state: epochs come and go without the heap */
        uint64_t before = sy_alloc_calls();
        sy_expect_ok(sy_data_rows(d, k, 4, &a, &b, err));
        sy_arena_reset(&a);
        if (k > 8) assert_int_equal(sy_alloc_calls(), before);
    }
    sy_expect_fail(sy_data_rows(d, -1, 4, &a, &b, err), SY_EARG, "row -1");
    sy_expect_fail(sy_data_rows(d, 0, 0, &a, &b, err), SY_EARG, "0 rows");
    sy_arena_free(&a);
    sy_data_close(d);
}

static double shares;
static sy_status take(void *arg, const char *domain, const char *text, size_t n, sy_err *err)
{
    (void)text;
    if (!strcmp(domain, arg)) shares += (double)n;
    return shares > 1e6 ? sy_fail(err, SY_ESTOP, "enough") : SY_OK;
}

static void test_text_each(void **state)
{
    (void)state;
    make_three();
    sy_data_options o;
    sy_opt_defaults(sy_data_opts, &o);
    sy_expect_ok(sy_text_each(three, 3, &o, 0.9, take, "prose", err));
    sy_expect_near("bytes of prose", shares, 4500, 1, 0);
    shares = 0;
    sy_expect_ok(sy_text_each(three, 3, &o, 1, take, "code", err));
    sy_expect_near("bytes of code", shares, 2000, 0, 0);
}

/* The id follows what decides the rows, not where files lie or when they were made. */
static void test_id(void **state)
{
    (void)state;
    write_noise("ida/prose.txt", 5000, 1);
    write_noise("idb/prose.txt", 5000, 1);
    write_noise("idc/prose.txt", 5000, 2);
    const char *a[] = { in_dir("ida/prose.txt") }, *b[] = { in_dir("idb/prose.txt") }, *c[] = { in_dir("idc/prose.txt") };
    sy_data *d[6] = { must_open(a, 1, "seq_len=64", plain), must_open(b, 1, "seq_len=64", plain), must_open(c, 1, "seq_len=64", plain),
                      must_open(a, 1, "seq_len=65", plain), must_open(a, 1, "seq_len=64,val_fraction=0.2", plain), must_open(a, 1, "seq_len=64", with_eot) };
    assert_string_equal(sy_data_id(d[0]), sy_data_id(d[1]));
    for (int i = 2; i < 6; i++) assert_string_not_equal(sy_data_id(d[0]), sy_data_id(d[i]));
    for (int i = 0; i < 6; i++) sy_data_close(d[i]);
}

/* Cuts every file of a cache to its header. */
static void cut_cache(const char *dir)
{
    sy_arena a = { 0 };
    const char **name;
    char path[700];
    int n;
    sy_expect_ok(sy_dir_list(dir, &a, &name, &n, err));
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, name[i]);
        assert_int_equal(truncate(path, 256), 0);
    }
    sy_arena_free(&a);
}

static void test_a_cache_that_is_cut_while_it_is_read(void **state)
{
    (void)state;
    sy_err e = { 0 }, *err = &e;
    sy_arena a = { 0 };
    sy_data *d;
    sy_batch b;
    sy_eval it;
    bool more;
    write_noise("cut/prose.txt", 20000, 1);
    const char *src[] = { in_dir("cut/prose.txt") };
    for (int again = 0; again < 2; again++) {        /* the second time the cache is found, refused and made anew */
        sy_expect_ok(open_data(&d, src, 1, NULL, 0, in_dir("cutcache"), "seq_len=64", plain, err));
        assert_false(sy_data_domain(d, 0)->cached);
        sy_expect_ok(sy_data_rows(d, 0, 4, &a, &b, err));
        sy_expect_ok(sy_eval_start(&it, d, 0, 4, err));
        cut_cache(in_dir("cutcache"));
        sy_expect_fail(sy_data_rows(d, 4, 4, &a, &b, err), SY_EIO, "cutcache was cut short");
        sy_expect_fail(sy_data_rows(d, 0, 4, &a, &b, err), SY_EIO, "run again");
        sy_expect_fail(sy_eval_next(&it, &a, &b, &more, err), SY_EIO, "cutcache was cut short");
        sy_data_close(d);
    }
    sy_arena_free(&a);
}

int main(void)
{
    sy_expect_ok(sy_tokenizer_open_bytes(&plain, false, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&with_eot, true, err));
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_stream), cmocka_unit_test(test_weights), cmocka_unit_test(test_epoch_is_the_text),
                                        cmocka_unit_test(test_split_of_one_text), cmocka_unit_test(test_split_of_many), cmocka_unit_test(test_eval_data),
                                        cmocka_unit_test(test_masks), cmocka_unit_test(test_folder_domains), cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_text_each), cmocka_unit_test(test_id), cmocka_unit_test(test_a_cache_that_is_cut_while_it_is_read) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sy_tokenizer_close(plain);
    sy_tokenizer_close(with_eot);
    return failed;
}
