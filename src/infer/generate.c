/* infer/generate.c - the loop from id to id, and the text that may already be shown. */
#include "infer/generate.h"

#include <string.h>

#include "core/alloc.h"
#include "core/utf8.h"
#include "infer/decode.h"

const sy_opt sy_generate_opts[] = {
    SY_INT (sy_generate_options, max_new_tokens, "n_predict", 200, 0, 1 << 24, "tokens to make"),
    SY_BOOL(sy_generate_options, ignore_eos, NULL, false, "go on behind the end-of-document token"),
    SY_OPTS(sy_generate_options, sample, sy_sample_opts),
    { 0 }
};

sy_status sy_generator_open(sy_generator *g, sy_model *m, const sy_tokenizer *tok, int room, sy_err *err)
{
    *g = (sy_generator){ .model = m, .tok = tok, .room = room };
    if (room < 1 || room > sy_spec_positions(&m->spec))
        return sy_fail(err, SY_EARG, "a context of %d positions; this model takes 1 .. %d", room, sy_spec_positions(&m->spec));
    sy_tape_init(&g->tape, m->eng, false);
    g->id = sy_malloc((size_t)room * sizeof *g->id);
    g->routes = sy_calloc((size_t)m->n_sparse + 1, sizeof(sy_route *));
    sy_status st = g->id && g->routes ? sy_kv_open(&g->kv, &m->spec, room, err) : sy_fail(err, SY_ENOMEM, "no memory for a context of %d positions", room);
    if (st == SY_OK) st = sy_sampler_open(&g->sampler, m->spec.vocab_size, err);
    if (st != SY_OK) sy_generator_close(g);
    return st;
}

sy_status sy_generator_decode(sy_generator *g, const char *method, sy_err *err)
{
    const sy_method *m;
    void *s;
    if (g->decode || g->n) return sy_fail(err, SY_EARG, "decoding method %s comes too late: %s", method, g->decode ? "there is one already" : "ids were read without it");
    SY_TRY(sy_method_make(&g->model->eng->methods, SY_DECODE, method, &g->arena, &m, &s, err));
    const sy_decode_hooks *h = m->hooks;
    if (h->abi != SY_DECODE_ABI) return sy_fail(err, SY_EUNSUP, "decode %s was built for interface %d of decoding methods, this engine has %d", m->name, h->abi, SY_DECODE_ABI);
    g->decode = m;
    g->decoder = s;
    if (m->check) SY_TRY(sy_within(err, m->check(s, g->model, err), "decode %s", m->name));
    return sy_within(err, h->open(s, g, err), "decode %s", m->name);
}

void sy_generator_close(sy_generator *g)
{
    const sy_decode_hooks *h = g->decode ? g->decode->hooks : NULL;
    if (h && h->close) h->close(g->decoder);
    sy_arena_free(&g->arena);
    sy_tape_free(&g->tape);
    sy_kv_close(&g->kv);
    sy_sampler_close(&g->sampler);
    sy_free(g->id);
    sy_free(g->routes);
    *g = (sy_generator){ 0 };
}

void sy_generator_rewind(sy_generator *g, int n)
{
    const sy_decode_hooks *h = g->decode ? g->decode->hooks : NULL;
    if (n >= g->n) return;
    g->n = n;
    if (g->kv.n > n) g->kv.n = n;
    if (h && h->rewind) h->rewind(g->decoder, g, n);
    g->logits = NULL;
    sy_sampler_forget(&g->sampler);
    sy_sampler_saw(&g->sampler, g->id, n);
}

sy_status sy_generator_pass(sy_generator *g, const sy_generator_call *c, int to, const sy_real **logits, sy_err *err)
{
    sy_tape *t = c->tape;
    int from = c->kv->n, n = to - from, last = n - 1;
    uint64_t no = 0, before = t->madds;
    if (n < 1 || to > g->room) return sy_fail(err, SY_ESHAPE, "a pass over the positions %d to %d of a context of %d", from, to - 1, g->room);
    sy_tape_reset(t);
    int *pos = sy_tape_alloc(t, (size_t)n, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)n, sizeof *seq);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) pos[i] = from + i;
    sy_kv *kv[1] = { c->kv };
    sy_segment seg = { .row = 0, .n = n, .pos0 = from };
    sy_batch b = { .T = n, .n_seg = 1, .id = g->id + from, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run run = { .mode = SY_SERVE, .kv = kv, .over = c->over, .routes = c->routes, .edits = c->edits };
    sy_tensor *z = sy_model_logits(g->model, t, sy_model_hidden(g->model, t, &b, &run), &last, 1);
    g->madds += t->madds - before;
    if (t->status != SY_OK) c->kv->n = from;         /* nothing was read */
    SY_TRY(sy_tape_status(t, err));
    *logits = z->x;
    return SY_OK;
}

sy_status sy_generator_feed(sy_generator *g, const int *id, int n, const sy_override *over, sy_err *err)
{
    if (n < 1) return sy_fail(err, SY_EARG, "an empty prompt; give at least one token");
    if (n > g->room - g->n) return sy_fail(err, SY_ESHAPE, "the context of %d positions is full: %d are used, %d more were given", g->room, g->n, n);
    const sy_decode_hooks *h = g->decode ? g->decode->hooks : NULL;
    const sy_real *logits = NULL;
    g->logits = NULL;
    memmove(g->id + g->n, id, (size_t)n * sizeof *id);
    sy_status st = h ? sy_within(err, h->read(g->decoder, g, g->n + n, over, &logits, err), "decode %s", g->decode->name)
                     : sy_generator_pass(g, &(sy_generator_call){ .tape = &g->tape, .kv = &g->kv, .over = over, .routes = g->routes }, g->n + n, &logits, err);
    if (st != SY_OK) {                               /* nothing was read */
        if (g->kv.n > g->n) g->kv.n = g->n;
        return st;
    }
    g->n += n;
    g->logits = logits;
    sy_sampler_saw(&g->sampler, id, n);
    return SY_OK;
}

/* Text that has been decoded and not yet been shown. */
typedef struct pending { sy_generation *x; sy_buf *out; sy_buf text; sy_decoder decoder; } pending;

/* Where the first stop string begins in the pending text, or how much of the text's end might be the beginning of one. */
static bool find_stop(const pending *p, size_t *at, size_t *hold)
{
    bool found = false;
    *hold = 0;
    for (int i = 0; i < p->x->n_stop; i++) {
        const char *s = p->x->stop[i];
        size_t n = strlen(s);
        char *hit = n && p->text.n ? memmem(p->text.data, p->text.n, s, n) : NULL;
        if (hit && (!found || (size_t)(hit - p->text.data) < *at)) {
            *at = (size_t)(hit - p->text.data);
            found = true;
        }
        for (size_t k = n < p->text.n + 1 ? n - (n > 0) : p->text.n; k > *hold; k--)
            if (!memcmp(p->text.data + p->text.n - k, s, k)) { *hold = k; break; }
    }
    return found;
}

/* Shows n bytes of the pending text. False: the receiver wants no more. */
static bool show(pending *p, size_t n)
{
    bool more = !n || !p->x->text || p->x->text(p->x->arg, p->text.data, n);
    if (p->out) sy_buf_put(p->out, p->text.data, n);
    memmove(p->text.data, p->text.data + n, p->text.n - n);
    p->text.n -= n;
    p->text.data[p->text.n] = 0;
    return more;
}

static sy_status take(pending *p, int id, sy_err *err)
{
    size_t at = 0, hold;
    SY_TRY(sy_decoder_feed(&p->decoder, id, &p->text, err));
    if (!p->text.n) return SY_OK;
    if (find_stop(p, &at, &hold)) {
        show(p, at);
        p->text.n = 0;
        p->x->ended = SY_STOP_TEXT;
        return SY_OK;
    }
    size_t whole = p->text.n - hold;
    if (!show(p, whole - sy_utf8_tail(p->text.data, whole))) {
        p->x->ended = SY_STOP_ASKED;
        p->text.n = 0;                               /* the receiver is told nothing more */
    }
    return SY_OK;
}

static bool is_among(int id, const int *list, int n)
{
    for (int i = 0; i < n; i++) if (list[i] == id) return true;
    return false;
}

static sy_status loop(sy_generator *g, const sy_generate_options *o, pending *p, sy_err *err)
{
    sy_generation *x = p->x;
    int own = g->tok ? sy_tokenizer_eot(g->tok) : -1;
    for (x->tokens = 0; x->ended == SY_STOP_NONE; ) {
        int id = 0;
        if (x->tokens == o->max_new_tokens) { x->ended = SY_STOP_LENGTH; break; }
        SY_TRY(sy_sample(&g->sampler, &o->sample, g->logits, g->n, &id, err));
        x->tokens++;
        if (x->token && !x->token(x->arg, g, id)) x->ended = SY_STOP_ASKED;
        if (!o->ignore_eos && (id == own || is_among(id, x->eos, x->n_eos))) { x->ended = SY_STOP_EOS; break; }
        if (g->tok) SY_TRY(take(p, id, err));
        if (x->ended != SY_STOP_NONE) break;
        if (g->n == g->room) { x->ended = SY_STOP_FULL; break; }
        SY_TRY(sy_generator_feed(g, &id, 1, x->over, err));
    }
    if (g->tok && x->ended != SY_STOP_TEXT && x->ended != SY_STOP_ASKED) SY_TRY(sy_decoder_end(&p->decoder, &p->text, err));
    if (p->text.n) show(p, p->text.n);               /* an incomplete character or stop string is all there will be */
    return p->text.failed || (p->out && p->out->failed) ? sy_fail(err, SY_ENOMEM, "no memory for the text") : SY_OK;
}

sy_status sy_generate(sy_generator *g, const sy_generate_options *o, sy_generation *x, sy_buf *out, sy_err *err)
{
    pending p = { .x = x, .out = out };
    x->ended = SY_STOP_NONE;
    if (!g->logits) return sy_fail(err, SY_EARG, "nothing was read yet; give a prompt of at least one token");
    sy_buf_reserve(&p.text, 256);                    /* so that a token's text allocates nothing later */
    sy_status st = g->tok ? sy_decoder_open(&p.decoder, g->tok, g->id, (size_t)g->n, err) : SY_OK;
    if (st == SY_OK) st = loop(g, o, &p, err);
    sy_decoder_close(&p.decoder);
    sy_buf_free(&p.text);
    return st;
}
