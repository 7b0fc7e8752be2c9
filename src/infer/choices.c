/* infer/choices.c - reading questions, scoring answers. */
#include "infer/choices.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"

/* --- reading ---------------------------------------------------------------------------------------------------------------- */

static sy_status no_memory(const char *path, sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for the questions of %s", path); }

static sy_status question(sy_question *q, json_t *v, const char *where, sy_arena *a, sy_err *err)
{
    json_t *list = json_object_get(v, "choices");
    const char *prompt = NULL;
    long long answer = -1;
    if (!json_is_object(v)) return sy_fail(err, SY_EFORMAT, "%s is no object with prompt, choices and answer", where);
    SY_TRY(sy_json_get_text(v, where, "prompt", true, &prompt, err));
    size_t n = json_array_size(list);
    if (n < 2 || n > SY_CHOICES_MOST) return sy_fail(err, SY_EFORMAT, "%s: 'choices' must be a list of 2 to %d texts", where, SY_CHOICES_MOST);
    SY_TRY(sy_json_get_int(v, where, "answer", true, 0, (long long)n - 1, &answer, err));
    const char **choice = sy_arena_array(a, n, sizeof *choice);
    q->prompt = sy_arena_strdup(a, prompt);
    if (!choice || !q->prompt) return no_memory(where, err);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !*text) return sy_fail(err, SY_EFORMAT, "%s: choice %zu is %s", where, i, text ? "empty" : "no text");
        if (!(choice[i] = sy_arena_strdup(a, text))) return no_memory(where, err);
    }
    q->choice = choice;
    q->n = (int)n;
    q->answer = (int)answer;
    return SY_OK;
}

static sy_status lines(sy_questions *out, const sy_buf *b, sy_arena *a, sy_err *err)
{
    int room = 1;
    int64_t line = 0;
    for (size_t i = 0; i < b->n; i++) room += b->data[i] == '\n';
    if (!(out->q = sy_arena_array(a, (size_t)room, sizeof *out->q))) return no_memory(out->path, err);
    for (const char *p = b->data, *end = b->data + b->n; p < end; ) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        char where[1100];
        json_t *v;
        line++;
        snprintf(where, sizeof where, "%s line %lld", out->path, (long long)line);
        bool empty = true;
        for (size_t i = 0; i < n && empty; i++) empty = p[i] == ' ' || p[i] == '\t' || p[i] == '\r';
        if (!empty) {
            sy_question *q = &out->q[out->n];
            SY_TRY(sy_json_parse(&v, p, n, where, err));
            q->line = line;
            sy_status st = question(q, v, where, a, err);
            json_decref(v);
            SY_TRY(st);
            out->n++;
        }
        p += n + 1;
    }
    return out->n ? SY_OK : sy_fail(err, SY_EFORMAT, "%s holds no question; a line looks like {\"prompt\": \"2+2=\", \"choices\": [\"4\", \"5\"], \"answer\": 0}", out->path);
}

sy_status sy_choices_read(sy_questions *out, const char *path, sy_arena *a, sy_err *err)
{
    sy_buf b = { 0 };
    *out = (sy_questions){ .path = path };
    sy_status st = sy_file_read(path, (size_t)1 << 30, &b, err);
    if (st == SY_OK) st = lines(out, &b, a, err);
    sy_buf_free(&b);
    return st;
}

/* --- scoring ---------------------------------------------------------------------------------------------------------------- */

typedef struct ids { int *id; size_t n; } ids;

static sy_status encode(const sy_tokenizer *tok, const char *text, sy_tape *t, ids *out, sy_err *err)
{
    size_t bytes = strlen(text);
    out->id = sy_tape_alloc(t, sy_tokenizer_most(tok, bytes) + 1, sizeof *out->id);
    SY_TRY(sy_tape_status(t, err));
    return sy_tokenizer_encode(tok, text, bytes, out->id, &out->n, err);
}

/* Lays prompt + choice of every choice side by side, one segment each; a label stands where the next id belongs to the choice. */
static sy_status batch_of(const sy_model *m, const sy_question *q, const ids *prompt, const ids *choice, sy_tape *t, sy_batch *b, sy_err *err)
{
    size_t T = 0;
    for (int c = 0; c < q->n; c++) {
        if (prompt->n + choice[c].n > (size_t)m->spec.max_position_embeddings)
            return sy_fail(err, SY_ESHAPE, "prompt and choice %d are %zu tokens together, the model takes %d", c, prompt->n + choice[c].n, m->spec.max_position_embeddings);
        T += prompt->n + choice[c].n;
    }
    int *id = sy_tape_alloc(t, T, sizeof *id), *label = sy_tape_alloc(t, T, sizeof *label), *pos = sy_tape_alloc(t, T, sizeof *pos), *seq = sy_tape_alloc(t, T, sizeof *seq);
    sy_segment *seg = sy_tape_alloc(t, (size_t)q->n, sizeof *seg);
    uint64_t *no = sy_tape_alloc(t, (size_t)q->n, sizeof *no);       /* zeros: each choice is a request of its own with the same noise, if any */
    SY_TRY(sy_tape_status(t, err));
    int at = 0;
    for (int c = 0; c < q->n; c++) {
        int p = (int)prompt->n, n = p + (int)choice[c].n;
        seg[c] = (sy_segment){ .row = at, .n = n };
        for (int i = 0; i < n; i++, at++) {
            id[at] = i < p ? prompt->id[i] : choice[c].id[i - p];
            label[at] = i + 1 >= p && i + 1 < n ? choice[c].id[i + 1 - p] : -1;
            pos[at] = i;
            seq[at] = c;
        }
    }
    *b = (sy_batch){ .T = at, .n_seg = q->n, .id = id, .label = label, .pos = pos, .seq = seq, .seg = seg, .seq_no = no };
    return SY_OK;
}

sy_status sy_choices_score(sy_model *m, const sy_tokenizer *tok, const sy_question *q, sy_tape *t, double *logp, sy_err *err)
{
    ids prompt, choice[SY_CHOICES_MOST];
    sy_batch b;
    sy_tape_reset(t);
    SY_TRY(encode(tok, q->prompt, t, &prompt, err));
    if (!prompt.n) {
        if (sy_tokenizer_eot(tok) < 0) return sy_fail(err, SY_EUNSUP, "the prompt is empty, and this tokenizer has no end-of-document token to begin with");
        prompt.id[prompt.n++] = sy_tokenizer_eot(tok);
    }
    for (int c = 0; c < q->n; c++) SY_TRY(encode(tok, q->choice[c], t, &choice[c], err));
    SY_TRY(batch_of(m, q, &prompt, choice, t, &b, err));
    sy_real *nll = sy_tape_alloc(t, (size_t)b.T, sizeof *nll);
    sy_run run = { .mode = SY_SERVE };
    sy_tensor *h = sy_model_hidden(m, t, &b, &run);
    sy_model_loss(m, t, h, b.label, &(sy_xent){ .scale = 1, .nll = nll });
    SY_TRY(sy_tape_status(t, err));
    for (int c = 0; c < q->n; c++) {
        logp[c] = 0;
        for (int i = b.seg[c].row; i < b.seg[c].row + b.seg[c].n; i++) if (b.label[i] >= 0) logp[c] -= (double)nll[i];
    }
    return SY_OK;
}

static int first_largest(const double *v, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++) if (v[i] > v[best]) best = i;
    return best;
}

sy_status sy_choices_run(sy_model *m, const sy_tokenizer *tok, const sy_questions *all, bool (*seen)(void *arg, int done), void *arg, sy_choices_result *out, sy_err *err)
{
    sy_tape t;
    sy_choices_result r = { .n = all->n };
    sy_status st = SY_OK;
    sy_tape_init(&t, m->eng, false);
    for (int i = 0; i < all->n && st == SY_OK; i++) {
        const sy_question *q = &all->q[i];
        double logp[SY_CHOICES_MOST];
        st = sy_within(err, sy_choices_score(m, tok, q, &t, logp, err), "%s line %lld", all->path, (long long)q->line);
        if (st != SY_OK) break;
        r.nats -= logp[q->answer] / all->n;
        r.chance += 1.0 / q->n / all->n;
        r.right += first_largest(logp, q->n) == q->answer;
        for (int c = 0; c < q->n; c++) logp[c] /= (double)strlen(q->choice[c]);
        r.right_per_byte += first_largest(logp, q->n) == q->answer;
        if (seen && !seen(arg, i + 1)) st = sy_fail(err, SY_ESTOP, "stopped after %d of %d questions", i + 1, all->n);
    }
    sy_tape_free(&t);
    if (st == SY_OK) *out = r;
    return st;
}
