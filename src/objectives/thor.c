/* objectives/thor.c - two passes of the same batch must agree (THOR's consistency loss).
 *
 * Paper: Zuo et al. 2021, arXiv:2110.04260. p, q = output distributions of two passes that draw other experts (routers/thor.c):
 *   L = CE(p,y) + CE(q,y) + consistency_alpha / 2 * sum over counted tokens of sum_v (p_v - q_v)(ln p_v - ln q_v)
 * divided by the counted tokens of the step; the cross-entropies are the trainer's, smoothed by its label_smoothing. The gradient goes into both passes. With any other
 * source of chance in a forward (noise on logits, random second experts) the same loss makes those passes agree. */
#include "train/objective.h"

typedef struct { double consistency_alpha; } thor_state;

static const sy_opt thor_opts[] = {
    SY_REAL(thor_state, consistency_alpha, "alpha", 5, 0, 1e6, "weight of the symmetric divergence between the two passes"),
    { 0 }
};

static sy_status thor_loss(void *state, sy_tape *t, const sy_objective_in *in, sy_losses *add, sy_err *err)
{
    const thor_state *s = state;
    if (s->consistency_alpha > 0) {
        sy_tensor *apart = sy_model_divergence(in->model, t, in->hidden[0], in->hidden[1], in->batch->label, 0.5 * s->consistency_alpha / (double)in->counted);
        sy_losses_add(t, add, "thor.consistency", -1, apart);
    }
    return sy_tape_status(t, err);
}

const sy_method sy_objective_thor = {
    .kind = SY_OBJECTIVE, .name = "thor", .title = "consistency of two passes (THOR)", .paper = "arXiv:2110.04260",
    .summary = "runs every batch twice, with other random experts, and pulls the two output distributions together",
    .when = "With --router thor, whose experts it turns into an ensemble that agrees; alpha 0 leaves the two cross-entropies alone.",
    .cost = "Twice the time and the activations of a step, and one more pair of products with the head.",
    .example = "switchyard train --recipe lm-tiny --data text --router thor --objective thor:consistency_alpha=5 --set balance= --out run",
    .opts = thor_opts, .size = sizeof(thor_state),
    .hooks = &(const sy_objective_hooks){ .abi = SY_OBJECTIVE_ABI, .passes = 2, .loss = thor_loss },
};
