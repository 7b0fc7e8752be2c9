/* model/tokenizer_config.c - the files beside a tokenizer.json. */
#include "model/tokenizer_config.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "model/gguf.h"

enum { MOST_CONFIG = 64 << 20, MOST_TEMPLATE = 4 << 20, MOST_TEMPLATES = 64 };
static const char CONFIG[] = "tokenizer_config.json", MAP[] = "special_tokens_map.json", TEMPLATE[] = "chat_template.jinja", TEMPLATES[] = "additional_chat_templates";

static sy_status no_memory(const char *file, sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for %s", file); }

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n > k && !strcmp(s + n - k, end);
}

/* --- special tokens ---------------------------------------------------------------------------------------------------------- */

static const char *const named[] = { "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token" };

static sy_status read_object(const char *dir, const char *name, json_t **out, char file[1024], sy_err *err)
{
    SY_TRY(sy_path(file, 1024, dir, name, err));
    if (!sy_file_exists(file)) return SY_OK;
    SY_TRY(sy_json_read(out, file, MOST_CONFIG, err));
    return json_is_object(*out) ? SY_OK : sy_fail(err, SY_EFORMAT, "%s is no JSON object", file);
}

static bool is_named(const char *key)
{
    for (size_t i = 0; i < SY_COUNT(named); i++) if (!strcmp(named[i], key)) return true;
    return false;
}

/* A token is a text, or an object that holds one. */
static json_t *text_of(const json_t *token)
{
    json_t *text = json_is_object(token) ? json_object_get(token, "content") : (json_t *)token;
    return json_is_string(text) && json_string_length(text) ? text : NULL;
}

static sy_status put_named(sy_beside *b, const char *name, json_t *v, const char *file, sy_err *err)
{
    json_t *text = json_is_null(v) ? v : text_of(v);
    return json_object_set(b->special, name, text) || json_object_set(b->token, name, v) ? no_memory(file, err) : SY_OK;
}

/* Every key that ends in _token names one; those that transformers gives a meaning come first. */
static sy_status take_named(sy_beside *b, const json_t *from, const char *file, sy_err *err)
{
    const char *key;
    json_t *v;
    for (size_t i = 0; i < SY_COUNT(named); i++) {
        if ((v = json_object_get(from, named[i])) == NULL) continue;
        if (!json_is_null(v) && !text_of(v)) return sy_fail(err, SY_EFORMAT, "%s: '%s' is no text of a token", file, named[i]);
        SY_TRY(put_named(b, named[i], v, file, err));
    }
    json_object_foreach((json_t *)from, key, v)
        if (ends_with(key, "_token") && !is_named(key) && text_of(v)) SY_TRY(put_named(b, key, v, file, err));
    return SY_OK;
}

static sy_status take_extra(sy_beside *b, const json_t *from, const char *file, sy_err *err)
{
    json_t *list = json_object_get(from, "extra_special_tokens"), *v;
    const char *key;
    size_t i;
    if (!json_is_object(list) && !json_array_size(list)) list = json_object_get(from, "additional_special_tokens");
    json_array_foreach(list, i, v) {
        if (!text_of(v)) return sy_fail(err, SY_EFORMAT, "%s: special token %zu of the list without names is no text", file, i);
        if (json_array_append(b->extra, v)) return no_memory(file, err);
    }
    if (json_is_object(list)) json_object_foreach(list, key, v)
        if (text_of(v)) SY_TRY(put_named(b, key, v, file, err));
    return SY_OK;
}

static sy_status read_all(sy_beside *b, const char *dir, sy_err *err)
{
    char file[1024];
    json_t *map = NULL;
    b->special = sy_json_object();
    b->token = sy_json_object();
    b->extra = sy_json_array();
    if (!b->special || !b->token || !b->extra) return no_memory(dir, err);
    SY_TRY(read_object(dir, CONFIG, &b->config, b->file, err));
    sy_status st = b->config ? take_named(b, b->config, b->file, err) : SY_OK;
    if (st == SY_OK && b->config) st = take_extra(b, b->config, b->file, err);
    if (st == SY_OK && !json_object_get(b->config, "added_tokens_decoder")) st = read_object(dir, MAP, &map, file, err);
    if (st == SY_OK && map) st = take_named(b, map, file, err);
    if (st == SY_OK && map) st = take_extra(b, map, file, err);
    json_decref(map);
    return st;
}

sy_status sy_beside_read(sy_beside *b, const char *dir, sy_err *err)
{
    *b = (sy_beside){ 0 };
    sy_status st = read_all(b, dir, err);
    if (st != SY_OK) sy_beside_free(b);
    return st;
}

void sy_beside_free(sy_beside *b)
{
    json_decref(b->config);
    json_decref(b->special);
    json_decref(b->token);
    json_decref(b->extra);
    *b = (sy_beside){ 0 };
}

const char *sy_beside_text(const sy_beside *b, const char *name) { return json_string_value(json_object_get(b->special, name)); }

/* --- added tokens ------------------------------------------------------------------------------------------------------------ */

struct merge { json_t *list, *at, *named; const json_t *vocab; const char *file; int next; };     /* at: places in the list by text; named: what names have added */

static json_t *token(const json_t *from, const char *text)
{
    static const char *const flags[] = { "single_word", "lstrip", "rstrip", "normalized", "special" };
    json_t *t = sy_json_object();
    int bad = !t || json_object_set_new(t, "content", json_string(text));
    bool special = from ? json_is_true(json_object_get(from, "special")) : true;
    for (size_t i = 0; i < SY_COUNT(flags) && !bad; i++) {
        const json_t *v = json_object_get(from, flags[i]);
        bool on = !strcmp(flags[i], "special") ? special : json_is_boolean(v) ? json_is_true(v) : !strcmp(flags[i], "normalized") && !special;
        bad = json_object_set_new(t, flags[i], json_boolean(on));
    }
    if (!bad) return t;
    json_decref(t);
    return NULL;
}

/* A new one has its id in the vocabulary, or the next free one. */
static sy_status append(struct merge *m, json_t *t, sy_err *err)
{
    const char *text = json_string_value(json_object_get(t, "content"));
    json_t *known = json_object_get(m->vocab, text), *id = json_is_integer(known) ? json_incref(known) : json_integer(m->next++);
    int bad = json_object_set_new(t, "id", id) || json_object_set_new(m->at, text, json_integer((json_int_t)json_array_size(m->list)));
    if (json_array_append_new(m->list, t) || bad) return no_memory(m->file, err);
    return SY_OK;
}

static json_t *find(const struct merge *m, const char *text)
{
    const json_t *at = json_object_get(m->at, text);
    return at ? json_array_get(m->list, (size_t)json_integer_value(at)) : NULL;
}

/* Gives a token other attributes; special is what it was once. */
static sy_status change(struct merge *m, json_t *old, json_t *t, sy_err *err)
{
    int bad = json_is_true(json_object_get(old, "special")) && json_object_set(t, "special", json_true());
    bad = bad || json_object_update(old, t);
    json_decref(t);
    return bad ? no_memory(m->file, err) : SY_OK;
}

static int by_id(const void *a, const void *b)
{
    long long x = strtoll(*(const char *const *)a, NULL, 10), y = strtoll(*(const char *const *)b, NULL, 10);
    return (x > y) - (x < y);
}

/* added_tokens_decoder, {"0": {"content": ...}}, in the order of its ids. */
static sy_status take_decoder(struct merge *m, const json_t *all, sy_arena *a, sy_err *err)
{
    size_t n = 0;
    const char *key;
    json_t *v;
    if (!json_is_object(all)) return sy_fail(err, SY_EFORMAT, "%s: 'added_tokens_decoder' is no object", m->file);
    const char **keys = sy_arena_array(a, json_object_size(all) + 1, sizeof *keys);
    if (!keys) return no_memory(m->file, err);
    json_object_foreach((json_t *)all, key, v) keys[n++] = key;
    if (n) qsort(keys, n, sizeof *keys, by_id);
    for (size_t i = 0; i < n; i++) {
        v = json_object_get(all, keys[i]);
        if (!json_is_object(v) || !text_of(v)) return sy_fail(err, SY_EFORMAT, "%s: added_tokens_decoder: '%.20s' is no token with a text", m->file, keys[i]);
        const char *text = json_string_value(text_of(v));
        json_t *t = token(v, text), *old = find(m, text);
        if (!t) return no_memory(m->file, err);
        SY_TRY(old ? change(m, old, t, err) : append(m, t, err));
    }
    return SY_OK;
}

static bool said_before(const json_t *all, const json_t *v)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)all, i, one) if (json_equal(one, v)) return true;
    return false;
}

/* A token that is wanted by a name, or by none. Of names that say different things about a new token the last one counts. */
static sy_status need(struct merge *m, json_t *v, bool has_name, sy_err *err)
{
    const char *text = json_string_value(text_of(v));
    json_t *said = json_object_get(m->named, text), *old = find(m, text), *t;
    if (old && (!said || said_before(said, v))) return has_name && json_object_set(old, "special", json_true()) ? no_memory(m->file, err) : SY_OK;
    if (!said && json_object_set_new(m->named, text, sy_json_array())) return no_memory(m->file, err);
    if (json_array_append(json_object_get(m->named, text), v) || (t = token(json_is_object(v) ? v : NULL, text)) == NULL) return no_memory(m->file, err);
    if (has_name && json_object_set(t, "special", json_true())) {
        json_decref(t);
        return no_memory(m->file, err);
    }
    return old ? change(m, old, t, err) : append(m, t, err);
}

static sy_status merge(struct merge *m, const sy_beside *b, const json_t *list, sy_arena *a, sy_err *err)
{
    const char *key;
    json_t *v;
    size_t i;
    if (!m->list || !m->at || !m->named) return no_memory(m->file, err);
    json_array_foreach(list, i, v) {
        const char *text = json_string_value(json_object_get(v, "content"));
        json_t *copy = json_copy(v);
        if (!copy || json_array_append_new(m->list, copy) || (text && json_object_set_new(m->at, text, json_integer((json_int_t)i)))) return no_memory(m->file, err);
        m->next += text && !json_object_get(m->vocab, text);
    }
    if (json_object_get(b->config, "added_tokens_decoder")) SY_TRY(take_decoder(m, json_object_get(b->config, "added_tokens_decoder"), a, err));
    for (size_t k = 0; k < SY_COUNT(named); k++)
        if ((v = json_object_get(b->token, named[k])) != NULL && !json_is_null(v)) SY_TRY(need(m, v, true, err));
    json_object_foreach(b->token, key, v) if (!is_named(key)) SY_TRY(need(m, v, true, err));
    json_array_foreach(b->extra, i, v) SY_TRY(need(m, v, false, err));
    return SY_OK;
}

sy_status sy_beside_added(const sy_beside *b, const json_t *list, const json_t *vocab, int own, json_t **out, sy_err *err)
{
    sy_arena a = { 0 };
    struct merge m = { .list = sy_json_array(), .at = sy_json_object(), .named = sy_json_object(), .vocab = vocab, .file = b->file, .next = own };
    sy_status st = merge(&m, b, list, &a, err);
    sy_arena_free(&a);
    json_decref(m.at);
    json_decref(m.named);
    if (st == SY_OK) *out = m.list;
    else json_decref(m.list);
    return st;
}

/* --- templates --------------------------------------------------------------------------------------------------------------- */

/* In the config: a text, or a list of {"name", "template"}. */
static sy_status take_templates(json_t *to, const json_t *config, const char *file, sy_err *err)
{
    json_t *v = json_object_get(config, "chat_template"), *one;
    size_t i;
    if (!v || json_is_null(v)) return SY_OK;
    if (json_is_string(v)) return json_object_set(to, "default", v) ? no_memory(file, err) : SY_OK;
    if (!json_is_array(v)) return sy_fail(err, SY_EFORMAT, "%s: 'chat_template' is neither a text nor a list", file);
    json_array_foreach(v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        json_t *text = json_object_get(one, "template");
        if (!name || !json_is_string(text)) return sy_fail(err, SY_EFORMAT, "%s: entry %zu of 'chat_template' needs a name and a template", file, i);
        if (json_object_set(to, name, text)) return no_memory(file, err);
    }
    return SY_OK;
}

static sy_status take_file(json_t *to, const char *dir, const char *name, const char *as, sy_err *err)
{
    char file[1024];
    sy_buf b = { 0 };
    SY_TRY(sy_path(file, sizeof file, dir, name, err));
    sy_status st = sy_file_read(file, MOST_TEMPLATE, &b, err);
    json_t *text = st == SY_OK ? json_stringn(b.data ? b.data : "", b.n) : NULL;
    if (st == SY_OK && !text) st = sy_fail(err, SY_EFORMAT, "%s is not UTF-8", file);
    if (st == SY_OK && json_object_set_new(to, as, text)) st = no_memory(file, err);
    sy_buf_free(&b);
    return st;
}

static bool is_there(const char *dir, const char *name)
{
    char file[1024];
    sy_err ignored;
    return sy_path(file, sizeof file, dir, name, &ignored) == SY_OK && sy_file_exists(file);
}

sy_status sy_beside_files(const char *dir, sy_arena *a, const char ***names, int *n, sy_err *err)
{
    static const char *const known[] = { CONFIG, MAP, "added_tokens.json", TEMPLATE };
    char more[1024];
    const char **in = NULL;
    int files = 0;
    SY_TRY(sy_path(more, sizeof more, dir, TEMPLATES, err));
    if (sy_is_dir(more)) SY_TRY(sy_dir_list(more, a, &in, &files, err));
    const char **list = sy_arena_array(a, SY_COUNT(known) + (size_t)files, sizeof *list);
    if (!list) return no_memory(dir, err);
    *n = 0;
    for (size_t i = 0; i < SY_COUNT(known); i++) if (is_there(dir, known[i])) list[(*n)++] = known[i];
    for (int i = 0; i < files; i++) {
        if (!ends_with(in[i], ".jinja")) continue;
        if (*n > MOST_TEMPLATES) return sy_fail(err, SY_EUNSUP, "%s holds more than %d templates", more, MOST_TEMPLATES);
        if (!(list[(*n)++] = sy_arena_printf(a, "%s/%s", TEMPLATES, in[i]))) return no_memory(dir, err);
    }
    *names = list;
    return SY_OK;
}

static sy_status take_files(json_t *to, const char *dir, sy_arena *a, sy_err *err)
{
    const char **names;
    int n;
    SY_TRY(sy_beside_files(dir, a, &names, &n, err));
    for (int i = 0; i < n; i++) {
        const char *as = "default";
        size_t at = sizeof TEMPLATES;
        if (!ends_with(names[i], ".jinja")) continue;
        if (!strncmp(names[i], TEMPLATES, at - 1)) as = sy_arena_printf(a, "%.*s", (int)(strlen(names[i]) - at - strlen(".jinja")), names[i] + at);
        if (!as) return no_memory(dir, err);
        SY_TRY(take_file(to, dir, names[i], as, err));
    }
    return SY_OK;
}

sy_status sy_templates_read(json_t **out, const char *dir, const json_t *config, const char *file, sy_err *err)
{
    sy_arena a = { 0 };
    json_t *all = sy_json_object();
    sy_status st = all ? take_files(all, dir, &a, err) : no_memory(dir, err);
    if (st == SY_OK && !json_object_size(all)) st = take_templates(all, config, file, err);
    sy_arena_free(&a);
    if (st == SY_OK && json_object_size(all)) *out = all;
    else {
        json_decref(all);
        if (st == SY_OK) *out = NULL;
    }
    return st;
}

static sy_status gguf_templates(json_t *to, const sy_gguf *g, sy_err *err)
{
    static const char key[] = "tokenizer.chat_template";
    for (int i = 0; i < g->keys; i++) {
        const sy_gguf_key *k = &g->key[i];
        const char *name = k->key + sizeof key - 1;
        if (strncmp(k->key, key, sizeof key - 1) || (*name && *name != '.')) continue;
        if (k->type != SY_GGUF_TEXT) return sy_fail(err, SY_EFORMAT, "%s: %s is no text", g->file, k->key);
        const uint8_t *at = k->data;
        size_t n;
        const char *text = sy_gguf_next_text(&at, &n);
        json_t *v = n <= MOST_TEMPLATE ? json_stringn(text, n) : NULL;
        if (!v) return sy_fail(err, SY_EFORMAT, "%s: %s is not UTF-8, or has more than %d bytes", g->file, k->key, MOST_TEMPLATE);
        if (json_object_set_new(to, *name ? name + 1 : "default", v)) return no_memory(g->file, err);
    }
    return SY_OK;
}

static sy_status gguf_special(json_t *to, const sy_gguf *g, sy_err *err)
{
    static const struct { const char *key, *name; } ids[] = {
        { "tokenizer.ggml.bos_token_id", "bos_token" }, { "tokenizer.ggml.eos_token_id", "eos_token" }, { "tokenizer.ggml.unknown_token_id", "unk_token" },
        { "tokenizer.ggml.padding_token_id", "pad_token" },
    };
    const sy_gguf_key *k = sy_gguf_key_find(g, "tokenizer.ggml.tokens");
    if (!k || k->type != SY_GGUF_ARRAY || k->elem != SY_GGUF_TEXT) return SY_OK;
    for (size_t i = 0; i < SY_COUNT(ids); i++) {
        int64_t id = -1;
        size_t n = 0;
        const char *text = NULL;
        const uint8_t *at = k->data;
        SY_TRY(sy_gguf_int(g, ids[i].key, false, -1, UINT32_MAX, &id, err));           /* beyond the vocabulary: there is none */
        if (id < 0 || (uint64_t)id >= k->n) continue;
        for (int64_t j = 0; j <= id; j++) text = sy_gguf_next_text(&at, &n);
        json_t *v = json_stringn(text, n);
        if (!v) continue;                            /* not UTF-8: no text for a template */
        if (json_object_set_new(to, ids[i].name, v)) return no_memory(g->file, err);
    }
    return SY_OK;
}

static sy_status from_gguf(json_t **out, const sy_gguf *g, sy_status (*fill)(json_t *to, const sy_gguf *g, sy_err *err), sy_err *err)
{
    json_t *all = sy_json_object();
    sy_status st = all ? fill(all, g, err) : no_memory(g->file, err);
    if (st == SY_OK) *out = all;
    else json_decref(all);
    return st;
}

sy_status sy_special_from_gguf(json_t **out, const sy_gguf *g, sy_err *err) { return from_gguf(out, g, gguf_special, err); }

sy_status sy_templates_from_gguf(json_t **out, const sy_gguf *g, sy_err *err)
{
    SY_TRY(from_gguf(out, g, gguf_templates, err));
    if (json_object_size(*out)) return SY_OK;
    json_decref(*out);
    *out = NULL;
    return SY_OK;
}

sy_status sy_template_file(char file[256], const char *name, sy_err *err)
{
    if (strchr(name, '/') || !*name || strlen(name) > 200) return sy_fail(err, SY_EUNSUP, "the chat template '%.60s' has a name that is no name of a file", name);
    if (!strcmp(name, "default")) snprintf(file, 256, "%s", TEMPLATE);
    else snprintf(file, 256, "%s/%s.jinja", TEMPLATES, name);
    return SY_OK;
}

bool sy_is_template_file(const char *name) { return !strcmp(name, TEMPLATE) || !strncmp(name, TEMPLATES, sizeof TEMPLATES - 1); }
