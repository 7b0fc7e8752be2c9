/* model/tokenizer_files.c - a tokenizer and the files beside it: opened together, and saved together as they were. */
#include "core/alloc.h"
#include "core/file.h"
#include "model/tokenizer_config.h"
#include "model/tokenizer_read.h"

enum { MOST_BYTES = 256 << 20, MOST_KEPT = 64 << 20 };

/* --- opening ------------------------------------------------------------------------------------------------------------- */

sy_status sy__tokenizer_keep(sy_tokenizer *t, const char *name, const char *data, size_t n, sy_err *err)
{
    sy__kept *more = sy_realloc(t->kept, (size_t)(t->n_kept + 1) * sizeof *more);
    if (more) {
        t->kept = more;
        more += t->n_kept++;
        *more = (sy__kept){ .name = sy_strdup(name) };
        sy_buf_put(&more->data, data, n);
    }
    return more && more->name && !more->data.failed ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to keep %s", name);
}

sy_status sy__tokenizer_keep_templates(sy_tokenizer *t, const json_t *templates, sy_err *err)
{
    int n = 0;
    const char *name;
    json_t *text;
    char file[256];
    for (int i = 0; i < t->n_kept; i++) {
        if (!sy_is_template_file(t->kept[i].name)) { t->kept[n++] = t->kept[i]; continue; }
        sy_free(t->kept[i].name);
        sy_buf_free(&t->kept[i].data);
    }
    t->n_kept = n;
    json_object_foreach((json_t *)templates, name, text) {
        SY_TRY(sy_template_file(file, name, err));
        SY_TRY(sy__tokenizer_keep(t, file, json_string_value(text), json_string_length(text), err));
    }
    return SY_OK;
}

static sy_status keep_files(sy_tokenizer *t, const char *dir, sy_err *err)
{
    sy_arena a = { 0 };
    const char **names = NULL;
    char file[1024];
    int n = 0;
    sy_status st = sy_beside_files(dir, &a, &names, &n, err);
    for (int i = 0; i < n && st == SY_OK; i++) {
        sy_buf b = { 0 };
        st = sy_path(file, sizeof file, dir, names[i], err);
        if (st == SY_OK) st = sy_file_read(file, MOST_KEPT, &b, err);
        if (st == SY_OK) st = sy__tokenizer_keep(t, names[i], b.data ? b.data : "", b.n, err);
        sy_buf_free(&b);
    }
    sy_arena_free(&a);
    return st;
}

static bool frames(const sy_tokenizer *t, bool behind, int id)
{
    for (int i = 0; i < t->posts; i++) {
        const sy__post *p = &t->post[i];
        for (int k = behind ? p->before : 0; p->kind == SY__POST_TEMPLATE && k < (behind ? p->before + p->after : p->before); k++) if (p->id[k] == id) return true;
    }
    return false;
}

/* Flags of the config that ask for another frame than the post-processor makes. */
static sy_status note_frame(sy_tokenizer *t, const sy_beside *b, sy_err *err)
{
    static const struct { const char *flag, *token; bool behind; } flags[] = { { "add_bos_token", "bos_token", false }, { "add_eos_token", "eos_token", true } };
    sy_buf n = { 0 };
    for (size_t i = 0; i < SY_COUNT(flags); i++) {
        const json_t *said = json_object_get(b->config, flags[i].flag);
        const char *text = sy_beside_text(b, flags[i].token);
        int id = text ? sy_tokenizer_find(t, text) : -1;
        if (!json_is_boolean(said) || id < 0 || json_is_true(said) == frames(t, flags[i].behind, id)) continue;
        sy_buf_printf(&n, "%s%s of the tokenizer_config.json is %s, the post-processor of the tokenizer.json, which counts, says otherwise", n.n || t->notes ? "; " : "", flags[i].flag, json_is_true(said) ? "true" : "false");
    }
    char *all = n.n && !n.failed ? sy_realloc(t->notes, (t->notes ? strlen(t->notes) : 0) + n.n + 1) : NULL;
    bool failed = n.failed || (n.n && !all);
    if (all) {
        if (!t->notes) *all = 0;
        t->notes = strcat(all, n.data);
    }
    sy_buf_free(&n);
    return failed ? sy_fail(err, SY_ENOMEM, "%s: no memory for notes", b->file) : SY_OK;
}

/* What the config decides beside added tokens: the token that ends a text, and what happens to texts that come out. */
static sy_status use_config(sy_tokenizer *t, const sy_beside *b, sy_err *err)
{
    bool cleans = false, even_bpe = false;
    const json_t *eos = json_object_get(b->special, "eos_token");
    if (eos) t->eot = json_is_string(eos) ? sy_tokenizer_find(t, json_string_value(eos)) : -1;
    if (b->config) {
        SY_TRY(sy_json_get_bool(b->config, b->file, "clean_up_tokenization_spaces", false, &cleans, err));
        SY_TRY(sy_json_get_bool(b->config, b->file, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", false, &even_bpe, err));
    }
    bool bpe = t->words.kind == SY__BYTE_BPE || t->words.kind == SY__CHAR_BPE;
    t->cleans = cleans && (!bpe || even_bpe);
    return note_frame(t, b, err);
}

static sy_status load_beside(sy_tokenizer **out, const char *path, const char *dir, sy_err *err)
{
    sy_beside b;
    sy_buf text = { 0 };
    sy_tokenizer *t = NULL;
    SY_TRY(sy_beside_read(&b, dir, err));
    sy_status st = sy_file_read(path, MOST_BYTES, &text, err);
    if (st == SY_OK) st = sy__tokenizer_parse(&t, text.data ? text.data : "", text.n, path, &b, err);
    if (st == SY_OK) st = use_config(t, &b, err);
    if (st == SY_OK) st = keep_files(t, dir, err);
    sy_buf_free(&text);
    sy_beside_free(&b);
    if (st != SY_OK) { sy_tokenizer_close(t); return st; }
    sy__tokenizer_digest(t);
    *out = t;
    return SY_OK;
}

sy_status sy_tokenizer_load(sy_tokenizer **out, const char *path, sy_err *err)
{
    char file[1024], dir[1024];
    bool gguf;
    if (sy_is_dir(path)) {
        SY_TRY(sy_path(file, sizeof file, path, "tokenizer.json", err));
        path = file;
    }
    SY_TRY(sy__tokenizer_load_gguf(out, path, &gguf, err));
    if (gguf) return SY_OK;
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) + 2 > sizeof dir) return sy_fail(err, SY_EARG, "the path %.80s... is too long", path);
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return load_beside(out, path, dir, err);
}

/* --- saving -------------------------------------------------------------------------------------------------------------- */

static sy_status put_file(const char *dir, const char *name, const sy_buf *b, sy_err *err)
{
    char path[1024];
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    if (b->failed) return sy_fail(err, SY_ENOMEM, "no memory to write %s", path);
    char *slash = strrchr(path, '/');
    if (strchr(name, '/')) {                         /* the folder of further templates */
        *slash = 0;
        SY_TRY(sy_mkdirs(path, err));
        *slash = '/';
    }
    return sy_file_write(path, b->data ? b->data : "", b->n, err);
}

static sy_status put_config(const sy_tokenizer *t, const char *dir, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "tokenizer_class"), sy_json_text(&j, "PreTrainedTokenizerFast");
    sy_json_key(&j, "eos_token"), sy_json_text(&j, sy_tokenizer_special(t, t->eot));
    sy_json_key(&j, "clean_up_tokenization_spaces"), sy_json_bool(&j, false);
    sy_json_end(&j, '}');
    sy_buf_text(&b, "\n");
    sy_status st = put_file(dir, "tokenizer_config.json", &b, err);
    sy_buf_free(&b);
    return st;
}

sy_status sy_tokenizer_save(const sy_tokenizer *t, const char *dir, sy_err *err)
{
    sy_buf b = { 0 };
    bool config = false;
    sy__tokenizer_write(t, &b);
    sy_status st = put_file(dir, "tokenizer.json", &b, err);
    sy_buf_free(&b);
    for (int i = 0; i < t->n_kept && st == SY_OK; i++) {
        config |= !strcmp(t->kept[i].name, "tokenizer_config.json");
        st = put_file(dir, t->kept[i].name, &t->kept[i].data, err);
    }
    return st != SY_OK || config ? st : put_config(t, dir, err);
}
