/* tests/infer/test_generate.c - the loop from id to id. Most models here are chains made by hand: token b follows token a whatever came
 * before, so that the text is known; the others are small random mixtures. */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"
#include "infer/generate.h"
#include "methods.h"
#include "model/checkpoint.h"
#include "switchyard.h"

enum { EOT = 256, V = 257 };

static sy_engine eng;
static sy_tokenizer *tok;

static int open_engine(void **state)
{
    (void)state;
    sy_expect_ok(sy_engine_init(&eng, 1, NULL, &sy_builtin_methods, err));
    sy_expect_ok(sy_tokenizer_open_bytes(&tok, true, err));
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    sy_tokenizer_close(tok);
    sy_engine_uninit(&eng);
    return 0;
}

/* A model whose embedding is the identity and whose layer adds nothing: the head alone says what follows. Each byte of `text` is followed by
 * the next one, its last by the end of the document; bytes must differ. */
static sy_model *chain(const char *text)
{
    sy_spec s;
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = V + 1, s.num_hidden_layers = 1, s.num_attention_heads = 1, s.head_dim = 2, s.intermediate_size = 1;
    s.max_position_embeddings = 64, s.initializer_range = 0;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 1, err));
    sy_real *embed = m->embed->w.data, *head = m->head->w.data;
    for (int v = 0; v < V; v++) embed[v * (V + 1) + v] = 1;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) head[(c[1] ? c[1] : EOT) * (V + 1) + *c] = 1;
    return m;
}

static sy_model *mixture(int room)
{
    sy_spec s;
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = V, s.hidden_size = 32, s.num_hidden_layers = 2, s.num_attention_heads = 2, s.num_key_value_heads = 1, s.intermediate_size = 48, s.num_experts = 4;
    s.layers = "dense,sparse", s.router = "topk:top_k=2", s.max_position_embeddings = room, s.initializer_range = 0.3;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 3, err));
    return m;
}

typedef struct heard { sy_buf text; size_t longest; int calls, tokens, calls_after_no, most_calls, most_tokens; bool no; } heard;

static bool on_text(void *arg, const char *text, size_t n)
{
    heard *h = arg;
    h->calls_after_no += h->no;
    sy_buf_put(&h->text, text, n);
    if (n > h->longest) h->longest = n;
    h->no = ++h->calls == h->most_calls;
    return !h->no;
}

static bool on_token(void *arg, const sy_generator *g, int id)
{
    heard *h = arg;
    assert_non_null(g->logits);
    assert_in_range(id, 0, V - 1);
    return ++h->tokens != h->most_tokens;
}

static sy_generate_options greedy(int most)
{
    sy_generate_options o;
    sy_opt_defaults(sy_generate_opts, &o);
    o.sample.do_sample = false;
    o.max_new_tokens = most;
    return o;
}

static void expect_text(const char *name, const sy_buf *b, const char *want)
{
    const char *got = b->data ? b->data : "";
    if (b->n != strlen(want) || memcmp(got, want, b->n)) fail_msg("%s is '%s', want '%s'", name, got, want);
}

static void test_endings(void **state)
{
    (void)state;
    static const struct { const char *chain, *stop[2]; int most, room, most_calls, most_tokens; const char *text; sy_ending ended; int tokens; const char *what; } cases[] = {
        { "abcdefg", { NULL },         100, 64, 0, 0, "bcdefg",  SY_STOP_EOS,    7, "the end of the document" },
        { "abcdefg", { NULL },           3, 64, 0, 0, "bcd",     SY_STOP_LENGTH, 3, "a number of tokens" },
        { "abcdefg", { NULL },           0, 64, 0, 0, "",        SY_STOP_LENGTH, 0, "no tokens" },
        { "abcdefg", { "ef" },         100, 64, 0, 0, "bcd",     SY_STOP_TEXT,   5, "a stop string over two tokens" },
        { "abcdefg", { "defx", "cdef" }, 100, 64, 0, 0, "b",     SY_STOP_TEXT,   5, "two stop strings that begin alike" },
        { "abcdefg", { "cdex" },       100, 64, 0, 0, "bcdefg",  SY_STOP_EOS,    7, "a beginning of a stop string is text after all" },
        { "abcdefg", { "fgh" },        100, 64, 0, 0, "bcdefg",  SY_STOP_EOS,    7, "an end that is the beginning of a stop string" },
        { "abcdefg", { "b" },          100, 64, 0, 0, "",        SY_STOP_TEXT,   1, "a stop string at once" },
        { "abcdefg", { "" },           100, 64, 0, 0, "bcdefg",  SY_STOP_EOS,    7, "an empty stop string stops nothing" },
        { "abcdefg", { NULL },         100,  4, 0, 0, "bcde",    SY_STOP_FULL,   4, "a full context" },
        { "abcdefg", { NULL },         100, 64, 2, 0, "bc",      SY_STOP_ASKED,  2, "the receiver of text says stop" },
        { "abcdefg", { NULL },         100, 64, 0, 2, "bc",      SY_STOP_ASKED,  2, "the receiver of tokens says stop" },
        { "abcdefg", { "cx" },         100, 64, 0, 2, "bc",      SY_STOP_ASKED,  2, "the same while text is held back" },
        { "a\xe2\x82\xac!", { NULL },  100, 64, 0, 0, "\xe2\x82\xac!", SY_STOP_EOS, 5, "a character of three tokens" },
        { "a\xe2\x82\xac!", { NULL },    2, 64, 0, 0, "\xe2\x82", SY_STOP_LENGTH, 2, "an unfinished character at the end" },
        { "a\xe2\x82\xac!", { "\xac" }, 100, 64, 0, 0, "\xe2\x82", SY_STOP_TEXT, 3, "a stop string that is no text" },
        { "a\xff\xfe!", { NULL },      100, 64, 0, 0, "\xff\xfe!", SY_STOP_EOS,  4, "bytes that are no text" },
    };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_model *m = chain(cases[i].chain);
        sy_generator g;
        sy_generate_options o = greedy(cases[i].most);
        heard h = { .most_calls = cases[i].most_calls, .most_tokens = cases[i].most_tokens };
        sy_buf out = { 0 };
        sy_test_case("%s", cases[i].what);
        sy_expect_ok(sy_generator_open(&g, m, tok, cases[i].room, err));
        sy_expect_ok(sy_generator_feed(&g, &(int){ cases[i].chain[0] }, 1, NULL, err));
        sy_generation x = { .stop = cases[i].stop, .n_stop = cases[i].stop[1] ? 2 : cases[i].stop[0] ? 1 : 0, .text = on_text, .token = on_token, .arg = &h };
        sy_expect_ok(sy_generate(&g, &o, &x, &out, err));
        expect_text(cases[i].what, &h.text, cases[i].text);
        expect_text(cases[i].what, &out, cases[i].text);
        sy_expect_near("ending", x.ended, cases[i].ended, 0, 0);
        sy_expect_near("tokens", x.tokens, cases[i].tokens, 0, 0);
        assert_int_equal(h.tokens, x.tokens);
        assert_int_equal(h.calls_after_no, 0);
        sy_buf_free(&h.text);
        sy_buf_free(&out);
        sy_generator_close(&g);
        sy_model_free(m);
    }
}

/* A tokenizer of bytes and four tokens of several: "ab" (256), "cd" (257), "x" with the first byte of a euro sign (258), its two others (259). */
static sy_tokenizer *pieces(void)
{
    static const unsigned char two[4][2] = { { 'a', 'b' }, { 'c', 'd' }, { 'x', 0xe2 }, { 0x82, 0xac } };
    sy_tokenizer *t;
    sy_buf b = { 0 };
    sy_json j;
    char spelled[256][5] = { { 0 } };                /* GPT-2's spelling of a byte */
    for (int c = 0, other = 256; c < 256; c++) sy_utf8_put((uint32_t)((c > 32 && c < 127) || (c > 160 && c != 173) ? c : other++), spelled[c]);
    sy_json_open(&j, &b, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "version"), sy_json_text(&j, "1.0");
    sy_json_key(&j, "added_tokens"), sy_json_begin(&j, '['), sy_json_end(&j, ']');
    static const char *const part[] = { "pre_tokenizer", "decoder" };
    for (int i = 0; i < 2; i++) {
        sy_json_key(&j, part[i]), sy_json_begin(&j, '{');
        sy_json_key(&j, "type"), sy_json_text(&j, "ByteLevel");
        sy_json_key(&j, "add_prefix_space"), sy_json_bool(&j, false);
        sy_json_key(&j, "trim_offsets"), sy_json_bool(&j, true);
        sy_json_key(&j, "use_regex"), sy_json_bool(&j, false);
        sy_json_end(&j, '}');
    }
    sy_json_key(&j, "model"), sy_json_begin(&j, '{');
    sy_json_key(&j, "type"), sy_json_text(&j, "BPE");
    sy_json_key(&j, "vocab"), sy_json_begin(&j, '{');
    for (int c = 0; c < 256; c++) sy_json_key(&j, spelled[c]), sy_json_int(&j, c);
    char word[16];
    for (int i = 0; i < 4; i++) snprintf(word, sizeof word, "%s%s", spelled[two[i][0]], spelled[two[i][1]]), sy_json_key(&j, word), sy_json_int(&j, 256 + i);
    sy_json_end(&j, '}');
    sy_json_key(&j, "merges"), sy_json_begin(&j, '[');
    for (int i = 0; i < 4; i++) snprintf(word, sizeof word, "%s %s", spelled[two[i][0]], spelled[two[i][1]]), sy_json_text(&j, word);
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    assert_false(b.failed);
    sy_expect_ok(sy_tokenizer_from_memory(&t, b.data, b.n, "tokenizer of the test", err));
    sy_buf_free(&b);
    return t;
}

static bool whole_characters(void *arg, const char *text, size_t n)
{
    sy_buf *b = arg;
    assert_int_equal(sy_utf8_tail(text, n), 0);
    assert_int_not_equal((unsigned char)text[0] & 0xc0, 0x80);
    sy_buf_put(b, text, n);
    sy_buf_put(b, "|", 1);
    return true;
}

static void test_characters_come_whole(void **state)
{
    (void)state;
    sy_model *m = chain("a\xf0\x9f\xa6\x99" "b\xc3\xbc");
    sy_generator g;
    sy_generate_options o = greedy(100);
    sy_buf b = { 0 };
    sy_expect_ok(sy_generator_open(&g, m, tok, 64, err));
    sy_expect_ok(sy_generator_feed(&g, &(int){ 'a' }, 1, NULL, err));
    sy_expect_ok(sy_generate(&g, &o, &(sy_generation){ .text = whole_characters, .arg = &b }, NULL, err));
    expect_text("pieces", &b, "\xf0\x9f\xa6\x99|b|\xc3\xbc|");
    sy_buf_free(&b);
    sy_generator_close(&g);
    sy_model_free(m);
}

/* Tokens of several bytes: a stop string that begins inside one and ends inside the next, a character that is cut by a token's border. */
static void test_tokens_of_several_bytes(void **state)
{
    (void)state;
    enum { A = 256, C, X, EURO, N };
    static const int follows[][2] = { { '!', A }, { A, C }, { C, X }, { X, EURO }, { EURO, '?' }, { '?', '.' } };
    static const struct { const char *stop, *text; sy_ending ended; int tokens; } cases[] = {
        { NULL, "ab|cd|x|\xe2\x82\xac|?|.|", SY_STOP_LENGTH, 6 }, { "bc", "a|", SY_STOP_TEXT, 2 }, { "dx", "ab|c|", SY_STOP_TEXT, 3 },
        { "\xe2\x82\xac", "ab|cd|x|", SY_STOP_TEXT, 4 }, { "bcdy", "a|bcdx|\xe2\x82\xac|?|.|", SY_STOP_LENGTH, 6 }, { "b", "a|", SY_STOP_TEXT, 1 },
    };
    sy_tokenizer *t = pieces();
    sy_spec s;
    sy_model *m;
    sy_spec_defaults(&s);
    s.vocab_size = N, s.hidden_size = N, s.num_hidden_layers = 1, s.num_attention_heads = 1, s.head_dim = 2, s.intermediate_size = 1;
    s.max_position_embeddings = 64, s.initializer_range = 0;
    sy_expect_ok(sy_model_new(&m, &eng, &s, 0, 1, err));
    for (int v = 0; v < N; v++) ((sy_real *)m->embed->w.data)[v * N + v] = 1;
    for (size_t i = 0; i < SY_COUNT(follows); i++) ((sy_real *)m->head->w.data)[follows[i][1] * N + follows[i][0]] = 1;
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_generator g;
        sy_generate_options o = greedy(6);
        sy_buf b = { 0 };
        sy_generation x = { .stop = &cases[i].stop, .n_stop = cases[i].stop != NULL, .text = whole_characters, .arg = &b };
        sy_test_case("stop string '%s'", cases[i].stop ? cases[i].stop : "(none)");
        sy_expect_ok(sy_generator_open(&g, m, t, 64, err));
        sy_expect_ok(sy_generator_feed(&g, &(int){ '!' }, 1, NULL, err));
        sy_expect_ok(sy_generate(&g, &o, &x, NULL, err));
        expect_text("pieces", &b, cases[i].text);
        sy_expect_near("ending", x.ended, cases[i].ended, 0, 0);
        sy_expect_near("tokens", x.tokens, cases[i].tokens, 0, 0);
        sy_buf_free(&b);
        sy_generator_close(&g);
    }
    sy_model_free(m);
    sy_tokenizer_close(t);
}

static void test_ignore_eos(void **state)
{
    (void)state;
    sy_model *m = chain("ab");
    ((sy_real *)m->head->w.data)['c' * (V + 1) + EOT] = 1;           /* a document that begins after the end */
    sy_generator g;
    sy_generate_options o = greedy(3);
    sy_buf out = { 0 };
    o.ignore_eos = true;
    sy_generation x = { 0 };
    sy_expect_ok(sy_generator_open(&g, m, tok, 64, err));
    sy_expect_ok(sy_generator_feed(&g, &(int){ 'a' }, 1, NULL, err));
    sy_expect_ok(sy_generate(&g, &o, &x, &out, err));
    expect_text("text", &out, "bc");
    assert_int_equal(x.ended, SY_STOP_LENGTH);
    sy_buf_free(&out);
    sy_generator_close(&g);
    sy_model_free(m);
}

static void test_refusals(void **state)
{
    (void)state;
    sy_model *m = chain("ab");
    sy_generator g;
    sy_generate_options o = greedy(3);
    sy_err e = { 0 }, *err = &e;
    int many[9] = { 0 };
    sy_expect_fail(sy_generator_open(&g, m, tok, 65, err), SY_EARG, "65 positions");
    sy_expect_fail(sy_generator_open(&g, m, tok, 0, err), SY_EARG, "1 .. 64");
    sy_expect_ok(sy_generator_open(&g, m, tok, 8, err));
    sy_expect_fail(sy_generate(&g, &o, &(sy_generation){ 0 }, NULL, err), SY_EARG, "at least one token");
    sy_expect_fail(sy_generator_feed(&g, many, 0, NULL, err), SY_EARG, "empty prompt");
    sy_expect_fail(sy_generator_feed(&g, many, 9, NULL, err), SY_ESHAPE, "8 positions is full");
    sy_expect_fail(sy_generator_feed(&g, &(int){ V }, 1, NULL, err), SY_EARG, "257");
    assert_int_equal(g.n, 0);
    sy_expect_ok(sy_generator_feed(&g, many, 8, NULL, err));
    sy_expect_fail(sy_generator_feed(&g, many, 1, NULL, err), SY_ESHAPE, "8 are used, 1 more");
    assert_non_null(g.logits);                       /* what was refused changed nothing */
    sy_generator_close(&g);
    sy_model_free(m);
}

/* What is forgotten leaves no trace: not in the cache, not in the repetition penalty. */
static void test_rewind(void **state)
{
    (void)state;
    sy_model *m = mixture(64);
    sy_generator g;
    sy_generate_options o = greedy(20);
    sy_buf first = { 0 }, again = { 0 };
    static const int prompt[] = { 'T', 'o', ' ' }, other[] = { 'x', 'y', 'z', '9' };
    o.sample.do_sample = true;
    o.sample.repetition_penalty = 1.5;
    o.ignore_eos = true;
    sy_generation x = { 0 };
    sy_expect_ok(sy_generator_open(&g, m, tok, 64, err));
    sy_expect_ok(sy_generator_feed(&g, prompt, 3, NULL, err));
    sy_expect_ok(sy_generate(&g, &o, &x, &first, err));
    sy_generator_rewind(&g, 2);
    sy_expect_ok(sy_generator_feed(&g, other, 4, NULL, err));
    sy_expect_ok(sy_generate(&g, &o, &x, NULL, err));
    sy_generator_rewind(&g, 2);
    assert_null(g.logits);
    sy_expect_ok(sy_generator_feed(&g, prompt + 2, 1, NULL, err));
    sy_expect_ok(sy_generate(&g, &o, &x, &again, err));
    sy_generator_rewind(&g, 1000);                   /* nothing lies there */
    assert_non_null(g.logits);
    assert_int_equal(first.n, again.n);
    sy_expect_same("text", again.data, first.data, first.n);
    sy_buf_free(&first);
    sy_buf_free(&again);
    sy_generator_close(&g);
    sy_model_free(m);
}

typedef struct counted { uint64_t at; int tokens, late; } counted;
static bool count_allocations(void *arg, const sy_generator *g, int id)
{
    counted *c = arg;
    (void)g, (void)id;
    uint64_t now = sy_alloc_calls();
    if (++c->tokens > 4 && now != c->at) c->late++;
    c->at = now;
    return true;
}

static void test_allocates_nothing_per_token(void **state)
{
    (void)state;
    sy_model *m = mixture(300);
    sy_generator g;
    sy_generate_options o = greedy(280);
    static const int prompt[] = { 'T', 'o', ' ', 'b' };
    counted c = { 0 };
    o.sample.do_sample = o.ignore_eos = true;
    o.sample.top_p = 0.9, o.sample.min_p = 0.01, o.sample.repetition_penalty = 1.1;
    sy_expect_ok(sy_generator_open(&g, m, tok, 300, err));
    sy_expect_ok(sy_generator_feed(&g, prompt, 4, NULL, err));
    sy_expect_ok(sy_generate(&g, &o, &(sy_generation){ .token = count_allocations, .arg = &c }, NULL, err));
    assert_int_equal(c.tokens, 280);
    sy_test_case("280 tokens");
    sy_expect_near("tokens that allocated", c.late, 0, 0, 0);
    sy_generator_close(&g);
    sy_model_free(m);
}

static bool collect(void *arg, const char *text, size_t n)
{
    sy_buf_put(arg, text, n);
    return true;
}

/* The library puts in front of a prompt what the tokenizer has there (bos), and ends at every id that generation_config.json names. */
static void test_library_begins_and_ends_as_the_program(void **state)
{
    (void)state;
    static const char frame[] = "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],"
                                "\"special_tokens\":{\"a\":{\"id\":\"a\",\"ids\":[97],\"tokens\":[\"a\"]}}}";
    static const char ends[] = "{\"do_sample\":false,\"eos_token_id\":[256,101]}", none[] = "\"post_processor\": null";
    char dir[400], path[500];
    sy_model *m = chain("abcdefg");
    sy_engine *own;
    sy_lm *lm;
    sy_buf json = { 0 }, framed = { 0 }, out = { 0 };
    snprintf(dir, sizeof dir, "%s/chain", sy_test_dir());
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, EOT, NULL, err));
    sy_expect_ok(sy_tokenizer_save(tok, dir, err));
    sy_model_free(m);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    sy_expect_ok(sy_file_read(path, 1 << 20, &json, err));
    char *hit = strstr(json.data, none);
    assert_non_null(hit);
    sy_buf_put(&framed, json.data, (size_t)(hit - json.data));
    sy_buf_text(&framed, frame);
    sy_buf_text(&framed, hit + sizeof none - 1);
    sy_expect_ok(sy_file_write(path, framed.data, framed.n, err));
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    sy_expect_ok(sy_file_write(path, ends, sizeof ends - 1, err));
    sy_expect_ok(sy_engine_open(&own, 1, NULL, err));
    sy_expect_ok(sy_lm_open(&lm, own, dir, err));
    sy_expect_ok(sy_lm_generate(lm, "", "do_sample=false,max_new_tokens=9", collect, &out, err));
    assert_string_equal(out.data, "bcd");
    sy_buf_clear(&out);
    sy_expect_ok(sy_lm_generate(lm, "e", "do_sample=false,max_new_tokens=9", collect, &out, err));
    assert_string_equal(out.data, "fg");
    sy_buf_clear(&out);
    sy_expect_ok(sy_lm_generate(lm, "", "do_sample=false,max_new_tokens=9,ignore_eos=true", collect, &out, err));
    assert_memory_equal(out.data, "bcdefg", 6);
    sy_lm_close(lm);
    sy_engine_close(own);
    sy_buf_free(&json);
    sy_buf_free(&framed);
    sy_buf_free(&out);
}

static sy_status load_and_generate(const char *dir, sy_err *err)
{
    sy_engine own = { 0 };
    sy_tokenizer *t = NULL;
    sy_model *m = NULL;
    sy_generator g = { 0 };
    sy_ledger l = { 0 };
    sy_buf out = { 0 };
    int id[16];
    size_t n;
    sy_generate_options o = greedy(5);
    o.sample.do_sample = true;
    o.sample.top_p = 0.9;
    sy_status st = sy_engine_init(&own, 2, NULL, &sy_builtin_methods, err);
    if (st == SY_OK) st = sy_model_load(&m, &own, dir, 0, &l, err);
    sy_ledger_free(&l);
    if (st == SY_OK) st = sy_tokenizer_load(&t, dir, err);
    if (st == SY_OK) st = sy_tokenizer_encode(t, "To be", 5, id, &n, err);
    if (st == SY_OK) st = sy_generator_open(&g, m, t, 32, err);
    if (st == SY_OK) {
        st = sy_generator_feed(&g, id, (int)n, NULL, err);
        if (st == SY_OK) st = sy_generate(&g, &o, &(sy_generation){ 0 }, &out, err);
        sy_generator_close(&g);
    }
    sy_buf_free(&out);
    sy_tokenizer_close(t);
    sy_model_free(m);
    sy_engine_uninit(&own);
    return st;
}

/* Every allocation on the way fails once, alone and with all that follow: a status comes back, and nothing leaks (seen by the sanitizer). */
static void test_memory_runs_out(void **state)
{
    (void)state;
    char dir[400];
    sy_model *m = mixture(32);
    snprintf(dir, sizeof dir, "%s/model", sy_test_dir());
    sy_expect_ok(sy_mkdirs(dir, err));
    sy_expect_ok(sy_model_save(m, dir, EOT, NULL, err));
    sy_expect_ok(sy_tokenizer_save(tok, dir, err));
    sy_model_free(m);
    sy_expect_ok(load_and_generate(dir, err));
    for (int sticky = 0; sticky < 2; sticky++) {
        uint64_t n = 1, step = 1;
        int failed = 0;
        for (;; n += step) {
            sy_err e = { 0 };
            sy_alloc_fail_at(n, sticky);
            uint64_t before = sy_alloc_calls();
            sy_status st = load_and_generate(dir, &e);
            uint64_t calls = sy_alloc_calls() - before;
            sy_alloc_fail_at(0, 0);
            sy_test_case("allocation %llu%s", (unsigned long long)n, sticky ? " and all that follow" : "");
            if (calls < n) { sy_expect_near("status", st, SY_OK, 0, 0); break; }      /* the failure was not reached */
            if (st != SY_OK) {
                failed++;
                if (st != SY_ENOMEM) fail_msg("allocation %llu fails: status %d (%s): %s", (unsigned long long)n, st, sy_status_text(st), e.text);
                assert_true(e.text[0] != 0);
            } else if (sticky) fail_msg("allocation %llu and all that follow fail, and the result is SY_OK", (unsigned long long)n);
            if (n > 60) step = 7;                    /* the parameters and JSON values are many and alike */
        }
        assert_true(failed > 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endings), cmocka_unit_test(test_characters_come_whole), cmocka_unit_test(test_tokens_of_several_bytes), cmocka_unit_test(test_ignore_eos), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rewind), cmocka_unit_test(test_allocates_nothing_per_token), cmocka_unit_test(test_memory_runs_out), cmocka_unit_test(test_library_begins_and_ends_as_the_program),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
