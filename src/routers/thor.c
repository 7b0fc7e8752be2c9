/* routers/thor.c - no router: each forward draws its experts at random (THOR, stochastic experts).
 *
 * Paper: Zuo et al. 2021, arXiv:2110.04260. In training each pass of each layer draws one expert, evenly, for the whole micro-batch, and its output is not scaled:
 *   e ~ U{0 .. E-1} by (seed, step, micro-batch, pass, layer);  y = FFN_e(x)
 * The objective thor runs two passes and makes them agree (src/objectives/thor.c). Evaluation and serving, by inference_level:
 *   token     one expert a token, by (seed, sequence, layer, position);    sequence  one a sequence;    ensemble  ours: all experts, y = mean of FFN_e(x)
 * The same seed draws the same experts. Experts that a step did not draw rest: their values and Adam's moments keep their bits (ours; declared as SY_RESTS).
 * The paper has such layers in every second block: layers=dense,sparse. Its dropout inside the experts is not here. */
#include "route/router.h"

enum { TOKEN, SEQUENCE, ENSEMBLE };

typedef struct { int inference_level; } thor_state;

static const sy_opt thor_opts[] = {
    SY_ENUM_(thor_state, inference_level, NULL, SEQUENCE, "token|sequence|ensemble", "what draws an expert in evaluation and serving; ensemble: all of them, on average"),
    { 0 }
};

/* The expert of token t in this mode. */
static int drawn(const thor_state *s, const sy_route_in *in, int t, int cols)
{
    if (in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS) return (int)sy_draw_below(in->batch_key, 0, 0, (uint64_t)cols);
    return (int)sy_draw_below(in->key[t], s->inference_level == TOKEN ? 1 + (uint64_t)in->pos[t] : 0, 0, (uint64_t)cols);
}

static sy_status thor_select(void *state, sy_tape *t, const sy_route_in *in, sy_tensor *z, sy_route *out, sy_err *err)
{
    const thor_state *s = state;
    bool training = in->mode == SY_TRAIN || in->mode == SY_COUNT_PASS, done;
    int cols = out->E + out->Z, k = s->inference_level == ENSEMBLE && !training ? cols : 1;
    (void)z;
    SY_TRY(sy_only_override(in, false, false, err));
    if (!training && (!in->key || !in->pos)) return sy_fail(err, SY_EARG, "experts are drawn: that needs the keys and positions of the tokens");
    SY_TRY(sy_slots_again(t, in, out, &done, err));
    if (!done) {
        out->first_slot = sy_tape_alloc(t, (size_t)in->T + 1, sizeof(int));
        out->expert = sy_tape_alloc(t, (size_t)in->T * (size_t)k, sizeof(int));
        SY_TRY(sy_tape_status(t, err));
        for (int i = 0; i < in->T; i++) {
            for (int e = 0; e < k && sy_valid(in, i); e++) out->expert[out->n++] = k > 1 ? e : drawn(s, in, i, cols);
            out->first_slot[i + 1] = out->n;
        }
    }
    out->weight = sy_new(t, SY_DIM(out->n));
    SY_TRY(sy_tape_status(t, err));
    for (int i = 0; i < out->n; i++) out->weight->x[i] = (sy_real)(1.0 / k);
    return SY_OK;
}

const sy_method sy_router_thor = {
    .kind = SY_ROUTER, .name = "thor", .title = "experts drawn at random (THOR)", .paper = "arXiv:2110.04260",
    .summary = "no router at all: every forward of a layer draws one expert for the whole batch; the objective thor makes two passes agree",
    .when = "As a baseline that needs no balancing, and where data is scarce: experts become regularised copies of each other. They do not specialise. Bring the objective, else passes do not have to agree.",
    .cost = "One expert a token, two passes of each batch with --objective thor; ensemble: all experts when serving.",
    .example = "switchyard train --recipe lm-tiny --data text --router thor --objective thor:consistency_alpha=5 --set balance= --out run",
    .opts = thor_opts, .size = sizeof(thor_state),
    .hooks = &(const sy_router_hooks){ SY_ROUTER_ABI, .flags = SY_NOLOGITS | SY_NOPROBS | SY_RESTS, .select = thor_select },
};
