/* infer/logits.c - ids in, logits out. */
#include "infer/logits.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"

static sy_status read_ids(const char *path, const sy_buf *b, int vocab, int *id, int *n, sy_err *err)
{
    int line = 1;
    for (const char *p = b->data, *end = b->data + b->n; p < end; ) {
        char *stop;
        line += *p == '\n';
        if (*p && strchr(" \t\r\n,[]", *p)) {
            p++;
            continue;
        }
        long long v = *p >= '0' && *p <= '9' ? strtoll(p, &stop, 10) : -1;
        if (v < 0) return sy_fail(err, SY_EFORMAT, "%s line %d: '%.12s' is no id; ids are whole numbers with blanks or commas between them", path, line, p);
        if (v >= vocab) return sy_fail(err, SY_EFORMAT, "%s line %d: id %lld; this model has the ids 0 to %d", path, line, v, vocab - 1);
        id[(*n)++] = (int)v;
        p = stop;
    }
    return *n ? SY_OK : sy_fail(err, SY_EFORMAT, "%s holds no ids", path);
}

sy_status sy_ids_read(const char *path, int vocab, sy_arena *a, int **id, int *n, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = sy_file_read(path, (size_t)1 << 30, &b, err);
    *n = 0;
    if (st == SY_OK && !b.n) st = sy_fail(err, SY_EFORMAT, "%s is empty; write ids into it, with blanks or commas between them", path);
    if (st == SY_OK && !(*id = sy_arena_array(a, b.n / 2 + 1, sizeof **id))) st = sy_fail(err, SY_ENOMEM, "no memory for the ids of %s", path);
    if (st == SY_OK) st = read_ids(path, &b, vocab, *id, n, err);
    sy_buf_free(&b);
    return st;
}

/* One pass over ids from .. from+n-1 behind what the cache holds. */
static sy_status pass(const sy_logits_job *j, sy_tape *t, sy_kv *kv, sy_route **routes, int from, int n, float *out, sy_err *err)
{
    size_t V = (size_t)j->model->spec.vocab_size;
    sy_tape_reset(t);
    int *pos = sy_tape_alloc(t, (size_t)n, sizeof *pos), *seq = sy_tape_alloc(t, (size_t)n, sizeof *seq);
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < n; i++) pos[i] = from + i;
    sy_segment seg = { .n = n, .pos0 = from };
    uint64_t no = 0;
    sy_batch b = { .T = n, .n_seg = 1, .id = j->id + from, .pos = pos, .seq = seq, .seg = &seg, .seq_no = &no };
    sy_run run = { .mode = kv ? SY_SERVE : SY_EVAL, .kv = kv ? &kv : NULL, .routes = routes, .dump = j->dump ? &j->dump->hook : NULL };
    sy_tensor *h = sy_model_hidden(j->model, t, &b, &run), *z = out ? sy_model_logits(j->model, t, h, NULL, n) : NULL;
    SY_TRY(sy_tape_status(t, err));
    for (size_t i = 0; z && i < (size_t)n * V; i++) out[(size_t)from * V + i] = (float)z->x[i];
    if (z && j->dump) {                                         /* the module gives logits before they are divided */
        if (j->model->spec.logits_scaling != 1) z = sy_affine(t, z, j->model->spec.logits_scaling, 0);
        SY_TRY(sy_tape_status(t, err));
        j->dump->hook.take(j->dump->hook.arg, "lm_head", z);
    }
    return j->trace ? sy_trace_add(j->trace, routes, 0, j->id + from, n, from, 0, 0, err) : SY_OK;
}

sy_status sy_logits_run(const sy_logits_job *j, float *out, sy_err *err)
{
    sy_tape t;
    sy_kv kv = { 0 };
    sy_model *m = j->model;
    if (j->T > sy_spec_positions(&m->spec)) return sy_fail(err, SY_ESHAPE, "%d ids, the model takes %d positions", j->T, sy_spec_positions(&m->spec));
    if (j->prefill < 1 || j->prefill > j->T) return sy_fail(err, SY_EARG, "--prefill %d: there are %d ids", j->prefill, j->T);
    bool cached = m->spec.causal;
    if (!cached && j->prefill < j->T) return sy_fail(err, SY_EUNSUP, "an encoder sees its whole text at once: --prefill %d leaves %d of %d ids out", j->prefill, j->T - j->prefill, j->T);
    sy_route **routes = sy_calloc((size_t)m->n_sparse + 1, sizeof *routes);
    if (!routes) return sy_fail(err, SY_ENOMEM, "no memory for the routes of %d layers", m->n_sparse);
    sy_status st = cached ? sy_kv_open(&kv, &m->spec, j->T, err) : SY_OK;
    if (st == SY_OK) {
        sy_tape_init(&t, m->eng, false);
        st = pass(j, &t, cached ? &kv : NULL, routes, 0, j->prefill, out, err);
        for (int i = j->prefill; i < j->T && st == SY_OK; i++) {
            st = pass(j, &t, &kv, routes, i, 1, out, err);
            if (st == SY_OK && j->seen && !j->seen(j->arg, i + 1)) st = sy_fail(err, SY_ESTOP, "stopped after %d of %d ids", i + 1, j->T);
        }
        sy_tape_free(&t);
        sy_kv_close(&kv);
    }
    sy_free(routes);
    return st;
}
