/* model/gguf_tokenizer.c - tokenizer.json and its neighbours as tokenizer.* keys, and back. */
#include "model/gguf_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "model/tokenizer.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6, MAX_FILE = 1 << 29 };

#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d"
#define LLAMA3(digits) "(?i:" GPT2_WORDS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_TAIL "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_END "(?i:" GPT2_WORDS ")?"

/* Rules that cut text into words before merging, and their names: one expression with ByteLevel behind it that has none of its own; NULL: the
 * expression of ByteLevel itself; "digits": each digit alone before that. Several names mean one rule: here stands the one that is written. */
static const struct { const char *rule, *pre; } rules[] = {
    { NULL, "gpt-2" }, { "digits", "starcoder" }, { LLAMA3("\\p{N}{1,3}"), "llama-bpe" }, { LLAMA3("\\p{N}"), "qwen2" },
    { "[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "*" O200K_LOWER "+" O200K_END "|[^\\r\\n\\p{L}\\p{N}]?" O200K_UPPER "+" O200K_LOWER "*" O200K_END O200K_TAIL, "gpt-4o" },
};

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

/* What cuts the text: its expression, "digits", NULL for ByteLevel's own; false: something else. */
static bool rule_of(const json_t *p, const char **rule, int *steps)
{
    const char *type = text_at(p, "type");
    const json_t *list = json_object_get(p, "pretokenizers"), *step;
    size_t i;
    if (!type) return false;
    if (!strcmp(type, "Sequence")) {
        json_array_foreach(list, i, step) if (!rule_of(step, rule, steps)) return false;
        return true;
    }
    ++*steps;
    if (!strcmp(type, "ByteLevel")) {
        bool own = !json_is_false(json_object_get(p, "use_regex"));
        if (json_is_true(json_object_get(p, "add_prefix_space"))) return false;
        return own ? !*rule || !strcmp(*rule, "digits") : *rule && strcmp(*rule, "digits");
    }
    if (*rule) return false;
    if (!strcmp(type, "Digits") && json_is_true(json_object_get(p, "individual_digits"))) { *rule = "digits"; return true; }
    const char *behaviour = text_at(p, "behavior");
    *rule = text_at(json_object_get(p, "pattern"), "Regex");
    return !strcmp(type, "Split") && *rule && behaviour && !strcmp(behaviour, "Isolated") && !json_is_true(json_object_get(p, "invert"));
}

static const char *pre_of(const json_t *root)
{
    const char *rule = NULL;
    int steps = 0;
    if (!rule_of(json_object_get(root, "pre_tokenizer"), &rule, &steps) || !steps) return NULL;
    for (size_t i = 0; i < SY_COUNT(rules); i++)
        if ((!rule && !rules[i].rule) || (rule && rules[i].rule && !strcmp(rule, rules[i].rule))) return rules[i].pre;
    return NULL;
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

static json_t *read_json(const char *dir, const char *name)         /* NULL: not there, or not JSON: these files are extras */
{
    char path[1100];
    json_t *root = NULL;
    sy_err err;
    if (sy_path(path, sizeof path, dir, name, &err) != SY_OK || !sy_file_exists(path)) return NULL;
    return sy_json_read(&root, path, MAX_FILE, &err) == SY_OK ? root : NULL;
}

static const char *token_text(const json_t *config, const char *key)
{
    const json_t *t = json_object_get(config, key);
    return json_is_object(t) ? text_at(t, "content") : json_string_value(t);
}

static void put_special(sy_gguf_writer *w, const vocab *v, const char *dir)
{
    static const struct { const char *text, *id, *key; } special[] = {
        { "bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id" }, { "eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id" }, { "unk_token", NULL, "tokenizer.ggml.unknown_token_id" },
        { "pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id" } };
    json_t *config = read_json(dir, "tokenizer_config.json"), *generation = read_json(dir, "generation_config.json"), *model = read_json(dir, "config.json");
    for (size_t i = 0; i < SY_COUNT(special); i++) {
        int id = id_of(v, token_text(config, special[i].text));
        const json_t *from[2] = { generation, model };
        for (int k = 0; k < 2 && id < 0 && special[i].id; k++) {
            const json_t *n = json_object_get(from[k], special[i].id);
            if (json_is_array(n)) n = json_array_get(n, 0);
            if (json_is_integer(n) && json_integer_value(n) >= 0 && json_integer_value(n) < v->n) id = (int)json_integer_value(n);
        }
        if (id >= 0) sy_gguf_put_u32(w, special[i].key, (uint32_t)id);
    }
    const char *template = text_at(config, "chat_template");
    char path[1100];
    sy_buf b = { 0 };
    sy_err err;
    if (sy_path(path, sizeof path, dir, "chat_template.jinja", &err) == SY_OK && sy_file_exists(path) && sy_file_read(path, MAX_FILE, &b, &err) == SY_OK && b.n)
        sy_gguf_put_text(w, "tokenizer.chat_template", b.data, b.n);
    else if (template) sy_gguf_put_text(w, "tokenizer.chat_template", template, strlen(template));
    sy_buf_free(&b);
    json_decref(config);
    json_decref(generation);
    json_decref(model);
}

/* Whether encoding begins with a special token: a flag beside the tokenizer beats its post-processor. */
static bool adds(const json_t *root, const char *dir, const char *flag, bool end)
{
    json_t *config = read_json(dir, "tokenizer_config.json");
    const json_t *said = json_object_get(config, flag), *single = json_object_get(json_object_get(root, "post_processor"), "single");
    const json_t *list = json_object_get(json_object_get(root, "post_processor"), "processors"), *p;
    size_t i;
    json_array_foreach(list, i, p) if (json_object_get(p, "single")) single = json_object_get(p, "single");
    const json_t *at = json_array_get(single, end && json_array_size(single) ? json_array_size(single) - 1 : 0);
    bool yes = said && json_is_boolean(said) ? json_is_true(said) : json_object_get(at, "SpecialToken") != NULL;
    json_decref(config);
    return yes;
}

static bool has_prefix_space(const json_t *root)     /* Prepend, or Metaspace that is not "never" */
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    bool yes = text && (strstr(text, "\"Prepend\"") || (strstr(text, "\"Metaspace\"") && !strstr(text, "\"prepend_scheme\":\"never\"") && !strstr(text, "\"add_prefix_space\":false")));
    sy_free(text);
    return yes;
}

static sy_status put_model(sy_gguf_writer *w, vocab *v, const json_t *root, const char *dir, const char *path, const char *pre, sy_ledger *l, sy_err *err)
{
    const json_t *model = json_object_get(root, "model");
    bool spm = json_is_true(json_object_get(model, "byte_fallback"));
    const char *own = pre_of(root), *kind = spm ? "llama" : "gpt2";
    if (!spm && !pre && !(pre = own))
        return sy_fail(err, SY_EUNSUP, "%s cuts text by a rule that has no name in GGUF files; give the nearest as --pre (gpt-2, llama-bpe, qwen2, ...) or --pre default", path);
    if (spm) pre = "default";
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
    put_special(w, v, dir);
    sy_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", adds(root, dir, "add_bos_token", false));
    sy_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", adds(root, dir, "add_eos_token", true));
    return SY_OK;
}

sy_status sy_gguf_put_tokenizer(sy_gguf_writer *w, const char *dir, int rows, const char *pre, sy_ledger *l, sy_err *err)
{
    char path[1100];
    json_t *root = NULL;
    vocab v = { 0 };
    sy_buf b = { 0 };
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
        st = fill_vocab(&v, root, path, rows, err);
        if (st == SY_OK) st = put_model(w, &v, root, dir, path, pre, l, err);
    }
    if (st == SY_OK) sy_gguf_put_text(w, "tokenizer.huggingface.json", b.data, b.n);
    json_decref(root);
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

typedef struct special { int64_t bos, eos; bool add_bos; const char *bos_text, *eos_text; sy_arena a; } special;

/* The text of token `id`, copied; NULL when there is none. */
static sy_status token_at(special *t, const sy_gguf *g, int64_t id, const char **out, sy_err *err)
{
    const sy_gguf_key *k = sy_gguf_key_find(g, "tokenizer.ggml.tokens");
    if (!k || k->elem != SY_GGUF_TEXT || id < 0 || (uint64_t)id >= k->n) return SY_OK;
    const uint8_t *at = k->data;
    const char *p = NULL;
    size_t n = 0;
    for (int64_t i = 0; i <= id; i++) p = sy_gguf_next_text(&at, &n);
    *out = sy_arena_printf(&t->a, "%.*s", (int)(n > 1000 ? 1000 : n), p);
    return *out ? SY_OK : sy_fail(err, SY_ENOMEM, "%s: no memory for its special tokens", g->file);
}

/* What tokenizer.json does not say. */
static sy_status beside(special *t, const sy_gguf *g, const char *dir, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    const char *template = NULL;
    SY_TRY(sy_gguf_text(g, "tokenizer.chat_template", false, &t->a, &template, err));
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "tokenizer_class"), sy_json_text(&j, "PreTrainedTokenizerFast");
    if (t->bos_text) sy_json_key(&j, "bos_token"), sy_json_text(&j, t->bos_text);
    if (t->eos_text) sy_json_key(&j, "eos_token"), sy_json_text(&j, t->eos_text);
    if (sy_gguf_key_find(g, "tokenizer.ggml.add_bos_token")) sy_json_key(&j, "add_bos_token"), sy_json_bool(&j, t->add_bos);
    sy_json_key(&j, "clean_up_tokenization_spaces"), sy_json_bool(&j, false);
    if (template) sy_json_key(&j, "chat_template"), sy_json_text(&j, template);
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    SY_TRY(put_file(dir, "tokenizer_config.json", &b, err));
    if (t->eos < 0) return SY_OK;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "eos_token_id"), sy_json_int(&j, t->eos);
    if (t->bos >= 0) sy_json_key(&j, "bos_token_id"), sy_json_int(&j, t->bos);
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    return put_file(dir, "generation_config.json", &b, err);
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
        return put_file(dir, "tokenizer.json", &b, err);
    }
    sy_err why = { 0 };
    sy_status st = sy_tokenizer_from_gguf(&t, g, &why);
    if (st == SY_ENOMEM) return sy_fail(err, st, "%s", why.text);
    if (st != SY_OK) {
        char note[300];
        snprintf(note, sizeof note, "not written as a tokenizer.json: %.250s", why.text);
        return sy_ledger_add(l, SY_L_NOTE, "tokenizer.ggml.model", note, 0, err);
    }
    st = sy_tokenizer_save(t, dir, err);
    sy_tokenizer_close(t);
    return st;
}

static sy_status save(special *t, const sy_gguf *g, const char *dir, sy_ledger *l, sy_err *err)
{
    const char *model = "none";
    t->bos = t->eos = -1;
    SY_TRY(sy_gguf_text(g, "tokenizer.ggml.model", false, &t->a, &model, err));
    if (!strcmp(model, "none") && !sy_gguf_key_find(g, "tokenizer.huggingface.json"))
        return sy_ledger_add(l, SY_L_NOTE, "tokenizer.ggml.model", "there is none: the folder has no tokenizer", 0, err);
    SY_TRY(sy_gguf_int(g, "tokenizer.ggml.bos_token_id", false, 0, INT32_MAX, &t->bos, err));
    SY_TRY(sy_gguf_int(g, "tokenizer.ggml.eos_token_id", false, 0, INT32_MAX, &t->eos, err));
    SY_TRY(sy_gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &t->add_bos, err));
    SY_TRY(token_at(t, g, t->bos, &t->bos_text, err));
    SY_TRY(token_at(t, g, t->eos, &t->eos_text, err));
    SY_TRY(put_tokenizer(g, dir, l, err));
    return beside(t, g, dir, err);
}

sy_status sy_gguf_save_tokenizer(const sy_gguf *g, const char *dir, sy_ledger *l, sy_err *err)
{
    special t = { 0 };
    sy_status st = save(&t, g, dir, l, err);
    sy_arena_free(&t.a);
    return st;
}
