/* decode/scmoe.c - the next token from strong routing contrasted with weak routing of the same model.
 *
 * Paper: Shi et al. 2024, arXiv:2405.14507. The model reads every token twice: strong with its own routing (or the num_experts_per_tok best experts), weak with the experts
 * of the places student_routed_tok, student_routed_tok+1, ... of each token's order, student_num_experts_per_tok of them; place E is an expert drawn at random.
 *   l_s, l_w = logits of the last position of the two, divided by cd_tt and cd_st
 *   V' = { v : l_s[v] >= ln(cd_alpha) + max l_s };   score[v] = (1 + cd_beta) l_s[v] - cd_beta l_w[v] on V', -infinity elsewhere
 * Weights follow the router's own rule at the places taken (renormalised where it renormalises); shared experts stay on. Each run has its own cache.
 * Ours: where V' is one token, or cd_beta is 0, the weak run has nothing to say and is put off; its cache catches up when it is needed next, in one pass
 * over what it has missed. Departs: a random expert keeps the weight that the router gives it, which is 1 only where weights are renormalised. */
#include <math.h>

#include "core/alloc.h"
#include "infer/decode.h"

enum { MOST = 64 };

typedef struct {
    double   cd_alpha, cd_beta, cd_tt, cd_st;
    int      num_experts_per_tok, student_routed_tok, student_num_experts_per_tok;
    sy_tape  tape;                      /* of the weak run */
    sy_kv    kv;
    sy_real *score;                     /* [V] */
    int      rank[MOST];
} scmoe_state;

static const sy_opt scmoe_opts[] = {
    SY_REAL(scmoe_state, cd_alpha, "alpha", 0.1, 0, 1, "an id stays possible when its strong probability is at least this share of the largest"),
    SY_REAL(scmoe_state, cd_beta,  "beta",  0.5, 0, 100, "how much the weak logits are held against an id"),
    SY_REAL(scmoe_state, cd_tt,    NULL, 1, 1e-3, 1e3, "temperature of the strong logits"),
    SY_REAL(scmoe_state, cd_st,    NULL, 1, 1e-3, 1e3, "temperature of the weak logits"),
    SY_INT (scmoe_state, num_experts_per_tok, "top_k", 0, 0, 1024, "experts of the strong run; 0 = as the model does"),
    SY_INT (scmoe_state, student_routed_tok, "rank", 2, 0, 1 << 20, "first place, from 0, of a token's order of experts that the weak run takes; the number of experts: one at random"),
    SY_INT (scmoe_state, student_num_experts_per_tok, NULL, 1, 1, MOST, "places that the weak run takes"),
    { 0 }
};

static sy_status scmoe_check(const void *state, const void *model, sy_err *err)
{
    const scmoe_state *s = state;
    const sy_model *m = model;
    int cols = m->spec.num_experts + m->spec.zero_experts, last = s->student_routed_tok + s->student_num_experts_per_tok - 1;
    if (!m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: it has no weaker routing to contrast itself with");
    if (s->num_experts_per_tok > cols) return sy_fail(err, SY_EARG, "num_experts_per_tok %d exceeds the %d experts", s->num_experts_per_tok, cols);
    if (last > cols) return sy_fail(err, SY_EARG, "student_routed_tok %d with %d places ends at %d; places are 0 .. %d, and %d is a random expert", s->student_routed_tok, s->student_num_experts_per_tok, last, cols - 1, cols);
    for (int l = 0; l < m->spec.num_hidden_layers; l++)
        if (m->layer[l].sparse && m->layer[l].block.flags & SY_MIXES)
            return sy_fail(err, SY_EUNSUP, "router %s declares that it mixes tokens instead of routing them: there is no order of experts to take a weaker one from", m->layer[l].block.router.m->name);
    return SY_OK;
}

static sy_status scmoe_open(void *state, sy_generator *g, sy_err *err)
{
    scmoe_state *s = state;
    for (int i = 0; i < s->student_num_experts_per_tok; i++) s->rank[i] = s->student_routed_tok + i;
    sy_tape_init(&s->tape, g->model->eng, false);
    s->score = sy_malloc((size_t)g->model->spec.vocab_size * sizeof *s->score);
    if (!s->score) return sy_fail(err, SY_ENOMEM, "no memory for the scores of %d ids", g->model->spec.vocab_size);
    return sy_kv_open(&s->kv, &g->model->spec, g->room, err);
}

/* score = strong / cd_tt, -infinity outside V'; returns how many ids are left. */
static int plausible(scmoe_state *s, const sy_real *strong, int V)
{
    double most = -INFINITY;
    int left = 0;
    for (int v = 0; v < V; v++) most = fmax(most, (double)strong[v] / s->cd_tt);
    double least = log(s->cd_alpha) + most;
    for (int v = 0; v < V; v++) {
        double l = (double)strong[v] / s->cd_tt;
        bool in = l >= least || s->cd_alpha == 0;
        s->score[v] = in ? (sy_real)l : (sy_real)-INFINITY;
        left += in;
    }
    return left;
}

static sy_status scmoe_read(void *state, sy_generator *g, int to, const sy_override *over, const sy_real **scores, sy_err *err)
{
    scmoe_state *s = state;
    int V = g->model->spec.vocab_size;
    const sy_real *strong, *weak;
    if (over) return sy_fail(err, SY_EUNSUP, "an override of the routing beside its own two; give num_experts_per_tok as its option instead");
    sy_override best = { .k = s->num_experts_per_tok }, worse = { .n_ranks = s->student_num_experts_per_tok, .ranks = s->rank };
    SY_TRY(sy_generator_pass(g, &(sy_generator_call){ .tape = &g->tape, .kv = &g->kv, .over = best.k ? &best : NULL, .routes = g->routes }, to, &strong, err));
    int left = plausible(s, strong, V);
    *scores = s->score;
    if (left <= 1 || s->cd_beta == 0) return SY_OK;
    SY_TRY(sy_within(err, sy_generator_pass(g, &(sy_generator_call){ .tape = &s->tape, .kv = &s->kv, .over = &worse }, to, &weak, err), "the weak run"));
    for (int v = 0; v < V; v++)
        if (s->score[v] > (sy_real)-INFINITY) s->score[v] = (sy_real)((1 + s->cd_beta) * (double)s->score[v] - s->cd_beta * ((double)weak[v] / s->cd_st));
    return SY_OK;
}

static void scmoe_rewind(void *state, sy_generator *g, int n)
{
    scmoe_state *s = state;
    (void)g;
    if (s->kv.n > n) s->kv.n = n;
}

static void scmoe_close(void *state)
{
    scmoe_state *s = state;
    sy_tape_free(&s->tape);
    sy_kv_close(&s->kv);
    sy_free(s->score);
}

const sy_method sy_decode_scmoe = {
    .kind = SY_DECODE, .name = "scmoe", .title = "self-contrast of strong and weak routing (SCMoE)", .paper = "arXiv:2405.14507",
    .summary = "runs the model with its own experts and with worse ones, and prefers what the worse ones find less likely",
    .when = "Answers that need a chain of steps (arithmetic, code), with the model as it is: nothing is trained. Not for measuring likelihoods: ids outside the plausible set have none.",
    .cost = "A second pass for each token in which more than one id is plausible, cheaper than the first where it takes fewer experts; a second cache.",
    .example = "switchyard generate run -p \"To be\" --greedy --decode scmoe:beta=0.5,rank=2",
    .neutral = "cd_alpha=0,cd_beta=0",
    .opts = scmoe_opts, .size = sizeof(scmoe_state), .check = scmoe_check,
    .hooks = &(const sy_decode_hooks){ .abi = SY_DECODE_ABI, .open = scmoe_open, .read = scmoe_read, .rewind = scmoe_rewind, .close = scmoe_close },
};
