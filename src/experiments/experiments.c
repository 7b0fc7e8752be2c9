/* experiments/experiments.c - the list. Arms of one experiment have equal tokens; what else is equal is said in the question. */
#include <string.h>

#include "experiments/experiment.h"

#define TOP2 "router=topk:top_k=2,norm_topk_prob=true"

const sy_experiment sy_experiments[] = {
    { "topk", "token-choice top-2 against a dense model", "arXiv:1701.06538", "lm-tiny",
      "Equal active parameters and tokens: 8 experts of width 128 of which a token uses 2, against one FFN of width 256.", "parameters active_parameters maxvio specialisation",
      { { "dense", "layers=dense intermediate_size=256", 0 },
        { "topk", "layers=sparse num_experts=8 moe_intermediate_size=128 " TOP2 " balance=switch:coef=$C", 0.01 } } },
    { "switch", "Switch's top-1 against top-2", "arXiv:2101.03961", "lm-tiny",
      "Equal total and active parameters: 8 experts of width 128, 2 a token, against 4 experts of width 256, 1 a token with capacity 1.25.", "parameters active_parameters maxvio specialisation",
      { { "topk", "layers=sparse num_experts=8 moe_intermediate_size=128 " TOP2 " balance=switch:coef=$C", 0.01 },
        { "switch", "layers=sparse num_experts=4 moe_intermediate_size=256 router=switch balance=switch:form=share,coef=$C", 0.01 } } },
    { "deepseekmoe", "fine-grained and shared experts against GShard's", "arXiv:2401.06066", "lm-tiny",
      "Equal total and active parameters: GShard with 8 experts of width 128, 2 a token; segmentation 4 with one shared expert: 31 routed of width 32, 7 a token, and one of width 32 always.",
      "parameters active_parameters maxvio specialisation",
      { { "gshard", "layers=sparse num_experts=8 moe_intermediate_size=128 router=topk:top_k=2,norm_topk_prob=true balance=switch:form=first,coef=$C", 0.01 },
        { "deepseekmoe", "layers=sparse num_experts=31 moe_intermediate_size=32 shared_expert_intermediate_size=32 router=topk:top_k=7 balance=switch:form=share,scope=sequence,coef=$C", 0.01 } } },
    { "auxfree", "a bias moved by load against an auxiliary loss", "arXiv:2408.15664", "cr",
      "Clustered regression with skewed domains, top-2 of 8: sigmoid scores with a selection bias, against softmax with the balance loss, against none.", "maxvio specialisation",
      { { "auxloss", "variant=skew " TOP2 " balance=switch:coef=$C", 0.1 },
        { "auxfree", "variant=skew router=auxfree:top_k=2,bias_update=$C", 0.001 },
        { "none", "variant=skew " TOP2, 0 } } },
    { "globallbl", "balance over the step against balance over the micro-batch", "arXiv:2501.11873", "cr",
      "Clustered regression, 8 micro-batches of 32 tokens of one domain each, top-2 of 8: counts of the micro-batch alone, against counts of the whole step.", "maxvio specialisation",
      { { "micro", "variant=dom micro_batches=8 steps=4000 " TOP2 " balance=switch:coef=$C,scope=micro", 0.05 },
        { "step", "variant=dom micro_batches=8 steps=4000 " TOP2 " balance=switch:coef=$C,scope=step,mode=exact", 0.05 } } },
    { NULL }
};

const sy_experiment *sy_experiment_find(const char *key, sy_err *err)
{
    const char *names[64];
    int n = 0;
    for (const sy_experiment *x = sy_experiments; x->key; x++) {
        if (!strcmp(x->key, key)) return x;
        if (n < 63) names[n++] = x->key;
    }
    names[n] = NULL;
    const char *near = sy_nearest(key, names);
    sy_fail(err, SY_ENOENT, "no experiment is called '%s'%s%s%s", key, near ? "; did you mean '" : " (switchyard reproduce without a key lists them)", near ? near : "", near ? "'?" : "");
    return NULL;
}
