/* cli/prompt.c - conversations as ids, settings. */
#include "cli/prompt.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/utf8.h"
#include "model/checkpoint.h"

/* The folder of a model or of a run's newest checkpoint; a file stands for itself. */
static sy_status place_of(const char *path, char *out, size_t size, sy_err *err)
{
    if (sy_is_dir(path)) return sy_checkpoint_find(path, out, size, err);
    snprintf(out, size, "%s", path);
    return SY_OK;
}

sy_status sy_prompter_open(sy_prompter *p, const char *path, const sy_tokenizer *tok, sy_err *err)
{
    char dir[1024];
    *p = (sy_prompter){ .tok = tok };
    SY_TRY(place_of(path, dir, sizeof dir, err));
    SY_TRY(sy_chat_load(&p->chat, dir, err));
    sy_status st = p->chat ? sy_specials_open(&p->specials, tok, err) : SY_OK;
    if (st != SY_OK) sy_prompter_close(p);
    return st;
}

void sy_prompter_close(sy_prompter *p)
{
    sy_specials_close(p->specials);
    sy_chat_close(p->chat);
    *p = (sy_prompter){ 0 };
}

static sy_status no_memory(sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for the conversation's tokens"); }

json_t *sy_prompter_message(const sy_prompter *p, const char *role, const char *text)
{
    size_t n = strlen(text);
    sy_buf b = { 0 };
    for (size_t i = 0; p->chat && i < n; ) {
        uint32_t cp;
        int k = sy_utf8_next(text + i, n - i, &cp);
        sy_buf_put(&b, k < 0 ? "\xEF\xBF\xBD" : text + i, k < 0 ? 3 : (size_t)k);
        i += (size_t)(k < 0 ? -k : k);
    }
    json_t *m = sy_json_object(), *content = b.failed ? NULL : p->chat ? json_stringn(b.data ? b.data : "", b.n) : json_stringn_nocheck(text, n);
    sy_buf_free(&b);
    if (m && !json_object_set_new(m, "role", json_string(role)) && !json_object_set_new(m, "content", content)) return m;
    json_decref(m);
    return NULL;
}

/* The ids that stand in front of every text, unless the template has written them itself. */
static void put_front(const sy_tokenizer *tok, int *id, size_t *n)
{
    size_t before;
    const int32_t *first = sy_tokenizer_before(tok, &before);
    if (!before || (*n >= before && !memcmp(id, first, before * sizeof *id))) return;
    memmove(id + before, id, *n * sizeof *id);
    memcpy(id, first, before * sizeof *id);
    *n += before;
}

static sy_status by_template(const sy_prompter *p, const sy_conversation *q, sy_arena *a, int **id, size_t *n, sy_err *err)
{
    sy_rendering r = { 0 };
    sy_status st = sy_chat_render(p->chat, q, &r, err);
    if (st == SY_OK && !(*id = sy_arena_array(a, sy_tokenizer_most(p->tok, r.text.n) + sy_tokenizer_front(p->tok), sizeof **id))) st = no_memory(err);
    if (st == SY_OK) st = sy_specials_encode(p->specials, r.text.data, r.mark.data, 0, r.text.n, *id, n, err);
    sy_rendering_free(&r);
    if (st == SY_OK) put_front(p->tok, *id, n);
    return st;
}

static sy_status add(const sy_tokenizer *tok, const char *text, int *id, size_t *n, sy_err *err)
{
    size_t k = 0;
    SY_TRY(sy_tokenizer_encode(tok, text, strlen(text), id + *n, &k, err));
    *n += k;
    return SY_OK;
}

/* In the pieces in which training reads `messages`. */
static sy_status by_lines(const sy_prompter *p, const sy_conversation *q, sy_arena *a, int **id, size_t *n, sy_err *err)
{
    char head[96];
    size_t most = sy_tokenizer_most(p->tok, sizeof head) + sy_tokenizer_front(p->tok), i;
    json_t *m;
    if (q->tools || q->documents || json_object_size(q->extra)) return sy_fail(err, SY_EUNSUP, "this model brings no chat template, so tools, documents and other names have no place");
    json_array_foreach((json_t *)q->messages, i, m) most += sy_tokenizer_most(p->tok, json_string_length(json_object_get(m, "content")) + 1 + sizeof head);
    if (!(*id = sy_arena_array(a, most, sizeof **id))) return no_memory(err);
    *n = 0;
    json_array_foreach((json_t *)q->messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role")), *content = json_string_value(json_object_get(m, "content"));
        if (!role || !content || strlen(role) > 64) return sy_fail(err, SY_EFORMAT, "message %zu needs a 'role' (at most 64 bytes) and a 'content' that are texts", i + 1);
        snprintf(head, sizeof head, "<|%s|>\n", role);
        SY_TRY(add(p->tok, head, *id, n, err));
        SY_TRY(add(p->tok, content, *id, n, err));
        SY_TRY(add(p->tok, "\n", *id, n, err));
    }
    if (q->answer) SY_TRY(add(p->tok, "<|assistant|>\n", *id, n, err));
    put_front(p->tok, *id, n);
    return SY_OK;
}

sy_status sy_prompter_ids(const sy_prompter *p, const sy_conversation *q, sy_arena *a, int **id, size_t *n, sy_err *err)
{
    return p->chat ? by_template(p, q, a, id, n, err) : by_lines(p, q, a, id, n, err);
}

sy_status sy_open_settings(sy_cli *cli, const char *path, const sy_list *set, bool greedy, sy_generate_options *o, sy_settings *s, sy_err *err)
{
    char dir[1024];
    uint64_t given = 0;
    int index = 0;
    size_t at;
    sy_opt_defaults(sy_generate_opts, o);
    if (greedy && sy_opt_find(sy_generate_opts, "do_sample", &at, &index)) {
        o->sample.do_sample = false;
        given |= (uint64_t)1 << index;
    }
    for (int i = 0; i < set->n; i++) SY_TRY(sy_opt_parse(sy_generate_opts, o, set->v[i], &cli->arena, &given, err));
    SY_TRY(place_of(path, dir, sizeof dir, err));
    SY_TRY(sy_settings_read(dir, o, given, s, &cli->arena, err));
    if (s->left_out) sy_log_warn(&cli->log, "generation_config.json asks for what this program does not do: %s", s->left_out);
    return SY_OK;
}
