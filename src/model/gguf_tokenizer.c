/* model/gguf_tokenizer.c - tokenizer.json and its neighbours as tokenizer.* keys, and back. */
#include "model/gguf_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "model/gguf_rules.h"
#include "model/pretoken.h"
#include "model/tokenizer_config.h"
#include "model/tokenizer_parts.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6, MAX_FILE = 1 << 29 };

/* --- from a folder --------------------------------------------------------------------------------------------------------------- */

typedef struct vocab { const char **text; int32_t *type; float *score; int n, size; sy_arena a; } vocab;     /* size: ids of the tokenizer */

static const char *text_at(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

static sy_status put_id(vocab *v, const char *text, long long id, int type, const char *path, sy_err *err)
{
    if (id < 0 || id >= v->n) return sy_fail(err, SY_ESHAPE, "%s: '%.60s' has id %lld, the model's embedding has %d rows", path, text, id, v->n);
    if (v->text[id] && type == NORMAL) return sy_fail(err, SY_EFORMAT, "%s: id %lld is both '%.60s' and '%.60s'", path, id, v->text[id], text);
    v->text[id] = text;
    v->type[id] = type;
    if (id >= v->size) v->size = (int)id + 1;
    return SY_OK;
}

static bool is_byte(const char *text) { return strlen(text) == 6 && !strncmp(text, "<0x", 3) && text[5] == '>'; }

static sy_status fill_vocab(vocab *v, const json_t *root, const char *path, int rows, sy_err *err)
{
    const json_t *model = json_object_get(root, "model"), *words = json_object_get(model, "vocab"), *added = json_object_get(root, "added_tokens"), *t;
    const char *key, *unk = text_at(model, "unk_token");
    json_t *id;
    size_t i;
    v->n = rows;
    v->text = sy_arena_array(&v->a, (size_t)rows, sizeof *v->text);
    v->type = sy_arena_array(&v->a, (size_t)rows, sizeof *v->type);
    v->score = sy_arena_array(&v->a, (size_t)rows, sizeof *v->score);
    if (!v->text || !v->type || !v->score) return sy_fail(err, SY_ENOMEM, "no memory for a vocabulary of %d", rows);
    if (!json_is_object(words)) return sy_fail(err, SY_EFORMAT, "%s: model.vocab must be an object", path);
    json_object_foreach((json_t *)words, key, id) {
        if (!json_is_integer(id)) return sy_fail(err, SY_EFORMAT, "%s: '%.60s' has no whole number as id", path, key);
        SY_TRY(put_id(v, key, json_integer_value(id), NORMAL, path, err));
    }
    for (int k = 0; k < v->n; k++) if (v->text[k]) v->type[k] = unk && !strcmp(v->text[k], unk) ? UNKNOWN : is_byte(v->text[k]) && json_is_true(json_object_get(model, "byte_fallback")) ? BYTE : NORMAL;
    json_array_foreach(added, i, t) {
        const char *text = text_at(t, "content");
        const json_t *in = text ? json_object_get(words, text) : NULL;
        if (!text) return sy_fail(err, SY_EFORMAT, "%s: added token %zu has no content", path, i);
        if (!in) in = json_object_get(t, "id");
        if (!json_is_integer(in)) return sy_fail(err, SY_EFORMAT, "%s: added token '%.60s' has no id", path, text);
        long long n = json_integer_value(in);
        bool unknown = n >= 0 && n < v->n && v->type[n] == UNKNOWN;
        SY_TRY(put_id(v, text, n, unknown ? UNKNOWN : json_is_true(json_object_get(t, "special")) ? CONTROL : USER, path, err));
    }
    for (int k = 0; k < v->n; k++) {
        if (v->text[k]) continue;
        if (!(v->text[k] = sy_arena_printf(&v->a, "[PAD%d]", k))) return sy_fail(err, SY_ENOMEM, "no memory for a vocabulary of %d", rows);
        v->type[k] = UNUSED;
    }
    return SY_OK;
}

typedef struct cuts { const char *regex[8]; int n; sy_arena *a; } cuts;          /* one after the other; the last one stays NULL */

/* An expression with line ends as \r and \n. */
static sy_status add_cut(cuts *c, const char *regex, bool *fits, sy_err *err)
{
    sy_buf b = { 0 };
    if (c->n + 1 == (int)SY_COUNT(c->regex)) { *fits = false; return SY_OK; }
    for (; *regex; regex++) {
        if (*regex == '\r' || *regex == '\n') sy_buf_text(&b, *regex == '\r' ? "\\r" : "\\n");
        else sy_buf_put(&b, regex, 1);
    }
    c->regex[c->n++] = b.failed ? NULL : sy_arena_strdup(c->a, b.data ? b.data : "");
    sy_buf_free(&b);
    return c->regex[c->n - 1] ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a pattern");
}

/* What a pre-tokenizer cuts by; *fits false: it does something else, too. Matches that leave no gaps may be kept (isolated) or be what is left. */
static sy_status take_cuts(const json_t *p, cuts *c, bool *fits, sy_err *err)
{
    const char *type = text_at(p, "type"), *behaviour = text_at(p, "behavior"), *regex = text_at(json_object_get(p, "pattern"), "Regex");
    const json_t *list = json_object_get(p, "pretokenizers"), *step;
    bool invert = json_is_true(json_object_get(p, "invert"));
    size_t i;
    if (type && !strcmp(type, "Sequence")) {
        json_array_foreach(list, i, step) if (*fits) SY_TRY(take_cuts(step, c, fits, err));
    } else if (type && !strcmp(type, "ByteLevel")) {
        *fits = json_is_false(json_object_get(p, "add_prefix_space"));
        if (*fits && !json_is_false(json_object_get(p, "use_regex"))) return add_cut(c, SY__PATTERN_GPT2, fits, err);
    } else if (type && !strcmp(type, "Digits")) {
        *fits = json_is_true(json_object_get(p, "individual_digits"));
        if (*fits) return add_cut(c, "\\p{N}", fits, err);
    } else if (type && !strcmp(type, "Split") && regex && behaviour) {
        *fits = !strcmp(behaviour, "Isolated") && !invert;
        if (*fits || (!strcmp(behaviour, "Removed") && invert)) {
            SY_TRY(add_cut(c, regex, fits, err));
            *fits |= c->n && sy__cut_of(c->regex[c->n - 1]);
        }
    } else *fits = false;
    return SY_OK;
}

/* The name of the rule that cuts text; NULL: it has none. */
static sy_status pre_of(const json_t *root, sy_arena *a, const char **pre, bool *ignores, sy_err *err)
{
    cuts c = { .a = a };
    const sy_gguf_rule *r = NULL;
    bool fits = json_is_object(json_object_get(root, "pre_tokenizer"));
    if (fits) SY_TRY(take_cuts(json_object_get(root, "pre_tokenizer"), &c, &fits, err));
    if (!fits) return SY_OK;
    SY_TRY(sy_gguf_rule_of(c.regex, json_is_true(json_object_get(json_object_get(root, "model"), "ignore_merges")), &r, err));
    if (!r) return SY_OK;
    *ignores = r->ignore_merges;
    *pre = sy_arena_printf(a, "%.*s", (int)strcspn(r->names, " "), r->names);
    return *pre ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for a name");
}

/* The two halves of a merge, however the file writes it. */
static bool halves(const json_t *m, sy_buf *b)
{
    sy_buf_clear(b);
    if (json_is_string(m)) sy_buf_text(b, json_string_value(m));
    else if (json_array_size(m) == 2 && json_is_string(json_array_get(m, 0)) && json_is_string(json_array_get(m, 1)))
        sy_buf_printf(b, "%s %s", json_string_value(json_array_get(m, 0)), json_string_value(json_array_get(m, 1)));
    else return false;
    return strchr(b->data ? b->data : "", ' ') != NULL;
}

static sy_status put_merges(sy_gguf_writer *w, const json_t *model, const char *path, sy_err *err)
{
    const json_t *merges = json_object_get(model, "merges"), *m;
    sy_buf b = { 0 };
    size_t i;
    sy_status st = SY_OK;
    sy_gguf_put_array(w, "tokenizer.ggml.merges", SY_GGUF_TEXT, json_array_size(merges));
    json_array_foreach(merges, i, m) {
        if (!halves(m, &b)) { st = sy_fail(err, SY_EFORMAT, "%s: merge %zu is no pair", path, i); break; }
        sy_gguf_elem_text(w, b.data, b.n);
    }
    if (st == SY_OK && b.failed) st = sy_fail(err, SY_ENOMEM, "no memory for the merges of %s", path);
    sy_buf_free(&b);
    return st;
}

/* SentencePiece merges by the score of what comes out: minus the rank of the first merge that makes it gives the same order. */
static sy_status scores_of(vocab *v, const json_t *model, const char *path, sy_err *err)
{
    const json_t *merges = json_object_get(model, "merges"), *words = json_object_get(model, "vocab"), *m;
    sy_buf b = { 0 };
    size_t i;
    sy_status st = SY_OK;
    for (int k = 0; k < v->n; k++) v->score[k] = v->type[k] == NORMAL ? -(float)json_array_size(merges) - 1 : 0;
    json_array_foreach(merges, i, m) {
        if (!halves(m, &b)) { st = sy_fail(err, SY_EFORMAT, "%s: merge %zu is no pair", path, i); break; }
        char *gap = strchr(b.data, ' ');
        memmove(gap, gap + 1, strlen(gap));
        const json_t *id = json_object_get(words, b.data);
        long long k = json_is_integer(id) ? json_integer_value(id) : -1;
        if (k >= 0 && k < v->n && v->score[k] < -(float)i) v->score[k] = -(float)i;
    }
    sy_buf_free(&b);
    return st;
}

static int id_of(const vocab *v, const char *text)
{
    for (int i = 0; text && i < v->n; i++) if (v->type[i] != UNUSED && !strcmp(v->text[i], text)) return i;
    return -1;
}

/* The ids that generation_config.json or config.json give a name; *n of at most `room`. Files that are not there or no JSON are extras, so nothing is said. */
static void named_ids(const char *dir, const char *name, int rows, int *id, int *n, int room)
{
    static const char *const files[] = { "generation_config.json", "config.json" };
    char path[1100];
    sy_err ignored;
    *n = 0;
    for (size_t f = 0; f < SY_COUNT(files) && !*n; f++) {
        json_t *root = NULL;
        if (sy_path(path, sizeof path, dir, files[f], &ignored) != SY_OK || !sy_file_exists(path) || sy_json_read(&root, path, MAX_FILE, &ignored) != SY_OK) continue;
        const json_t *v = json_object_get(root, name);
        for (size_t i = 0; i < (json_is_array(v) ? json_array_size(v) : 1) && *n < room; i++) {
            const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
            if (json_is_integer(one) && json_integer_value(one) >= 0 && json_integer_value(one) < rows) id[(*n)++] = (int)json_integer_value(one);
        }
        json_decref(root);
    }
}

enum { MOST_ENDS = 16 };

/* The id that the tokenizer's files name, else the first of the model's; further ids that end a text are "eot" and "eom" there. */
static sy_status put_special(sy_gguf_writer *w, const vocab *v, const sy_beside *b, const char *dir, sy_ledger *l, sy_err *err)
{
    static const struct { const char *text, *id, *key; } special[] = {
        { "bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id" }, { "eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id" }, { "unk_token", NULL, "tokenizer.ggml.unknown_token_id" },
        { "pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id" } };
    static const char *const ends[] = { "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id" };
    for (size_t i = 0; i < SY_COUNT(special); i++) {
        int from[MOST_ENDS], n = 0, id = id_of(v, sy_beside_text(b, special[i].text)), more = 0;
        if (special[i].id) named_ids(dir, special[i].id, v->n, from, &n, MOST_ENDS);
        if (id < 0 && n) id = from[0];
        if (id >= 0) sy_gguf_put_u32(w, special[i].key, (uint32_t)id);
        if (strcmp(special[i].text, "eos_token")) continue;
        for (int k = 0; k < n; k++) {
            bool twice = from[k] == id;
            for (int j = 0; j < k; j++) twice |= from[j] == from[k];
            if (twice) continue;
            if (more < (int)SY_COUNT(ends)) sy_gguf_put_u32(w, ends[more++], (uint32_t)from[k]);
            else SY_TRY(sy_ledger_add(l, SY_L_NOTE, "generation_config.json", "eos_token_id has more than three ids; a GGUF file names three", 0, err));
        }
    }
    return SY_OK;
}

static sy_status put_templates(sy_gguf_writer *w, const char *dir, const sy_beside *b, sy_err *err)
{
    json_t *all = NULL, *v;
    const char *name;
    sy_buf key = { 0 };
    SY_TRY(sy_templates_read(&all, dir, b->config, b->file, err));
    json_object_foreach(all, name, v) {
        sy_buf_clear(&key);
        sy_buf_text(&key, "tokenizer.chat_template");
        if (strcmp(name, "default")) sy_buf_printf(&key, ".%s", name);
        if (!key.failed) sy_gguf_put_text(w, key.data, json_string_value(v), json_string_length(v));
    }
    if (json_object_size(all) > (json_object_get(all, "default") != NULL)) {
        sy_gguf_put_array(w, "tokenizer.chat_templates", SY_GGUF_TEXT, json_object_size(all) - (json_object_get(all, "default") != NULL));
        json_object_foreach(all, name, v) if (strcmp(name, "default")) sy_gguf_elem_text(w, name, strlen(name));
    }
    json_decref(all);
    bool failed = key.failed;
    sy_buf_free(&key);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for chat templates") : SY_OK;
}

/* Whether encoding begins or ends with a special token: for llama.cpp a flag beside the tokenizer beats its post-processor. */
static sy_status adds(const json_t *root, const sy_beside *b, const char *flag, bool end, bool *yes, sy_ledger *l, sy_err *err)
{
    const json_t *said = json_object_get(b->config, flag), *single = json_object_get(json_object_get(root, "post_processor"), "single");
    const json_t *list = json_object_get(json_object_get(root, "post_processor"), "processors"), *p;
    size_t i;
    json_array_foreach(list, i, p) if (json_object_get(p, "single")) single = json_object_get(p, "single");
    const json_t *at = json_array_get(single, end && json_array_size(single) ? json_array_size(single) - 1 : 0);
    *yes = json_object_get(at, "SpecialToken") != NULL;
    if (!json_is_boolean(said) || json_is_true(said) == *yes) return SY_OK;
    *yes = !*yes;
    return sy_ledger_add(l, SY_L_NOTE, flag, "tokenizer_config.json says other than the post-processor; llama.cpp goes by the flag, the folder by the post-processor", 0, err);
}

static bool has_prefix_space(const json_t *root)     /* Prepend, or Metaspace that is not "never" */
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    bool yes = text && (strstr(text, "\"Prepend\"") || (strstr(text, "\"Metaspace\"") && !strstr(text, "\"prepend_scheme\":\"never\"") && !strstr(text, "\"add_prefix_space\":false")));
    sy_free(text);
    return yes;
}

static sy_status put_model(sy_gguf_writer *w, vocab *v, const json_t *root, const sy_beside *b, const char *dir, const char *path, const char *pre, sy_ledger *l, sy_err *err)
{
    const json_t *model = json_object_get(root, "model");
    bool spm = json_is_true(json_object_get(model, "byte_fallback"));
    bool ignores = json_is_true(json_object_get(model, "ignore_merges")), asked = ignores;
    const char *kind = spm ? "llama" : "gpt2";
    if (!spm && !pre) SY_TRY(pre_of(root, &v->a, &pre, &ignores, err));
    if (!spm && !pre)
        return sy_fail(err, SY_EUNSUP, "%s cuts text by a rule that has no name in GGUF files; give the nearest as --pre (gpt-2, llama-bpe, qwen2, ...) or --pre default", path);
    if (spm) pre = "default";
    else if (ignores != asked)
        SY_TRY(sy_ledger_add(l, SY_L_NOTE, "tokenizer.ggml.pre", asked ? "llama.cpp merges under this name, the tokenizer takes words of the vocabulary as they are" : "llama.cpp takes words of the vocabulary as they are under this name, the tokenizer merges", 0, err));
    sy_gguf_put_text(w, "tokenizer.ggml.model", kind, strlen(kind));
    sy_gguf_put_text(w, "tokenizer.ggml.pre", pre, strlen(pre));
    if (json_object_get(root, "normalizer") && !json_is_null(json_object_get(root, "normalizer")) && !spm)
        SY_TRY(sy_ledger_add(l, SY_L_NOTE, "tokenizer.normalizer", "llama.cpp does not normalise text for byte-level vocabularies", 0, err));
    sy_gguf_put_array(w, "tokenizer.ggml.tokens", SY_GGUF_TEXT, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) sy_gguf_elem_text(w, v->text[i], strlen(v->text[i]));
    if (spm) {
        SY_TRY(scores_of(v, model, path, err));
        sy_gguf_put_array(w, "tokenizer.ggml.scores", SY_GGUF_F32, (uint64_t)v->n);
        sy_gguf_elem(w, v->score, (size_t)v->n * sizeof *v->score);
    }
    sy_gguf_put_array(w, "tokenizer.ggml.token_type", SY_GGUF_I32, (uint64_t)v->n);
    sy_gguf_elem(w, v->type, (size_t)v->n * sizeof *v->type);
    if (!spm) SY_TRY(put_merges(w, model, path, err));
    else sy_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", has_prefix_space(root));
    SY_TRY(put_special(w, v, b, dir, l, err));
    bool bos, eos;
    SY_TRY(adds(root, b, "add_bos_token", false, &bos, l, err));
    SY_TRY(adds(root, b, "add_eos_token", true, &eos, l, err));
    sy_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", bos);
    sy_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", eos);
    return put_templates(w, dir, b, err);
}

sy_status sy_gguf_put_tokenizer(sy_gguf_writer *w, const char *dir, int rows, const char *pre, sy_ledger *l, sy_err *err)
{
    char path[1100];
    json_t *root = NULL;
    vocab v = { 0 };
    sy_buf b = { 0 };
    sy_beside beside = { 0 };
    SY_TRY(sy_path(path, sizeof path, dir, "tokenizer.json", err));
    if (!sy_file_exists(path)) {
        sy_gguf_put_text(w, "tokenizer.ggml.model", "none", 4);
        return sy_ledger_add(l, SY_L_NOTE, "tokenizer.json", "there is none: the file has no tokenizer", 0, err);
    }
    sy_status st = sy_file_read(path, MAX_FILE, &b, err);
    if (st == SY_OK) st = sy_json_parse(&root, b.data ? b.data : "", b.n, path, err);
    const char *type = text_at(json_object_get(root, "model"), "type");
    if (st == SY_OK && (!type || strcmp(type, "BPE"))) {
        sy_gguf_put_text(w, "tokenizer.ggml.model", "none", 4);
        st = sy_ledger_add(l, SY_L_NOTE, "tokenizer.json", "not BPE: kept as tokenizer.huggingface.json alone, which llama.cpp does not read", 0, err);
    } else if (st == SY_OK) {
        st = sy_beside_read(&beside, dir, err);
        if (st == SY_OK) st = fill_vocab(&v, root, path, rows, err);
        if (st == SY_OK) st = put_model(w, &v, root, &beside, dir, path, pre, l, err);
    }
    if (st == SY_OK) sy_gguf_put_text(w, "tokenizer.huggingface.json", b.data, b.n);
    json_decref(root);
    sy_beside_free(&beside);
    sy_buf_free(&b);
    sy_arena_free(&v.a);
    return st;
}

/* --- into a folder ------------------------------------------------------------------------------------------------------------------ */

static sy_status put_file(const char *dir, const char *name, sy_buf *b, sy_err *err)
{
    char path[1100];
    sy_status st = b->failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", name) : sy_path(path, sizeof path, dir, name, err);
    if (st == SY_OK) st = sy_file_write(path, b->data ? b->data : "", b->n, err);
    sy_buf_free(b);
    return st;
}

/* The ids that a text begins and ends with. */
static sy_status put_generation(const sy_gguf *g, const char *dir, sy_err *err)
{
    int end[SY_GGUF_ENDS], n = 0;
    int64_t bos = -1;
    sy_buf b = { 0 };
    sy_json j;
    SY_TRY(sy_gguf_ends(g, end, &n, err));
    SY_TRY(sy_gguf_int(g, "tokenizer.ggml.bos_token_id", false, -1, UINT32_MAX, &bos, err));
    if (!n) return SY_OK;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "eos_token_id");
    if (n == 1) sy_json_int(&j, end[0]);
    else {
        sy_json_begin(&j, '[');
        for (int i = 0; i < n; i++) sy_json_int(&j, end[i]);
        sy_json_end(&j, ']');
    }
    if (bos >= 0 && bos <= INT32_MAX) sy_json_key(&j, "bos_token_id"), sy_json_int(&j, bos);
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    return put_file(dir, "generation_config.json", &b, err);
}

static sy_status put_config(const sy_gguf *g, const char *dir, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = sy__gguf_config(g, NULL, &b, err);
    if (st == SY_OK) return put_file(dir, "tokenizer_config.json", &b, err);
    sy_buf_free(&b);
    return st;
}

/* As it came, or written down from the keys. What this engine cannot read as a tokenizer is named and not written. */
static sy_status put_tokenizer(const sy_gguf *g, const char *dir, sy_ledger *l, sy_err *err)
{
    const sy_gguf_key *whole = sy_gguf_key_find(g, "tokenizer.huggingface.json");
    sy_tokenizer *t = NULL;
    sy_buf b = { 0 };
    if (whole && whole->type == SY_GGUF_TEXT) {
        const uint8_t *at = whole->data;
        size_t n;
        const char *text = sy_gguf_next_text(&at, &n);
        sy_buf_put(&b, text, n);
        SY_TRY(put_file(dir, "tokenizer.json", &b, err));
        return put_config(g, dir, err);
    }
    sy_err why = { 0 };
    sy_status st = sy_tokenizer_from_gguf(&t, g, &why);
    if (st == SY_ENOMEM) return sy_fail(err, st, "%s", why.text);
    if (st != SY_OK) {
        char note[300];
        snprintf(note, sizeof note, "not written as a tokenizer.json: %.250s", why.text);
        SY_TRY(sy_ledger_add(l, SY_L_NOTE, "tokenizer.ggml.model", note, 0, err));
        return put_config(g, dir, err);
    }
    st = sy_tokenizer_save(t, dir, err);
    sy_tokenizer_close(t);
    return st;
}

sy_status sy_gguf_save_tokenizer(const sy_gguf *g, const char *dir, sy_ledger *l, sy_err *err)
{
    sy_arena a = { 0 };
    const char *model = "none";
    sy_status st = sy_gguf_text(g, "tokenizer.ggml.model", false, &a, &model, err);
    bool none = st == SY_OK && !strcmp(model, "none") && !sy_gguf_key_find(g, "tokenizer.huggingface.json");
    sy_arena_free(&a);
    SY_TRY(st);
    if (none) return sy_ledger_add(l, SY_L_NOTE, "tokenizer.ggml.model", "there is none: the folder has no tokenizer", 0, err);
    SY_TRY(put_tokenizer(g, dir, l, err));
    return put_generation(g, dir, err);
}
