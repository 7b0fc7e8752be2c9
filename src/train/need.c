/* train/need.c - counting parameters that have no memory yet, and what tapes will hold. */
#include "train/need.h"

#include <math.h>
#include <stdio.h>

#include "model/model.h"

/* Parameters as the model will declare them. */
static sy_status count(sy_need *n, sy_engine *e, const sy_spec *spec, double *k, sy_err *err)
{
    sy_model *m;
    SY_TRY(sy_model_new(&m, e, spec, SY_MODEL_BARE, 0, err));
    for (int i = 0; i < m->params.n; i++) {
        const sy_param *p = m->params.p[i];
        n->values += (double)p->n;
        if (!(p->flags & (SY_FROZEN | SY_BUFFER))) n->trained += (double)p->n;
    }
    *k = sy_model_nominal_k(m);
    sy_model_free(m);
    return SY_OK;
}

/* Logits of one visit of the head (ops/xent.c). */
static double chunk(const sy_spec *s, double T) { return fmin(T * s->vocab_size, fmax(s->vocab_size, (8 << 20) / 4)); }

/* A step holds what the forward passes made until backward has walked over it, and gradients of all of it; with recomputation the outputs of layers in the place of the
 * layers, and beside them one layer with its gradients. An evaluation holds outputs and one layer. The head is visited in chunks whose gradients are kept. */
static double step_values(const sy_spec *s, const sy_activations *a, double T, int passes, bool recompute)
{
    double D = s->hidden_size, V = s->vocab_size, forward = T * ((recompute ? s->num_hidden_layers * D : a->layers) + a->ends);
    return passes * (forward + V * D + T * D) + fmax(passes * forward, chunk(s, T)) + (recompute ? 2 * T * a->largest : 0);
}

static double eval_values(const sy_spec *s, const sy_activations *a, double T) { return T * (s->num_hidden_layers * (double)s->hidden_size + a->ends + a->largest) + chunk(s, T); }

sy_status sy_need_of(sy_need *out, sy_engine *e, const sy_config *c, const sy_spec *spec, int passes, sy_err *err)
{
    const sy_train_options *o = &c->train;
    int rows = o->micro_batch_size && o->micro_batch_size < o->batch_size ? o->micro_batch_size : o->batch_size;
    double k, real = sizeof(sy_real), T = (double)rows * c->data.seq_len;
    sy_activations a;
    *out = (sy_need){ .tokens = T > INT32_MAX ? INT32_MAX : (int)T, .recompute = o->recompute == SY_RECOMPUTE_LAYERS };
    SY_TRY(count(out, e, spec, &k, err));
    sy_spec_activations(spec, k ? k : spec->num_experts, &a);
    out->weights = real * out->values;
    out->gradients = real * out->trained;
    out->moments = 2 * real * out->trained;
    out->step = real * step_values(spec, &a, T, passes, out->recompute);
    out->eval = real * eval_values(spec, &a, (double)o->eval_rows * c->data.seq_len);
    out->total = out->weights + out->gradients + out->moments + out->step + out->eval;
    return SY_OK;
}

sy_status sy_need_fits(const sy_need *n, const sy_config *c, double left, sy_err *err)
{
    char less[200] = "";
    double gb = 1e9, model = n->weights + n->gradients + n->moments;
    size_t at = 0;
    if (n->total <= left) return SY_OK;
    if (model > left)
        return sy_fail(err, SY_ENOMEM, "%.4g M parameters take %.4g GB to train (weights %.4g, gradients %.4g, moments %.4g), %.4g GB can be had: make hidden_size, layers, vocabulary or experts smaller",
                       n->values / 1e6, model / gb, n->weights / gb, n->gradients / gb, n->moments / gb, left / gb);
    if (n->tokens > c->data.seq_len) at += (size_t)snprintf(less + at, sizeof less - at, "a smaller micro_batch_size, ");
    if (!n->recompute) at += (size_t)snprintf(less + at, sizeof less - at, "recompute=layers, ");
    if (n->eval > n->total - left) at += (size_t)snprintf(less + at, sizeof less - at, "a smaller eval_rows, ");
    snprintf(less + at, sizeof less - at, "a smaller seq_len");
    return sy_fail(err, SY_ENOMEM, "the run takes about %.4g GB (weights %.4g, gradients %.4g, moments %.4g, activations of %d tokens %.4g, of an evaluation %.4g), %.4g GB can be had: set %s",
                   n->total / gb, n->weights / gb, n->gradients / gb, n->moments / gb, n->tokens, n->step / gb, n->eval / gb, left / gb, less);
}
