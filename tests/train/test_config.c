/* tests/train/test_config.c - the config of a run. Oracle: the value that was set; the tables themselves say which options there are. */
#include "testing.h"

#include <math.h>

#include "bed.h"

static const struct { const char *name; const sy_opt *rows; size_t at; } tables[] = {
    { "model", sy_spec_opts, offsetof(sy_config, model) },
    { "train", sy_train_opts, offsetof(sy_config, train) },
    { "data", sy_corpus_opts, offsetof(sy_config, corpus) },
    { "data", sy_data_opts, offsetof(sy_config, data) },
};
static const char *const extras[] = { "train_params", "freeze_params", "from" };

typedef struct walk { void (*fn)(struct walk *w, const sy_opt *row, size_t at); const char *section; char *base; size_t offset; sy_config *c; sy_arena *a; uint64_t g; int n; } walk;

static void each(const sy_opt *row, size_t at, int index, void *arg)
{
    (void)index;
    walk *w = arg;
    w->n++;
    w->fn(w, row, w->offset + at);
}

static int over_all(walk *w)
{
    w->n = 0;
    for (size_t i = 0; i < SY_COUNT(tables); i++) {
        w->section = tables[i].name;
        w->offset = tables[i].at;
        sy_opt_each(tables[i].rows, each, w);
    }
    return w->n;
}

/* A value of the row that is hard to print: an end of its range, or a number with all its bits. */
static void odd(const sy_opt *row, uint64_t *g, char *buf, size_t size)
{
    static const char *const texts[] = { "", "a b=c,d 'e' \"f\" \\ / {} []", "t\xc3\xa4\xe2\x82\xac\n\t\x01 end", "x" };
    double u = (double)(bed_rng(g) >> 11) * 0x1p-53;
    switch (row->type) {
    case SY_OPT_INT: snprintf(buf, size, "%.0f", u < 0.2 ? row->lo : u > 0.8 ? row->hi : floor(row->lo + u * (row->hi - row->lo))); break;
    case SY_OPT_REAL: snprintf(buf, size, "%.17g", u < 0.1 ? row->lo : u > 0.9 ? row->hi : u < 0.3 ? nextafter(row->lo, row->hi) : row->lo + u * u * u * (row->hi - row->lo)); break;
    case SY_OPT_BOOL: snprintf(buf, size, "%s", u < 0.5 ? "true" : "false"); break;
    case SY_OPT_ENUM: {
        const char *p = row->text;
        while (bed_rng(g) % 2 && strchr(p, '|')) p = strchr(p, '|') + 1;
        snprintf(buf, size, "%.*s", (int)strcspn(p, "|"), p);
        break;
    }
    default: snprintf(buf, size, "%s", texts[bed_rng(g) % SY_COUNT(texts)]); break;
    }
}

static void expect_held(const sy_opt *row, const sy_config *c, size_t at, const char *want)
{
    const char *f = (const char *)c + at;
    char buf[256];
    if (row->type == SY_OPT_REAL) {
        double d = strtod(want, NULL);
        if (memcmp(f, &d, sizeof d)) fail_msg("%s is %.17g, %s was set", row->name, *(const double *)f, want);
    } else if (strcmp(sy_opt_print(row, c, at, buf, sizeof buf), want)) fail_msg("%s is '%s', '%s' was set", row->name, buf, want);
}

/* Each option is set under its name, its other name, with and without its section. */
static void set_one(walk *w, const sy_opt *row, size_t at)
{
    const char *names[] = { row->name, row->alias };
    char key[200], value[256];
    if (!row->help || !*row->help) fail_msg("%s has no help", row->name);
    for (int i = 0; i < 4; i++) {
        if (!names[i / 2]) continue;
        snprintf(key, sizeof key, "%s%s%s", i % 2 ? w->section : "", i % 2 ? "." : "", names[i / 2]);
        sy_test_case("%s", key);
        odd(row, &w->g, value, sizeof value);
        sy_expect_ok(sy_config_set(w->c, key, value, w->a, err));
        expect_held(row, w->c, at, value);
    }
}

static void test_set(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_config c;
    sy_config_defaults(&c);
    walk w = { .fn = set_one, .c = &c, .a = &a, .g = sy_test_seed() };
    assert_true(over_all(&w) > 50);
    for (size_t i = 0; i < SY_COUNT(extras); i++) sy_expect_ok(sy_config_set(&c, extras[i], "*x*", &a, err));
    assert_string_equal(c.train_params, "*x*");
    assert_string_equal(c.freeze_params, "*x*");
    assert_string_equal(c.from, "*x*");
    sy_arena_free(&a);
}

/* A bare key means one option, whatever section it stands in. */
static const char *seen[400];
static int n_seen;
static void note(walk *w, const sy_opt *row, size_t at)
{
    (void)w, (void)at;
    const char *names[] = { row->name, row->alias };
    for (int i = 0; i < 2 && names[i]; i++) {
        for (int k = 0; k < n_seen; k++) if (!strcmp(seen[k], names[i])) fail_msg("two options are called '%s'", names[i]);
        assert_true(n_seen < 400);
        seen[n_seen++] = names[i];
    }
}

static void test_names(void **state)
{
    (void)state;
    walk w = { .fn = note };
    over_all(&w);
    for (size_t i = 0; i < SY_COUNT(extras); i++) for (int k = 0; k < n_seen; k++) assert_string_not_equal(seen[k], extras[i]);
}

static const char *write_file(const char *name, const char *text, size_t n)
{
    const char *path = bed_path("%s", name);
    sy_expect_ok(sy_file_write(path, text, n, err));
    return path;
}

static void set_odd(walk *w, const sy_opt *row, size_t at)
{
    char key[200], value[256];
    (void)at;
    snprintf(key, sizeof key, "%s.%s", w->section, row->name);
    odd(row, &w->g, value, sizeof value);
    sy_expect_ok(sy_config_set(w->c, key, value, w->a, err));
}

static bool same_value(const sy_opt *row, const sy_config *a, const sy_config *b, size_t at)
{
    const char *x = (const char *)a + at, *y = (const char *)b + at;
    if (row->type == SY_OPT_TEXT) return !strcmp(*(const char *const *)x, *(const char *const *)y);
    return !memcmp(x, y, row->type == SY_OPT_REAL ? sizeof(double) : row->type == SY_OPT_BOOL ? sizeof(bool) : sizeof(int));
}

static const sy_config *other;
static void expect_equal(walk *w, const sy_opt *row, size_t at)
{
    if (!same_value(row, w->c, other, at)) fail_msg("%s.%s does not come back as it was written", w->section, row->name);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        sy_arena a = { 0 };
        sy_config c, back;
        sy_buf b = { 0 };
        sy_json j;
        char what[640];
        sy_test_case("seed %llu", (unsigned long long)(sy_test_seed() + seed));
        sy_config_defaults(&c);
        walk w = { .fn = set_odd, .c = &c, .a = &a, .g = sy_test_seed() + seed };
        over_all(&w);
        c.freeze_params = "model.layers.[0-3].*", c.from = "a \"folder\"";
        sy_json_open(&j, &b, (int)(seed % 3));
        sy_json_begin(&j, '{');
        sy_json_key(&j, "switchyard"), sy_json_text(&j, "0.1.0");
        sy_config_write(&c, &j);
        sy_json_key(&j, "derived"), sy_json_begin(&j, '{'), sy_json_end(&j, '}');
        sy_json_end(&j, '}');
        assert_false(b.failed);
        sy_config_defaults(&back);
        sy_expect_ok(sy_config_read(&back, write_file("run.json", b.data, b.n), &a, err));
        if (sy_config_differs(&c, &back, what, sizeof what)) fail_msg("%s", what);
        other = &back;
        w.fn = expect_equal;
        over_all(&w);
        assert_string_equal(c.freeze_params, back.freeze_params);
        assert_string_equal(c.from, back.from);
        sy_buf_free(&b);
        sy_arena_free(&a);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    static const struct { const char *key, *value, *part; } cases[] = {
        { "lrr", "1", "did you mean 'lr'?" },           { "model.hiden_size", "1", "did you mean 'hidden_size'?" },
        { "optim.lr", "1", "sections are model, train and data" }, { ".lr", "1", "unknown section" },
        { "qqqqqqqqqqqq", "1", "unknown key 'qqqqqqqqqqqq'" },      { "model.lr", "1", "unknown key 'model.lr'" },
        { "", "1", "unknown key ''" },                  { "lr", "fast", "fast" },
        { "lr", "nan", "lr" },                          { "lr", "-1", "lr" },
        { "steps", "1.5", "steps" },                    { "steps", "99999999999", "steps" },
        { "lr_schedule", "cosin", "cosine" },           { "tie_word_embeddings", "maybe", "tie_word_embeddings" },
        { "batch_size", "0", "batch_size" },            { "seed", "", "seed" },
    };
    sy_arena a = { 0 };
    sy_config c, want;
    sy_err why = { 0 }, *err = &why;
    char what[640];
    sy_config_defaults(&c);
    want = c;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_test_case("%s=%s", cases[i].key, cases[i].value);
        sy_expect_fail(sy_config_set(&c, cases[i].key, cases[i].value, &a, err), SY_EARG, cases[i].part);
        assert_false(sy_config_differs(&c, &want, what, sizeof what));
    }
    sy_arena_free(&a);
}

static void test_files(void **state)
{
    (void)state;
    static const struct { const char *text, *part; sy_status want; } cases[] = {
        { "{}", NULL, SY_OK },
        { "{\"train\":{\"lr\":0.5,\"steps\":7,\"warmup_steps\":null}}", NULL, SY_OK },
        { "{\"model\":{\"balance\":[\"switch:coef=0.1\",\"zloss\"]}}", NULL, SY_OK },
        { "{\"derived\":{\"anything\":[1]},\"commit\":\"x\",\"switchyard\":\"y\"}", NULL, SY_OK },
        { "[]", "is not a JSON object", SY_EFORMAT },
        { "{\"modl\":{}}", "'modl' is no section", SY_EFORMAT },
        { "{\"model\":3}", "'model' is no section", SY_EFORMAT },
        { "{\"train\":{\"lr\":{}}}", "'train.lr' has no plain value", SY_EFORMAT },
        { "{\"train\":{\"lr\":[1,2]}}", "'train.lr' must be a list of texts", SY_EFORMAT },
        { "{\"train\":{\"lrr\":1}}", "did you mean 'lr'?", SY_EARG },
        { "{\"train\":{\"hidden_size\":1}}", "unknown key 'train.hidden_size'", SY_EARG },
        { "{\"train\":{\"steps\":1e400}}", "hostile.json", SY_EFORMAT },
        { "{\"train\":{\"steps\":-5}}", "steps", SY_EARG },
        { "{\"train\":{\"steps\":1,\"steps\":2}}", "hostile.json", SY_EFORMAT },
        { "{\"train\":{", "hostile.json", SY_EFORMAT },
        { "", "hostile.json", SY_EFORMAT },
    };
    sy_err why = { 0 }, *err = &why;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_arena a = { 0 };
        sy_config c;
        sy_test_case("%s", cases[i].text);
        sy_config_defaults(&c);
        const char *path = write_file("hostile.json", cases[i].text, strlen(cases[i].text));
        if (cases[i].want == SY_OK) sy_expect_ok(sy_config_read(&c, path, &a, err));
        else sy_expect_fail(sy_config_read(&c, path, &a, err), cases[i].want, cases[i].part);
        if (i == 1) assert_true(c.train.optim.lr == 0.5 && c.train.steps == 7 && c.train.optim.warmup_steps == 100);
        if (i == 2) assert_string_equal(c.model.balance, "switch:coef=0.1 zloss");
        sy_arena_free(&a);
    }
}

static void differs_one(walk *w, const sy_opt *row, size_t at)
{
    static const char *const may[] = { "log_every", "sample_every", "checkpoint_every", "keep", "max_minutes" };
    sy_config c = *w->c;
    char value[256], what[640], key[200];
    bool free_key = false;
    for (size_t i = 0; i < SY_COUNT(may); i++) free_key |= !strcmp(may[i], row->name);
    do {
        odd(row, &w->g, value, sizeof value);
        sy_expect_ok(sy_config_set(&c, row->name, value, w->a, err));
    } while (same_value(row, &c, w->c, at));
    snprintf(key, sizeof key, "%s.%s is ", w->section, row->name);
    sy_test_case("%s", key);
    bool found = sy_config_differs(w->c, &c, what, sizeof what);
    if (found == free_key || (found && strncmp(what, key, strlen(key)))) fail_msg("%s changed to '%s': %s", row->name, value, found ? what : "no difference was seen");
}

static void test_differs(void **state)
{
    (void)state;
    sy_arena a = { 0 };
    sy_config c, d;
    char what[640], lots[3000];
    sy_config_defaults(&c);
    walk w = { .fn = differs_one, .c = &c, .a = &a, .g = sy_test_seed() };
    over_all(&w);
    memset(lots, 'x', sizeof lots - 1);              /* many sources: they differ behind what a sentence holds */
    lots[sizeof lots - 1] = 0;
    d = c;
    sy_expect_ok(sy_config_set(&c, "data", lots, &a, err));
    lots[sizeof lots - 2] = 'y';
    sy_expect_ok(sy_config_set(&d, "data", lots, &a, err));
    assert_true(sy_config_differs(&c, &d, what, sizeof what));
    sy_arena_free(&a);
}

static void test_recipes(void **state)
{
    (void)state;
    sy_err why = { 0 }, *err = &why;
    sy_engine e;
    sy_expect_ok(sy_engine_init(&e, 1, NULL, &sy_builtin_methods, err));
    assert_non_null(sy_recipes[0].name);
    for (const sy_recipe *r = sy_recipes; r->name; r++) {
        sy_arena a = { 0 };
        sy_config c;
        sy_model *m;
        sy_test_case("recipe %s", r->name);
        assert_true(r->title && *r->title);
        assert_ptr_equal(sy_recipe_find(r->name, NULL), r);
        sy_config_defaults(&c);
        sy_expect_ok(sy_recipe_apply(r, &c, &a, err));
        assert_true(c.train.steps > 0 && c.data.seq_len <= c.model.max_position_embeddings);
        assert_true(c.train.optim.warmup_steps < c.train.steps);
        c.model.vocab_size = 256;
        sy_expect_ok(sy_model_new(&m, &e, &c.model, 0, 1, err));       /* methods and their options, too */
        sy_model_free(m);
        sy_arena_free(&a);
    }
    assert_null(sy_recipe_find("dem", err));
    assert_non_null(strstr(why.text, "did you mean 'demo'?"));
    assert_null(sy_recipe_find("zzzzzzzzzz", err));
    static const struct { const char *settings, *part; } bad[] = { { "lr", "malformed at 'lr'" }, { "lr=1 lrr=2", "recipe bad: unknown key 'lrr'" }, { "steps=none", "recipe bad: " } };
    for (size_t i = 0; i < SY_COUNT(bad); i++) {
        sy_arena a = { 0 };
        sy_config c;
        sy_test_case("%s", bad[i].settings);
        sy_config_defaults(&c);
        sy_expect_fail(sy_recipe_apply(&(sy_recipe){ .name = "bad", .settings = bad[i].settings }, &c, &a, err), SY_EARG, bad[i].part);
        sy_arena_free(&a);
    }
    sy_engine_uninit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_set), cmocka_unit_test(test_names), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_unknown),
                                        cmocka_unit_test(test_files), cmocka_unit_test(test_differs), cmocka_unit_test(test_recipes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
