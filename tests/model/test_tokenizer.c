/* Ids, bytes and files of tokenizers. Oracles: the `tokenizers` package (tests/ref/make_tokenizer_fixtures.py), the definition of BPE and of its
 * training written as slow loops, PCRE2 for GPT-2's pattern, and that what was encoded decodes to the same bytes. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/random.h"
#include "model/bpe_train.h"
#include "model/tokenizer_parts.h"

typedef struct { uint64_t key, at; } dice;
static dice open_dice(uint64_t what) { return (dice){ sy_key(sy_test_seed(), SY_FOR_TEST, what, 0, 0), 0 }; }
static uint32_t below(dice *r, size_t n) { return (uint32_t)sy_draw_below(r->key, r->at++, 0, n); }

static const char fixture[] = "tests/fixtures/tokenizer.json", learned_file[] = "tests/fixtures/tokenizer_learned.json";

static json_t *read_fixture(void)
{
    json_t *root = NULL;
    sy_expect_ok(sy_json_read(&root, fixture, 1 << 24, err));
    return root;
}

static void free_dump(char *text)                    /* of json_dumps: Jansson's heap is behind core/json.h */
{
    json_free_t give_back;
    json_get_alloc_funcs(NULL, &give_back);
    give_back(text);
}

static sy_tokenizer *from_text(const char *json)
{
    sy_tokenizer *t = NULL;
    sy_expect_ok(sy_tokenizer_from_memory(&t, json, strlen(json), "tokenizer.json", err));
    return t;
}

static sy_tokenizer *bytes_tokenizer(bool eot)
{
    sy_tokenizer *t = NULL;
    sy_expect_ok(sy_tokenizer_open_bytes(&t, eot, err));
    return t;
}

static sy_tokenizer *learn(const char *text, size_t n, size_t piece, int vocab)
{
    sy_bpe_trainer *b = NULL;
    sy_tokenizer *t = NULL;
    sy_expect_ok(sy_bpe_trainer_open(&b, err));
    for (size_t i = 0; i < n; i += piece) sy_expect_ok(sy_bpe_trainer_feed(b, text + i, n - i < piece ? n - i : piece, err));
    sy_expect_ok(sy_bpe_trainer_train(b, vocab, NULL, NULL, &t, err));
    sy_bpe_trainer_close(b);
    return t;
}

static int32_t *encode(const sy_tokenizer *t, const char *s, size_t n, bool special, size_t *ids)
{
    size_t most = sy_tokenizer_most(t, n);
    int32_t *id = malloc((most + 1) * sizeof *id);
    id[most] = 12345;
    sy_expect_ok((special ? sy_tokenizer_encode_special : sy_tokenizer_encode)(t, s, n, id, ids, err));
    if (*ids > most || id[most] != 12345) fail_msg("%zu ids of %zu bytes, more than sy_tokenizer_most says (%zu)", *ids, n, most);
    for (size_t i = 0; i < *ids; i++) if (id[i] < 0 || id[i] >= sy_tokenizer_vocab(t)) fail_msg("id %d, vocabulary %d", id[i], sy_tokenizer_vocab(t));
    return id;
}

static void there_and_back(const sy_tokenizer *t, const char *s, size_t n)
{
    size_t k, bytes = 0;
    sy_buf out = { 0 };
    int32_t *id = encode(t, s, n, false, &k);
    sy_expect_ok(sy_tokenizer_decode(t, id, k, &out, err));
    for (size_t i = 0; i < k; i++) bytes += (size_t)sy_tokenizer_bytes(t, id[i]);
    if (out.n != n || bytes != n) fail_msg("%zu bytes became %zu ids of %zu bytes, and %zu bytes again", n, k, bytes, out.n);
    if (n) sy_expect_same("decoded", out.data, s, n);
    free(id);
    sy_buf_free(&out);
}

/* Bytes of a bad day: letters, spaces, digits, halves of characters, whole ones, quotes, anything. */
static size_t random_text(dice *r, char *s, size_t n)
{
    static const char *const bits[] = { "a", "the", " ", "  ", "\n", "\r\n", "'s", "'ll", "7", "é", "e\xCC\x81", "\xE4\xB8\xAD", "\xE4\xB8", "\xF0\x9F\x98\x80", "\xF0\x9F", "\xC0\x80", "\xED\xA0\x80",
                                        "\xFF", "\xEF\xBB\xBF", "\xE2\x80\x8F", "<|endoftext|>", "\xE2\x80\xA8", "!?", "\xC2\xA0", "_", "==" };
    size_t k = 0;
    while (k < n) {
        uint32_t pick = below(r, 30);
        if (pick >= SY_COUNT(bits)) { s[k++] = (char)below(r, 256); continue; }
        size_t len = strlen(bits[pick]);
        if (k + len > n) break;
        memcpy(s + k, bits[pick], len);
        k += len;
    }
    return k;
}

/* --- the package --------------------------------------------------------------------------------------------------------- */

static json_t *with_changes(json_t *base, json_t *changes)
{
    json_t *o = json_copy(base);
    json_object_update(o, changes);
    return o;
}

static void expect_case(const sy_tokenizer *t, json_t *c, const char *key, bool special)
{
    json_t *want = json_object_get(c, key), *text = json_object_get(c, "text");
    size_t n, k = json_array_size(want);
    if (!want) want = json_object_get(c, "ids"), k = json_array_size(want);
    int32_t *id = encode(t, json_string_value(text), json_string_length(text), special, &n);
    for (size_t i = 0; i < n || i < k; i++) {
        int a = i < n ? id[i] : -1, b = i < k ? (int)json_integer_value(json_array_get(want, i)) : -1;
        if (a != b) fail_msg("'%s': %s[%zu] of \"%s\" is %d, want %d (-1: the end)", json_string_value(json_object_get(c, "variant")), key, i, json_string_value(text), a, b);
    }
    free(id);
}

static void same_ids_as_the_package(void **state)
{
    (void)state;
    json_t *root = read_fixture(), *cases = json_object_get(root, "cases"), *c;
    size_t i;
    sy_tokenizer *t = NULL;
    const char *open = "";
    json_array_foreach(cases, i, c) {
        const char *name = json_string_value(json_object_get(c, "variant"));
        if (strcmp(name, open)) {
            sy_tokenizer_close(t);
            open = name;
            sy_test_case("%s", name);
            if (!strcmp(name, "learned")) sy_expect_ok(sy_tokenizer_load(&t, learned_file, err));
            else {
                json_t *o = with_changes(json_object_get(root, "base"), json_object_get(json_object_get(root, "variants"), name));
                char *text = json_dumps(o, 0);
                t = from_text(text);
                sy_buf again = { 0 };                /* and what it writes is read back as the same tokenizer */
                sy__tokenizer_write(t, &again);
                sy_tokenizer *u = from_text(again.data);
                assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
                sy_tokenizer_close(u);
                sy_buf_free(&again);
                free_dump(text);
                json_decref(o);
            }
        }
        expect_case(t, c, "ids", false);
        expect_case(t, c, "special", true);
    }
    assert_true(i > 400);
    sy_tokenizer_close(t);
    json_decref(root);
}

/* What the engine learns from the fixture's text is the file that the package has read. */
static void learned_file_is_current(void **state)
{
    (void)state;
    json_t *root = read_fixture(), *text = json_object_get(root, "text");
    sy_tokenizer *t = learn(json_string_value(text), json_string_length(text), json_string_length(text), 500), *u = NULL;
    char path[1024];
    sy_buf a = { 0 }, b = { 0 };
    sy_expect_ok(sy_path(path, sizeof path, sy_test_dir(), "tokenizer.json", err));
    sy_expect_ok(sy_tokenizer_save(t, sy_test_dir(), err));
    sy_expect_ok(sy_file_read(path, 1 << 24, &a, err));
    sy_err e;
    if (getenv("SY_WRITE_FIXTURE")) sy_expect_ok(sy_file_write(learned_file, a.data, a.n, err));
    if (sy_file_read(learned_file, 1 << 24, &b, &e) != SY_OK || a.n != b.n || memcmp(a.data, b.data, a.n))
        fail_msg("%s is not what is learned now; SY_WRITE_FIXTURE=1 writes it, then run tests/ref/make_tokenizer_fixtures.py", learned_file);
    sy_expect_ok(sy_tokenizer_load(&u, sy_test_dir(), err));
    assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
    assert_int_equal(sy_tokenizer_eot(u), 499);
    sy_tokenizer_close(t);
    sy_tokenizer_close(u);
    sy_buf_free(&a);
    sy_buf_free(&b);
    json_decref(root);
}

/* --- bytes and lookups --------------------------------------------------------------------------------------------------- */

static void bytes(void **state)
{
    (void)state;
    for (int eot = 0; eot < 2; eot++) {
        sy_test_case("eot %d", eot);
        sy_tokenizer *t = bytes_tokenizer(eot), *u = NULL;
        size_t n;
        int32_t id[64];
        assert_int_equal(sy_tokenizer_vocab(t), 256 + eot);
        assert_int_equal(sy_tokenizer_eot(t), eot ? 256 : -1);
        sy_expect_ok(sy_tokenizer_encode_special(t, "\xFF<|endoftext|>a", 15, id, &n, err));
        assert_int_equal(n, eot ? 3 : 15);
        assert_int_equal(id[0], 255);
        assert_int_equal(id[1], eot ? 256 : '<');
        sy_expect_ok(sy_tokenizer_encode(t, "<|endoftext|>", 13, id, &n, err));
        assert_int_equal(n, 13);
        for (int i = 0; i < 256; i++) {
            assert_int_equal(sy_tokenizer_bytes(t, i), 1);
            assert_int_equal((unsigned char)*sy_tokenizer_piece(t, i, &n), i);
            assert_int_equal(sy_tokenizer_lookup(t, &(char){ (char)i }, 1), i);
            assert_null(sy_tokenizer_special(t, i));
        }
        for (int i = -1; i < 300; i += 301 - 44) {                   /* -1, 256: nothing to see */
            assert_int_equal(sy_tokenizer_bytes(t, i), 0);
            assert_string_equal(sy_tokenizer_piece(t, i, &n), "");
        }
        assert_int_equal(sy_tokenizer_find(t, "<|endoftext|>"), eot ? 256 : -1);
        assert_int_equal(sy_tokenizer_lookup(t, "<|endoftext|>", 13), -1);
        sy_expect_ok(sy_tokenizer_save(t, sy_test_dir(), err));
        sy_expect_ok(sy_tokenizer_load(&u, sy_test_dir(), err));
        assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
        assert_int_equal(sy_tokenizer_eot(u), eot ? 256 : -1);
        assert_true(u->plain);
        sy_tokenizer_close(t);
        sy_tokenizer_close(u);
    }
}

static void ids_tell_tokenizers_apart(void **state)
{
    (void)state;
    json_t *root = read_fixture(), *v;
    const char *name;
    char seen[16][33];
    int n = 0;
    json_object_foreach(json_object_get(root, "variants"), name, v) {
        json_t *o = with_changes(json_object_get(root, "base"), v);
        char *text = json_dumps(o, 0);
        sy_tokenizer *t = from_text(text);
        for (int i = 0; i < n; i++)
            if (!strcmp(seen[i], sy_tokenizer_id(t)) != (!strcmp(name, "old merges") && i == 0)) fail_msg("'%s' and variant %d: id %s", name, i, seen[i]);
        snprintf(seen[n++], 33, "%s", sy_tokenizer_id(t));
        sy_tokenizer_close(t);
        free_dump(text);
        json_decref(o);
    }
    json_decref(root);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    json_t *root = read_fixture(), *text = json_object_get(root, "text");
    sy_tokenizer *t[] = { bytes_tokenizer(true), learn(json_string_value(text), json_string_length(text), 1000, 600) };
    dice r = open_dice(1);
    char s[600];
    for (int k = 0; k < 3000; k++) {
        size_t n = random_text(&r, s, below(&r, sizeof s));
        sy_test_case("text %d of %zu bytes", k, n);
        for (size_t i = 0; i < SY_COUNT(t); i++) there_and_back(t[i], s, n);
    }
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) there_and_back(t[1], (char[]){ (char)a, (char)b, ' ', (char)b }, 4);
    for (size_t i = 0; i < SY_COUNT(t); i++) sy_tokenizer_close(t[i]);
    json_decref(root);
}

/* --- the pieces against slow oracles --------------------------------------------------------------------------------------- */

static void cuts_are_those_of_the_pattern(void **state)
{
    (void)state;
    static const struct { const char *regex; sy__cut *cut; } patterns[] = { { SY__PATTERN_GPT2, sy__cut_gpt2 }, { SY__PATTERN_GPT4, sy__cut_gpt4 }, { SY__PATTERN_QWEN, sy__cut_qwen } };
    int code;
    PCRE2_SIZE where;
    pcre2_code *re[SY_COUNT(patterns)];
    pcre2_match_data *m = pcre2_match_data_create(4, NULL);
    for (size_t p = 0; p < SY_COUNT(patterns); p++)
        re[p] = pcre2_compile((PCRE2_SPTR)patterns[p].regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &where, NULL);
    static const char *const bits[] = { "a", "Z", " ", "  ", "\n", "\t", "\xC2\xA0", "\xE3\x80\x80", "'", "s", "t", "re", "ve", "m", "ll", "d", "RE", "lL", "S", "\xC5\xBF", "\r", "1", "\xC2\xB2", "\xD9\xA3", "\xE2\x85\xA7", "\xC3\xA9", "\xCC\x81", "\xE4\xB8\xAD",
                                        "!", "_", "\xF0\x9F\x98\x80", "\xE2\x80\x8D", "\xCA\xB0", "\xE1\x9A\x80", "\x1C", "\xE2\x80\x8B" };
    dice r = open_dice(2);
    char s[200];
    for (int k = 0; k < 30000; k++) {
        size_t n = 0, most = below(&r, 40) + 4, p = (size_t)k % SY_COUNT(patterns);
        while (n < most) {
            const char *bit = bits[below(&r, SY_COUNT(bits))];
            memcpy(s + n, bit, strlen(bit));
            n += strlen(bit);
        }
        sy_test_case("%s of \"%.*s\"", sy__cut_name(patterns[p].cut), (int)n, s);
        for (size_t i = 0; i < n; ) {
            size_t len = patterns[p].cut(s + i, n - i);
            if (pcre2_match(re[p], (PCRE2_SPTR)s, n, i, PCRE2_ANCHORED, m, NULL) < 1) fail_msg("the pattern does not match at %zu of \"%.*s\"", i, (int)n, s);
            PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
            if (v[1] - v[0] != len) fail_msg("%s at %zu of \"%.*s\": %zu bytes, want %zu (seed %llu)", sy__cut_name(patterns[p].cut), i, (int)n, s, len, (size_t)(v[1] - v[0]), (unsigned long long)sy_test_seed());
            i += len;
        }
    }
    pcre2_match_data_free(m);
    for (size_t p = 0; p < SY_COUNT(patterns); p++) pcre2_code_free(re[p]);
}

/* By the definition: of all neighbours that are a merge join the one of lowest rank, the leftmost first. */
static size_t slow_bpe(const sy__merge *merge, int merges, int32_t *sym, size_t n)
{
    for (;;) {
        int best = merges;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (int k = 0; k < best; k++)
                if (merge[k].left == sym[i] && merge[k].right == sym[i + 1]) { best = k; at = i; }
        if (best == merges) return n;
        sym[at] = merge[best].id;
        memmove(sym + at + 1, sym + at + 2, (n - at - 2) * sizeof *sym);
        n--;
    }
}

static void words_by_the_definition(void **state)
{
    (void)state;
    dice r = open_dice(3);
    for (int round = 0; round < 60; round++) {
        sy__bpe b;
        sy__room room = { 0 };
        int letters = 1 + (int)below(&r, 4), next = letters, twice;
        sy_expect_ok(sy__bpe_open(&b, 4, err));
        for (int i = 0; i < letters; i++) b.byte_id['a' + i] = i;
        for (int k = 0; k < 40; k++, next += twice < 0)
            sy_expect_ok(sy__bpe_add(&b, (sy__merge){ (int32_t)below(&r, (size_t)next), (int32_t)below(&r, (size_t)next), next }, &twice, err));
        for (int k = 0; k < 60; k++) {
            char s[160];
            int32_t got[160], want[160];
            size_t n = 1 + below(&r, sizeof s), g;
            sy_test_case("round %d, word %d of %zu", round, k, n);
            for (size_t i = 0; i < n; i++) want[i] = s[i] = (char)('a' + (int)below(&r, (size_t)letters)), want[i] -= 'a';
            sy_expect_ok(sy__bpe_word(&b, s, n, &room, got, &g, err));
            size_t w = slow_bpe(b.merge, b.n_merges, want, n);
            if (g != w) fail_msg("%zu ids, want %zu (seed %llu)", g, w, (unsigned long long)sy_test_seed());
            sy_expect_ids("word", got, want, w);
        }
        sy_free(room.p);
        sy__bpe_close(&b);
    }
}

/* Training by its definition: count all pairs anew for every merge. Returns the number of ids; texts by id. */
enum { SLOW_IDS = 512, SLOW_PLACES = 1 << 14 };
static int slow_learn(const char *text, size_t n, int want, sy_buf *texts)
{
    static int sym[SLOW_PLACES], count[SLOW_IDS][SLOW_IDS];
    size_t k = 0;
    int ids = 256;
    for (int i = 0; i < 256; i++) sy_buf_put(&texts[i], &(char){ (char)i }, 1);
    for (size_t len; n; text += len, n -= len) {                     /* -1 between words */
        len = sy__cut_gpt2(text, n);
        for (size_t i = 0; i < len; i++) sym[k++] = (unsigned char)text[i];
        sym[k++] = -1;
    }
    while (ids < want) {
        int a = 0, b = 0;
        memset(count, 0, sizeof count);
        for (size_t i = 0; i + 1 < k; i++) if (sym[i] >= 0 && sym[i + 1] >= 0) count[sym[i]][sym[i + 1]]++;
        for (int x = 0; x < ids; x++) for (int y = 0; y < ids; y++) if (count[x][y] > count[a][b]) a = x, b = y;
        if (count[a][b] < 2) break;
        sy_buf both = { 0 };
        sy_buf_put(&both, texts[a].data, texts[a].n);
        sy_buf_put(&both, texts[b].data, texts[b].n);
        int id = 0;
        while (id < ids && (texts[id].n != both.n || memcmp(texts[id].data, both.data, both.n))) id++;
        if (id == ids) texts[ids++] = both;
        else sy_buf_free(&both);
        size_t to = 0;
        for (size_t i = 0; i < k; i++) {
            bool join = i + 1 < k && sym[i] == a && sym[i + 1] == b;
            sym[to++] = join ? id : sym[i];
            i += join;
        }
        k = to;
    }
    return ids;
}

static void learning_by_the_definition(void **state)
{
    (void)state;
    json_t *root = read_fixture(), *play = json_object_get(root, "text");
    dice r = open_dice(4);
    for (int k = 0; k < 12; k++) {
        char own[3000];
        const char *s = json_string_value(play);
        size_t n = json_string_length(play);
        if (n > 7000) n = 7000;
        if (k) {                                     /* few letters, many ties, texts that several pairs join to */
            uint32_t letters = 1 + (uint32_t)k % 4;
            n = sizeof own;
            for (size_t i = 0; i < n; i++) own[i] = below(&r, 12) ? (char)('a' + (int)below(&r, letters)) : ' ';
            s = own;
        }
        sy_buf texts[SLOW_IDS] = { 0 };
        int want = k == 0 ? 450 : 300, ids = slow_learn(s, n, want, texts);
        sy_test_case("text %d", k);
        sy_tokenizer *t = learn(s, n, n, want + 1);
        assert_int_equal(sy_tokenizer_vocab(t), ids + 1);
        assert_int_equal(sy_tokenizer_eot(t), ids);
        assert_string_equal(sy_tokenizer_special(t, ids), "<|endoftext|>");
        for (int i = 0; i < ids; i++) {
            size_t len;
            const char *p = sy_tokenizer_piece(t, i, &len);
            if (len != texts[i].n || memcmp(p, texts[i].data, len)) fail_msg("text %d: id %d is \"%.*s\", want \"%s\"", k, i, (int)len, p, texts[i].data);
            assert_int_equal(sy_tokenizer_lookup(t, p, len), i);
            sy_buf_free(&texts[i]);
        }
        there_and_back(t, s, n);
        sy_tokenizer_close(t);
    }
    json_decref(root);
}

/* Words alone count: neither their order nor the pieces in which text comes. Whole words in each piece: cut before spaces. */
static void learning_ignores_order(void **state)
{
    (void)state;
    json_t *root = read_fixture();
    const char *s = json_string_value(json_object_get(root, "text"));
    size_t n = 4000;
    sy_bpe_trainer *b = NULL;
    sy_tokenizer *t = learn(s, n, n, 400), *u = NULL;
    sy_expect_ok(sy_bpe_trainer_open(&b, err));
    for (size_t end = n, i; end; end = i) {          /* backwards */
        for (i = end - 1; i && !(s[i] == ' ' && s[i - 1] != ' ' && s[i - 1] != '\n' && s[i + 1] != ' ' && s[i + 1] != '\n'); i--) continue;
        sy_expect_ok(sy_bpe_trainer_feed(b, s + i, end - i, err));
    }
    sy_expect_ok(sy_bpe_trainer_train(b, 400, NULL, NULL, &u, err));
    assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
    sy_err e = { 0 }, *err = &e;
    sy_tokenizer *none;
    sy_expect_fail(sy_bpe_trainer_train(b, 400, NULL, NULL, &none, err), SY_EARG, "open another");
    sy_bpe_trainer_close(b);
    sy_expect_ok(sy_bpe_trainer_open(&b, err));
    sy_expect_fail(sy_bpe_trainer_train(b, 256, NULL, NULL, &none, err), SY_EARG, "257");
    sy_expect_ok(sy_bpe_trainer_train(b, 1000, NULL, NULL, &none, err));      /* of no text at all: the bytes */
    assert_int_equal(sy_tokenizer_vocab(none), 257);
    sy_tokenizer_close(none);
    sy_bpe_trainer_close(b);
    sy_tokenizer_close(t);
    sy_tokenizer_close(u);
    json_decref(root);
}

static sy_status stop_at_half(void *arg, double share, sy_err *err)
{
    *(double *)arg = share;
    return share >= 0.5 ? sy_fail(err, SY_ESTOP, "stopped") : SY_OK;
}

static void learning_can_be_stopped(void **state)
{
    (void)state;
    json_t *root = read_fixture(), *text = json_object_get(root, "text");
    sy_bpe_trainer *b = NULL;
    sy_tokenizer *t = NULL;
    double share = 0;
    sy_err e = { 0 }, *err = &e;
    sy_expect_ok(sy_bpe_trainer_open(&b, err));
    sy_expect_ok(sy_bpe_trainer_feed(b, json_string_value(text), json_string_length(text), err));
    sy_expect_fail(sy_bpe_trainer_train(b, 500, stop_at_half, &share, &t, err), SY_ESTOP, "stopped");
    assert_true(share >= 0.5 && share < 0.6);
    sy_bpe_trainer_close(b);
    json_decref(root);
}

/* --- texts that are made to be slow ---------------------------------------------------------------------------------------- */

static void long_texts(void **state)
{
    (void)state;
    static const struct { const char *unit; size_t times; const char *what; } cases[] = {
        { "a", 131072, "one letter" }, { "\n", 43000, "blank lines" }, { " \n", 43000, "lines of a space" }, { "\xE4\xB8\xAD\xE6\x96\x87", 13000, "26,000 CJK characters" },
        { "\xCC\x81\xCC\xA7", 40000, "marks out of order" }, { "'", 100000, "quotes" }, { "1", 100000, "digits" }, { "\xF0\x9F", 60000, "halves of characters" }, { " ", 131072, "spaces" },
        { "<|endoftext|", 20000, "almost special" }, { "ab", 65536, "two letters" },
    };
    json_t *root = read_fixture(), *v = json_object_get(json_object_get(root, "variants"), "strips"), *text = json_object_get(root, "text");
    json_t *o = with_changes(json_object_get(root, "base"), v);
    char *json = json_dumps(o, 0), *play = malloc(json_string_length(text) + 70000);
    memcpy(play, json_string_value(text), json_string_length(text));
    memset(play + json_string_length(text), 'a', 70000);             /* a word that becomes "aaaa...": 4096 times, no further */
    sy_tokenizer *normal = from_text(json), *t = learn(play, json_string_length(text) + 70000, SIZE_MAX / 2, 700);
    int longest = 0;
    for (int i = 0; i < sy_tokenizer_vocab(t); i++) if (sy_tokenizer_bytes(t, i) > longest) longest = sy_tokenizer_bytes(t, i);
    assert_int_equal(longest, SY__TOKEN_MAX);
    for (size_t c = 0; c < SY_COUNT(cases); c++) {
        size_t len = strlen(cases[c].unit), n = len * cases[c].times, k;
        char *s = malloc(n);
        for (size_t i = 0; i < n; i++) s[i] = cases[c].unit[i % len];
        sy_test_case("%s", cases[c].what);
        clock_t began = clock();
        there_and_back(t, s, n);
        free(encode(normal, s, n, true, &k));
        double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
        if (seconds > 4) fail_msg("%s: %.1f s of processor time; quadratic?", cases[c].what, seconds);     /* 0.1 s, but sanitizers are slow */
        free(s);
    }
    sy_tokenizer_close(t);
    sy_tokenizer_close(normal);
    free(play);
    free_dump(json);
    json_decref(o);
    json_decref(root);
}

/* --- files that lie -------------------------------------------------------------------------------------------------------- */

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define ADDED(id, text, more) "[{\"id\":" id ",\"content\":\"" text "\"" more "}]"
/* A small tokenizer with one part replaced. */
#define FILE_(added, normalizer, pre, post, decoder, model, more) "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":" added \
    ",\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre ",\"post_processor\":" post ",\"decoder\":" decoder ",\"model\":" model more "}"
#define MODEL(more, vocab, merges) "{\"type\":\"BPE\"" more ",\"vocab\":{" vocab "},\"merges\":[" merges "]}"
#define SMALL "\"a\":0,\"b\":1,\"ab\":2"
#define OF_MODEL(m) FILE_("[]", "null", BYTE_LEVEL, "null", BYTE_LEVEL, m, "")
#define OF_ADDED(a) FILE_(a, "null", BYTE_LEVEL, "null", BYTE_LEVEL, MODEL("", SMALL, "\"a b\""), "")
#define OF_PRE(p) FILE_("[]", "null", p, "null", BYTE_LEVEL, MODEL("", SMALL, "\"a b\""), "")

static const struct { const char *json; sy_status want; const char *part, *what; } lies[] = {
    { OF_MODEL(MODEL("", SMALL, "\"a b\"")), SY_OK, NULL, "nothing wrong" },
    { OF_MODEL(MODEL("", SMALL, "[\"a\",\"b\"]")), SY_OK, NULL, "pairs as lists" },
    { OF_MODEL(MODEL("", SMALL, "\"a c\"")), SY_EFORMAT, "model.merges[0] names \"c\"", "an unknown token" },
    { OF_MODEL(MODEL("", SMALL, "\"a \xE4\xB8\xAD\"")), SY_EFORMAT, "model.merges[0] names", "a token outside of the letters" },
    { OF_MODEL(MODEL("", SMALL, "\"b a\"")), SY_EFORMAT, "model.merges[0] joins \"b\" and \"a\"", "a result that is no token" },
    { OF_MODEL(MODEL("", SMALL, "\"a b\",\"a b\"")), SY_EFORMAT, "model.merges[1] (\"a\" and \"b\") is model.merges[0] again", "a merge twice" },
    { OF_MODEL(MODEL("", SMALL, "\"ab\"")), SY_EFORMAT, "model.merges[0] must be two", "half a merge" },
    { OF_MODEL(MODEL("", SMALL, "\"a b c\"")), SY_EFORMAT, "model.merges[0] must be two", "three" },
    { OF_MODEL(MODEL("", SMALL, "\"a \"")), SY_EFORMAT, "model.merges[0] must be two", "an empty side" },
    { OF_MODEL(MODEL("", SMALL, "[\"a\",\"\"]")), SY_EFORMAT, "model.merges[0] names \"\"", "an empty side, as a list: a cycle" },
    { OF_MODEL(MODEL("", SMALL, "[\"a\",1]")), SY_EFORMAT, "model.merges[0] must be two", "a number" },
    { OF_MODEL(MODEL("", SMALL, "7")), SY_EFORMAT, "model.merges[0] must be two", "a number alone" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\":0", "")), SY_EFORMAT, "\"a\" and \"b\" both have id 0", "an id twice" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\":2", "")), SY_EFORMAT, "\"b\" has id 2, beyond the vocabulary of 2", "an id beyond" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\":9223372036854775807", "")), SY_EFORMAT, "beyond the vocabulary of 2", "an id far beyond" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\":-1", "")), SY_EFORMAT, "\"b\" has id -1", "a negative id" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\":1.5", "")), SY_EFORMAT, "the id of \"b\" is a real number", "half an id" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\":\"1\"", "")), SY_EFORMAT, "the id of \"b\" is a string", "an id in quotes" },
    { OF_MODEL(MODEL("", "\"a\":0,\"\":1", "")), SY_EFORMAT, "id 1 is an empty text", "an empty token" },
    { OF_MODEL(MODEL("", "\"a\":0,\"a\":1", "")), SY_EFORMAT, "", "a token twice" },
    { OF_MODEL(MODEL("", "\"a\":0,\"b\\u0000\":1", "")), SY_EFORMAT, "", "a NUL" },
    { OF_MODEL(MODEL("", "\"a\":0,\"\xC3\":1", "")), SY_EFORMAT, "", "broken UTF-8" },
    { OF_MODEL(MODEL(",\"dropout\":0.1", SMALL, "")), SY_EUNSUP, "model.dropout", "dropout" },
    { OF_MODEL(MODEL(",\"dropout\":\"0\"", SMALL, "")), SY_EUNSUP, "model.dropout", "dropout of a wrong type" },
    { OF_MODEL(MODEL(",\"byte_fallback\":true", SMALL, "")), SY_OK, NULL, "byte fallback over letters that are bytes" },
    { OF_MODEL(MODEL(",\"byte_fallback\":1", SMALL, "")), SY_EFORMAT, "model.byte_fallback is a whole number; it must be true or false", "a flag of a wrong type" },
    { OF_MODEL(MODEL(",\"continuing_subword_prefix\":\"##\"", SMALL ",\"##b\":3", "\"a ##b\"")), SY_OK, NULL, "a prefix" },
    { OF_MODEL(MODEL(",\"continuing_subword_prefix\":\"##\"", SMALL, "\"a b\"")), SY_EFORMAT, "\"b\" is shorter than the prefix", "a merge without the prefix" },
    { OF_MODEL(MODEL(",\"end_of_word_suffix\":\"</w>\"", SMALL, "")), SY_OK, NULL, "a suffix" },
    { OF_MODEL(MODEL(",\"end_of_word_suffix\":7", SMALL, "")), SY_EFORMAT, "model.end_of_word_suffix is a whole number", "a suffix of a wrong type" },
    { OF_MODEL(MODEL(",\"unk_token\":3", SMALL, "")), SY_EFORMAT, "model.unk_token is a whole number", "an unknown token of a wrong type" },
    { OF_MODEL(MODEL(",\"surprise\":3", SMALL, "")), SY_EUNSUP, "\"surprise\"", "an unknown field" },
    { OF_MODEL("{\"type\":\"Neural\",\"vocab\":{}}"), SY_EUNSUP, "\"Neural\" is not supported; BPE, Unigram, WordLevel and WordPiece are", "another model" },
    { OF_MODEL("{\"type\":\"Unigram\",\"vocab\":{}}"), SY_EFORMAT, "model.vocab is an object; it must be an array", "Unigram's vocabulary as an object" },
    { OF_MODEL("{\"type\":\"Unigram\",\"vocab\":[[\"a\",\"b\"]]}"), SY_EFORMAT, "model.vocab[0] must be a text and a score", "a text for a score" },
    { OF_MODEL("{\"type\":\"Unigram\",\"vocab\":[7]}"), SY_EFORMAT, "model.vocab[0] is a whole number", "a number for a pair" },
    { OF_MODEL("{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]],\"unk_id\":1}"), SY_EFORMAT, "model.unk_id is 1; it must be -1 to 0", "an unknown token beyond the vocabulary" },
    { OF_MODEL("{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]],\"alpha\":1}"), SY_EUNSUP, "\"alpha\"", "an unknown field of Unigram" },
    { OF_MODEL("{\"type\":\"WordPiece\",\"vocab\":{\"a\":0},\"continuing_subword_prefix\":\"##\"}"), SY_EFORMAT, "model.unk_token is missing", "WordPiece without an unknown token" },
    { OF_MODEL("{\"type\":\"WordPiece\",\"vocab\":{\"a\":0},\"unk_token\":\"a\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":-1}"), SY_EFORMAT, "model.max_input_chars_per_word is -1", "words of -1 characters" },
    { OF_MODEL("{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}}"), SY_EFORMAT, "model.unk_token is missing", "WordLevel without an unknown token" },
    { OF_MODEL("{\"vocab\":{},\"merges\":[]}"), SY_OK, NULL, "no type, as in old files" },
    { OF_MODEL("{\"vocab\":{}}"), SY_EFORMAT, "model.merges is missing", "no type and no merges" },
    { OF_MODEL("{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}"), SY_EFORMAT, "model.vocab is an array; it must be an object", "a list of tokens" },
    { OF_MODEL("{\"type\":\"BPE\",\"vocab\":{}}"), SY_EFORMAT, "model.merges is missing", "no merges" },
    { OF_MODEL("[]"), SY_EFORMAT, "model is an array", "a list for a model" },
    { OF_MODEL(MODEL("", "", "")), SY_OK, NULL, "no token at all" },
    { OF_ADDED(ADDED("3", "<x>", "")), SY_OK, NULL, "an added token" },
    { OF_ADDED(ADDED("2", "ab", "")), SY_OK, NULL, "an added token of the vocabulary" },
    { OF_ADDED(ADDED("3", "", "")), SY_EFORMAT, "added_tokens[0].content is empty", "an empty added token" },
    { OF_ADDED(ADDED("4", "<x>", "")), SY_EFORMAT, "added_tokens[0] (\"<x>\") has id 4, beyond the vocabulary; the next free one is 3", "a gap" },
    { OF_ADDED(ADDED("1", "<x>", "")), SY_EFORMAT, "has the id 1 of another token", "a taken id" },
    { OF_ADDED(ADDED("1", "a", "")), SY_EFORMAT, "gives \"a\" the id 1, model.vocab 0", "another id than in the vocabulary" },
    { OF_ADDED(ADDED("99999999999", "<x>", "")), SY_EFORMAT, "added_tokens[0].id is 99999999999", "a huge id" },
    { OF_ADDED(ADDED("-3", "<x>", "")), SY_EFORMAT, "added_tokens[0].id is -3", "a negative id" },
    { OF_ADDED(ADDED("3.0", "<x>", "")), SY_EFORMAT, "added_tokens[0].id is a real number", "a real id" },
    { OF_ADDED(ADDED("3", "<x>", ",\"lstrip\":1")), SY_EFORMAT, "added_tokens[0].lstrip is a whole number", "a flag of a wrong type" },
    { OF_ADDED(ADDED("3", "<x>", ",\"colour\":1")), SY_EUNSUP, "\"colour\"", "an unknown flag" },
    { OF_ADDED("[{\"id\":3,\"content\":\"<x>\"},{\"id\":4,\"content\":\"<x>\"}]"), SY_EFORMAT, "3 and 4 are the same text", "an added token twice" },
    { OF_ADDED("[{\"id\":3,\"content\":\"<x>\"},{\"id\":4,\"content\":\"<x>\",\"normalized\":false}]"), SY_EFORMAT, "are the same text", "twice, before and after normalisation" },
    { OF_ADDED("[{\"id\":3}]"), SY_EFORMAT, "added_tokens[0].content is missing", "no content" },
    { OF_ADDED("[3]"), SY_EFORMAT, "added_tokens[0] is a whole number", "a number for a token" },
    { OF_ADDED("{}"), SY_EFORMAT, "added_tokens is an object", "an object for a list" },
    { FILE_("[{\"id\":1,\"content\":\"\xC3\xA9\"}]", "null", BYTE_LEVEL, "null", BYTE_LEVEL, MODEL("", "\"a\":0,\"\xC3\xA9\":1", ""), ""), SY_OK, NULL, "an added token whose letters spell other bytes" },
    { OF_PRE("null"), SY_OK, NULL, "no pre-tokenizer: characters" },
#define SPLIT(pattern, behavior, invert) "{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":" behavior ",\"invert\":" invert "}"
    { OF_PRE(SPLIT("{\"Regex\":\"(a+)+$\"}", "\"Isolated\"", "false")), SY_OK, NULL, "a catastrophic regex, which texts will tell" },
    { OF_PRE(SPLIT("{\"Regex\":\"(?<=a)b\"}", "\"Removed\"", "true")), SY_OK, NULL, "look-behind" },
    { OF_PRE(SPLIT("{\"Regex\":\"(?<=a+)b\"}", "\"Removed\"", "true")), SY_EFORMAT, "pre_tokenizer.pattern.Regex: \"(?<=a+)b\" is no pattern", "look-behind without end" },
    { OF_PRE(SPLIT("{\"Regex\":\"a(\"}", "\"Removed\"", "true")), SY_EFORMAT, "pre_tokenizer.pattern.Regex: \"a(\" is no pattern", "half a regex" },
    { OF_PRE(SPLIT("{\"Regex\":\"[a&&b]\"}", "\"Removed\"", "true")), SY_EUNSUP, "\"[a&&b]\" has && in a class", "a set that PCRE2 reads otherwise" },
    { OF_PRE(SPLIT("{\"Regex\":\"a\\\\h\"}", "\"Removed\"", "true")), SY_EUNSUP, "a backslash before one of h", "an escape that PCRE2 reads otherwise" },
    { OF_PRE(SPLIT("{\"Regex\":\"(?m:a)\"}", "\"Removed\"", "true")), SY_EUNSUP, "(? with something else", "a group that PCRE2 reads otherwise" },
    { OF_PRE(SPLIT("{\"Regex\":\"\"}", "\"Removed\"", "true")), SY_EFORMAT, "an empty pattern", "an empty regex" },
    { OF_PRE(SPLIT("{\"String\":\" \"}", "\"Isolated\"", "false")), SY_OK, NULL, "a text for a pattern" },
    { OF_PRE(SPLIT("{\"String\":\"\"}", "\"Isolated\"", "false")), SY_EUNSUP, "pre_tokenizer.pattern.String is empty", "an empty text" },
    { OF_PRE(SPLIT("{\"String\":\" \",\"Regex\":\"a\"}", "\"Isolated\"", "false")), SY_EFORMAT, "must have one of", "two patterns" },
    { OF_PRE(SPLIT("{\"Regex\":7}", "\"Isolated\"", "false")), SY_EFORMAT, "pre_tokenizer.pattern.Regex is a whole number", "a number for a pattern" },
    { OF_PRE(SPLIT("{\"Regex\":\" \"}", "\"MergedWithNext\"", "false")), SY_OK, NULL, "another behaviour" },
    { OF_PRE(SPLIT("{\"Regex\":\" \"}", "\"Swallowed\"", "false")), SY_EUNSUP, "pre_tokenizer.behavior is \"Swallowed\"; known are Removed, Isolated", "a behaviour that there is not" },
    { OF_PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\"}"), SY_OK, NULL, "another pre-tokenizer" },
    { OF_PRE("{\"type\":\"Metaspace\",\"replacement\":\"__\"}"), SY_EFORMAT, "pre_tokenizer.replacement must be one character", "two characters for one" },
    { OF_PRE("{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}"), SY_EUNSUP, "prepend_scheme is \"last\"; known are never, first, always", "a scheme that there is not" },
    { OF_PRE("{\"type\":\"UnicodeScripts\"}"), SY_EUNSUP, "pre_tokenizer of type \"UnicodeScripts\" is not supported; known are BertPreTokenizer, ByteLevel", "a pre-tokenizer that is not known" },
    { OF_PRE("{\"type\":\"FixedLength\",\"length\":0}"), SY_EFORMAT, "pre_tokenizer.length is 0", "pieces of nothing" },
    { OF_PRE("{\"type\":\"Digits\",\"individual_digits\":true}"), SY_OK, NULL, "digits alone" },
    { OF_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Digits\"}]}"), SY_OK, NULL, "a step after ByteLevel" },
    { OF_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":\"yes\"}," BYTE_LEVEL "]}"), SY_EFORMAT, "pre_tokenizer.pretokenizers[0].individual_digits is a string", "a flag inside" },
    { OF_PRE("{\"type\":\"Sequence\",\"pretokenizers\":7}"), SY_EFORMAT, "pre_tokenizer.pretokenizers is a whole number", "a sequence of a wrong type" },
    { OF_PRE("{\"type\":7}"), SY_EFORMAT, "pre_tokenizer.type is a whole number", "a type of a wrong type" },
    { OF_PRE("[]"), SY_EFORMAT, "pre_tokenizer is an array", "a list for a component" },
    { OF_PRE("{\"type\":\"ByteLevel\",\"pattern\":1}"), SY_EUNSUP, "\"pattern\"", "an unknown field of a component" },
    { OF_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\",\"pretokenizers\":"
             "[{\"type\":\"Sequence\",\"pretokenizers\":[]}]}]}]}]}"), SY_EUNSUP, "sequences inside sequences", "nesting" },
#define DIGITS "{\"type\":\"Digits\",\"individual_digits\":true},"
#define SIX DIGITS DIGITS DIGITS DIGITS DIGITS DIGITS
    { OF_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[" SIX SIX SIX SIX BYTE_LEVEL "]}"), SY_EUNSUP, "more than 24 steps", "many steps" },
#define OF_NORMAL(n) FILE_("[]", n, BYTE_LEVEL, "null", BYTE_LEVEL, MODEL("", SMALL, ""), "")
#define OF_POST(p) FILE_("[]", "null", BYTE_LEVEL, p, BYTE_LEVEL, MODEL("", SMALL, ""), "")
#define OF_DECODER(d) FILE_("[]", "null", BYTE_LEVEL, "null", d, MODEL("", SMALL, ""), "")
    { OF_NORMAL("{\"type\":\"NFKC\"}"), SY_OK, NULL, "another normalizer" },
    { OF_NORMAL("{\"type\":\"Upside\"}"), SY_EUNSUP, "normalizer of type \"Upside\"", "a normalizer that there is not" },
    { OF_NORMAL("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a*\"},\"content\":\"b\"}"), SY_EUNSUP, "normalizer.pattern may match nothing", "a pattern that matches nothing" },
    { OF_NORMAL("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"?\"}"), SY_EFORMAT, "precompiled_charsmap is no base64: byte 0x3f at 0", "no base64" },
    { OF_NORMAL("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}"), SY_EFORMAT, "precompiled_charsmap has 0 bytes", "an empty table" },
    { OF_NORMAL("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////////////w==\"}"), SY_EFORMAT, "gives its trie 4294967295", "a table that is larger than itself" },
    { OF_POST("{\"type\":\"TemplateProcessing\"}"), SY_EFORMAT, "post_processor.single is missing", "half a template" },
#define TEMPLATE(single, tokens) "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[],\"special_tokens\":{" tokens "}}"
#define A "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define S "{\"SpecialToken\":{\"id\":\"s\",\"type_id\":0}}"
    { OF_POST(TEMPLATE(S "," A, "\"s\":{\"id\":\"s\",\"ids\":[2],\"tokens\":[\"ab\"]}")), SY_OK, NULL, "a template" },
    { OF_POST(TEMPLATE(S "," A, "\"s\":{\"id\":\"s\",\"ids\":[3],\"tokens\":[\"ab\"]}")), SY_EFORMAT, "post_processor.special_tokens.s.ids is 3; ids go from 0 to 2", "an id beyond the vocabulary in a template" },
    { OF_POST(TEMPLATE(S "," A, "")), SY_EFORMAT, "post_processor.special_tokens.s is missing", "a template of an unknown token" },
    { OF_POST(TEMPLATE(A "," A, "")), SY_EUNSUP, "stands in a template once", "a text twice" },
    { OF_POST(TEMPLATE("", "")), SY_EUNSUP, "leaves the text out", "a text nowhere" },
    { OF_POST("{\"type\":\"BertProcessing\",\"sep\":[\"a\",0],\"cls\":[\"a\",-1]}"), SY_EFORMAT, "post_processor.cls[1] is -1", "a negative id in a frame" },
    { OF_DECODER("null"), SY_OK, NULL, "no decoder" },
    { OF_DECODER("{\"type\":\"WordPiece\"}"), SY_OK, NULL, "another decoder" },
    { OF_DECODER("{\"type\":\"Morse\"}"), SY_EUNSUP, "decoder of type \"Morse\"", "a decoder that there is not" },
    { OF_DECODER("{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"), SY_EFORMAT, "decoder.start is -1", "a negative count" },
    { FILE_("[]", "null", BYTE_LEVEL, "null", BYTE_LEVEL, MODEL("", SMALL, ""), ",\"extra\":1"), SY_EUNSUP, "\"extra\"", "an unknown part" },
    { "{\"version\":\"2.0\"}", SY_EUNSUP, "version \"2.0\"", "another version" },
    { "{\"version\":\"1.0\",\"truncation\":{\"max_length\":5}}", SY_EFORMAT, "model is missing", "truncation, which is left out, and nothing else" },
    { FILE_("[]", "null", BYTE_LEVEL, "null", BYTE_LEVEL, MODEL("", SMALL, ""), ",\"padding\":7"), SY_EFORMAT, "", "padding of a wrong type" },
    { "{}", SY_EFORMAT, "model is missing", "nothing" },
    { "[]", SY_EFORMAT, "the file is an array", "a list" },
    { "", SY_EFORMAT, "", "no JSON" },
    { "{\"model\":", SY_EFORMAT, "", "half a file" },
};

static void lies_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(lies); i++) {
        sy_tokenizer *t = NULL;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", lies[i].what);
        sy_status st = sy_tokenizer_from_memory(&t, lies[i].json, strlen(lies[i].json), "tokenizer.json", err);
        if (lies[i].want == SY_OK) {
            if (st != SY_OK) fail_msg("%s: %s", lies[i].what, e.text);
            sy_tokenizer_close(t);
            continue;
        }
        sy_expect_fail(st, lies[i].want, lies[i].part);
        if (strncmp(e.text, "tokenizer.json: ", 16) || strchr(e.text, '\n')) fail_msg("%s: the sentence is \"%s\"", lies[i].what, e.text);
    }
}

static void large_lies_are_named(void **state)
{
    (void)state;
    sy_err e = { 0 }, *err = &e;
    sy_tokenizer *t = NULL;
    sy_buf b = { 0 };
    char *big = malloc(1 << 20), *deep = malloc(120000);
    memset(big, 'x', 1 << 20);
    sy_buf_text(&b, FILE_("[{\"id\":3,\"content\":\"", "", "", "", "", "", ""));
    b.n = (size_t)(strstr(b.data, "\"content\":\"") - b.data) + 11;
    sy_buf_put(&b, big, 1 << 20);
    sy_buf_text(&b, "\"}],\"pre_tokenizer\":" BYTE_LEVEL ",\"decoder\":" BYTE_LEVEL ",\"model\":" MODEL("", SMALL, "") "}");
    sy_expect_fail(sy_tokenizer_from_memory(&t, b.data, b.n, "tokenizer.json", err), SY_EUNSUP, "added_tokens[0].content has 1048576 bytes; 4096 is the most");
    sy_buf_clear(&b);
    sy_buf_text(&b, "{\"pre_tokenizer\":" BYTE_LEVEL ",\"decoder\":" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"");
    sy_buf_put(&b, big, 1 << 20);
    sy_buf_text(&b, "\":0}}}");
    sy_expect_fail(sy_tokenizer_from_memory(&t, b.data, b.n, "tokenizer.json", err), SY_EUNSUP, "model.vocab: id 0 has a text of 1048576 bytes");
    memset(deep, '[', 60000);
    memset(deep + 60000, ']', 60000);
    sy_expect_fail(sy_tokenizer_from_memory(&t, deep, 120000, "tokenizer.json", err), SY_EFORMAT, "deeper than 512");
    sy_buf_free(&b);
    free(big);
    free(deep);
}

/* A vocabulary without some bytes says so, and gives nothing wrong. */
static void bytes_without_an_id(void **state)
{
    (void)state;
    sy_tokenizer *t = from_text(OF_MODEL(MODEL("", SMALL, "\"a b\"")));
    int32_t id[8];
    size_t n;
    sy_err e = { 0 }, *err = &e;
    sy_expect_ok(sy_tokenizer_encode(t, "abba", 4, id, &n, err));
    sy_expect_ids("ids", id, (int[]){ 2, 1, 0 }, n);
    sy_expect_fail(sy_tokenizer_encode(t, "ab c", 4, id, &n, err), SY_EUNSUP, "a byte 0x20");
    sy_expect_fail(sy_tokenizer_encode(t, "\xFF", 1, id, &n, err), SY_EUNSUP, "a byte 0xff");
    sy_tokenizer_close(t);
}

static void config_names_the_end(void **state)
{
    (void)state;
    static const struct { const char *config; int eot; const char *part; } cases[] = {
        { "{\"eos_token\":\"<end>\"}", 4, NULL }, { "{\"eos_token\":{\"content\":\"<end>\",\"lstrip\":false}}", 4, NULL }, { "{\"eos_token\":null}", -1, NULL }, { "{}", 3, NULL }, { NULL, 3, NULL },
        { "{\"eos_token\":\"a\"}", 0, NULL }, { "{\"eos_token\":\"<new>\"}", 5, NULL }, { "{\"eos_token\":5}", 0, "'eos_token' is no text" }, { "[]", 0, "no JSON object" }, { "{", 0, "" },
    };
    static const char json[] = OF_ADDED("[{\"id\":3,\"content\":\"<|endoftext|>\",\"special\":true},{\"id\":4,\"content\":\"<end>\",\"special\":true}]");
    char dir[1024], path[1024], config[1024];
    sy_expect_ok(sy_path(dir, sizeof dir, sy_test_dir(), "config", err));
    sy_expect_ok(sy_path(path, sizeof path, dir, "tokenizer.json", err));
    sy_expect_ok(sy_path(config, sizeof config, dir, "tokenizer_config.json", err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_tokenizer *t = NULL, *u = NULL;
        sy_err e = { 0 }, *err = &e;
        sy_test_case("%s", cases[i].config ? cases[i].config : "no file");
        sy_expect_ok(sy_remove_tree(dir, err));
        sy_expect_ok(sy_mkdirs(dir, err));
        sy_expect_ok(sy_file_write(path, json, strlen(json), err));
        if (cases[i].config) sy_expect_ok(sy_file_write(config, cases[i].config, strlen(cases[i].config), err));
        if (cases[i].part) { sy_expect_fail(sy_tokenizer_load(&t, dir, err), SY_EFORMAT, cases[i].part); continue; }
        sy_expect_ok(sy_tokenizer_load(&t, path, err));
        assert_int_equal(sy_tokenizer_eot(t), cases[i].eot);
        sy_expect_ok(sy_tokenizer_save(t, dir, err));
        sy_expect_ok(sy_tokenizer_load(&u, dir, err));
        assert_int_equal(sy_tokenizer_eot(u), cases[i].eot);
        assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
        sy_tokenizer_close(t);
        sy_tokenizer_close(u);
    }
    sy_err e = { 0 }, *err = &e;
    sy_tokenizer *t = NULL;
    sy_expect_fail(sy_tokenizer_load(&t, "/nowhere/at/all", err), SY_ENOENT, "/nowhere/at/all");
}

/* --- memory that runs out ---------------------------------------------------------------------------------------------------- */

/* Learns, writes, reads and uses a tokenizer with everything in it; the status of the first failure. */
static sy_status whole_life(const char *json, size_t bytes, sy_err *err)
{
    static const char text[] = "one everyone  two<mask> e\xCC\x81\xCC\x81 <|endoftext|> aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \xE4\xB8\xAD\xCC\xA7\xCC\x81 12";
    sy_bpe_trainer *b = NULL;
    sy_tokenizer *t = NULL, *u = NULL;
    sy_buf out = { 0 };
    int32_t id[1024];
    size_t n;
    sy_status st = sy_tokenizer_from_memory(&t, json, bytes, "tokenizer.json", err);
    if (st == SY_OK) st = sy_tokenizer_encode_special(t, text, sizeof text - 1, id, &n, err);
    if (st == SY_OK) st = sy_tokenizer_decode(t, id, n, &out, err);
    if (st == SY_OK) st = sy_tokenizer_save(t, sy_test_dir(), err);
    if (st == SY_OK) st = sy_bpe_trainer_open(&b, err);
    if (st == SY_OK) st = sy_bpe_trainer_feed(b, text, sizeof text - 1, err);
    if (st == SY_OK) st = sy_bpe_trainer_train(b, 270, NULL, NULL, &u, err);
    sy_bpe_trainer_close(b);
    sy_tokenizer_close(t);
    sy_tokenizer_close(u);
    sy_buf_free(&out);
    return st;
}

static void memory_runs_out(void **state)
{
    (void)state;
    static const char json[] = FILE_("[{\"id\":5,\"content\":\"<|endoftext|>\",\"special\":true},{\"id\":6,\"content\":\"<mask>\",\"lstrip\":true},{\"id\":7,\"content\":\"one\",\"single_word\":true}]",
        "{\"type\":\"NFC\"}", "{\"type\":\"Sequence\",\"pretokenizers\":[" DIGITS "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}", "null", BYTE_LEVEL,
        MODEL("", "\"a\":0,\"b\":1,\"ab\":2,\"aa\":3,\"aaaa\":4%s", "\"a b\",\"a a\",[\"aa\",\"aa\"]"), "");
    /* the bytes of the text above get ids, so that it can be encoded */
    sy_buf b = { 0 }, letters = { 0 };
    int next = 5;
    for (int c = 0; c < 256; c++) {
        char utf8[5] = "";
        if (c == 'a' || c == 'b' || c == '"' || c == '\\') continue;
        uint32_t cp = sy__byte_letter(c);
        if (cp < 128) utf8[0] = (char)cp;
        else { utf8[0] = (char)(0xC0 | cp >> 6); utf8[1] = (char)(0x80 | (cp & 63)); }
        sy_buf_printf(&letters, ",\"%s\":%d", utf8, next++);
    }
    sy_buf_printf(&b, json, letters.data);
    for (int k = 0; k < 3; k++) {                    /* the ids of the added tokens follow */
        char from[32], to[32];
        snprintf(from, sizeof from, "\"id\":%d,", 5 + k);
        snprintf(to, sizeof to, "\"id\":%d,", next + k);
        char *at = strstr(b.data, from);
        sy_buf c = { 0 };
        sy_buf_put(&c, b.data, (size_t)(at - b.data));
        sy_buf_text(&c, to);
        sy_buf_text(&c, at + strlen(from));
        sy_buf_free(&b);
        b = c;
    }
    sy_expect_ok(whole_life(b.data, b.n, err));
    for (int sticky = 0; sticky < 2; sticky++) {
        uint64_t n = 1;
        for (;; n += n < 400 ? 1 : 7) {              /* past the JSON, whose every text is one, a sample */
            sy_err e = { 0 };
            sy_test_case("allocation %llu%s", (unsigned long long)n, sticky ? " and all later ones" : "");
            uint64_t before = sy_alloc_calls();
            sy_alloc_fail_at(n, sticky);
            sy_status st = whole_life(b.data, b.n, &e);
            sy_alloc_fail_at(0, 0);
            if (st == SY_OK && sy_alloc_calls() - before < n) break;
            if (st != SY_ENOMEM && st != SY_OK) fail_msg("allocation %llu: %s (%s)", (unsigned long long)n, e.text, sy_status_text(st));
            if (sticky && st == SY_OK) fail_msg("allocation %llu failed and nobody noticed", (unsigned long long)n);
        }
        assert_true(n > 200);
    }
    sy_buf_free(&b);
    sy_buf_free(&letters);
}

/* --- real vocabularies ------------------------------------------------------------------------------------------------------- */

static void real_vocabularies(void **state)
{
    (void)state;
    static const struct { const char *name; int vocab; } cases[] = { { "gptneox", 50277 }, { "starcoder", 49152 } };
    if (!sy_test_data()) { print_message("no real data beside the repository: skipped\n"); skip(); }
    char path[1024];
    sy_buf text = { 0 };
    sy_expect_ok(sy_path(path, sizeof path, sy_test_data(), "text/shakespeare.txt", err));
    sy_expect_ok(sy_file_read(path, 1 << 24, &text, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        sy_tokenizer *t = NULL, *u = NULL;
        char dir[1100];
        sy_test_case("%s", cases[i].name);
        snprintf(dir, sizeof dir, "%s/tokenizers/%s", sy_test_data(), cases[i].name);
        sy_expect_ok(sy_tokenizer_load(&t, dir, err));
        assert_int_equal(sy_tokenizer_vocab(t), cases[i].vocab);
        assert_int_equal(sy_tokenizer_eot(t), 0);
        there_and_back(t, text.data, text.n);
        sy_expect_ok(sy_tokenizer_save(t, sy_test_dir(), err));
        sy_expect_ok(sy_tokenizer_load(&u, sy_test_dir(), err));
        assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(u));
        sy_tokenizer_close(t);
        sy_tokenizer_close(u);
    }
    sy_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learned_file_is_current), cmocka_unit_test(same_ids_as_the_package), cmocka_unit_test(bytes), cmocka_unit_test(ids_tell_tokenizers_apart), cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(cuts_are_those_of_the_pattern), cmocka_unit_test(words_by_the_definition), cmocka_unit_test(learning_by_the_definition), cmocka_unit_test(learning_ignores_order),
        cmocka_unit_test(learning_can_be_stopped), cmocka_unit_test(long_texts), cmocka_unit_test(lies_are_named), cmocka_unit_test(large_lies_are_named), cmocka_unit_test(bytes_without_an_id),
        cmocka_unit_test(config_names_the_end), cmocka_unit_test(memory_runs_out), cmocka_unit_test(real_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
