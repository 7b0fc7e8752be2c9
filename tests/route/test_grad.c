/* tests/route/test_grad.c - gradients through a whole sparse block against central differences, with the choices held fixed, for each value of each enum and
 * bool of its methods. */
/* double only */
#include "route/bed.h"

static const sy_block_spec *const specs[] = {
    BED_SPEC(.router = "topk"),
    BED_SPEC(.router = "topk:norm_topk_prob=true,routed_scaling_factor=1.5", .shared_F = 3),
    BED_SPEC(.router = "topk:scoring_func=sigmoid", .shared_F = 3, .shared_gate = true),
    BED_SPEC(.router = "topk:scoring_func=sigmoid,norm_topk_prob=true,top_k=3", .routed_scale = 0.5),
    BED_SPEC(.router = "topk:norm_topk_prob=true,capacity_factor=0.6,normalise=after,drop_order=rank,capacity_rule=gshard"),
    BED_SPEC(.router = "topk:norm_topk_prob=true,capacity_factor=0.6,normalise=before,prioritised=true"),
    BED_SPEC(.router = "topk:norm_topk_prob=true,second_policy=random,normalise=before,router_jitter_noise=0.3"),
    BED_SPEC(.router = "topk:router_jitter_noise=0.3,jitter_scope=block", .shared_F = 3),
    BED_SPEC(.router = "topk:norm_topk_prob=true,second_policy=random,normalise=after"),
    BED_SPEC(.router = "topk:norm_topk_prob=true,second_policy=sampling"),
    BED_SPEC(.router = "topk:n_group=2,topk_group=1"), BED_SPEC(.router = "topk:router_bias=true"),
    BED_SPEC(.router = "auxfree:top_k=2,routed_scaling_factor=2.5"),
    BED_SPEC(.router = "auxfree:top_k=2,scoring_func=softmax,norm_topk_prob=true,n_group=2,topk_group=1,group_score=max,group_mask=zero"),
    BED_SPEC(.router = "auxfree:top_k=2,norm_topk_prob=false"),
    BED_SPEC(.router = "noisytopk:w_importance=0.7,w_load=0.3"), BED_SPEC(.router = "noisytopk:top_k=3,noise_eps=1,w_importance=0.7,w_load=3", .balance = { "switch", "zloss" }, .n_balance = 2),
    BED_SPEC(.router = "expertchoice"), BED_SPEC(.router = "expertchoice:capacity_factor=1,group=sequence", .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "base"), BED_SPEC(.router = "base", .balance = { "switch:coef=0.7", "importance:coef=0.5" }, .n_balance = 2),
    BED_SPEC(.router = "hash:multi=2"), BED_SPEC(.router = "hash:table=random"), BED_SPEC(.router = "hash:table=bigram"), BED_SPEC(.router = "hash:table=dispersed"),
    BED_SPEC(.router = "stablemoe:routing_dim=3"), BED_SPEC(.router = "stablemoe:routing_dim=3,router=bigram,capacity_factor=0.7"), BED_SPEC(.router = "stablemoe:routing_dim=3,router=cnn"),
    BED_SPEC(.router = "dselectk:entropy_reg=0.3"), BED_SPEC(.router = "dselectk:entropy_reg=0.3,static_gate=true,k=3", .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "dselectk:entropy_reg=0.3,zeta=0.1,k=1", .E = 5, .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "comet:entropy_reg=0.3"), BED_SPEC(.router = "comet:entropy_reg=0.3,k=1,gamma=3", .E = 5, .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "evomoe:threshold=0.15,coef=0.7"), BED_SPEC(.router = "evomoe:threshold=0.1,coef=0.7,use_gumbel_gates=true,gumbel_decay_scheduler=Exp"),
    BED_SPEC(.router = "evomoe:threshold=0.2,coef=0.7,use_gumbel_softmax=false"), BED_SPEC(.router = "evomoe:switch_to_hard=0,coef=0.7"),
    BED_SPEC(.router = "remoe:lambda_init=0.7"), BED_SPEC(.router = "remoe:lambda_init=0.7,load_balance=false", .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "rmoe:moe_router_rnn_hidden_size=5"), BED_SPEC(.router = "rmoe:moe_router_rnn_hidden_size=4,moe_router_type=rnn,detach_state=true", .balance = { "zloss:coef=0.3" }, .n_balance = 1),
    BED_SPEC(.router = "topk:norm_topk_prob=true", .edit = { "perm:tau_max=0.1,tau_min=0.01,perm_entropy_reg=0.3" }, .n_edit = 1, .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "topk", .edit = { "perm:perm_steps=0" }, .n_edit = 1),
    BED_SPEC(.router = "actgate:tau_init=0.5"), BED_SPEC(.router = "actgate:act=tanh,tau_mode=anneal,norm_topk_prob=false"), BED_SPEC(.router = "actgate:act=gelu"), BED_SPEC(.router = "actgate:act=none"),
    BED_SPEC(.router = "smoedropout"), BED_SPEC(.router = "smoedropout:freeze_gate=false,k_min=3,dynamic_moe_mode=linear_decrease", .balance = { "switch:coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "smoedropout:freeze_gate=false,dynamic_moe_mode=cosine_increase"), BED_SPEC(.router = "smoedropout:freeze_gate=false,dynamic_moe_mode=multi_step"),
    BED_SPEC(.router = "topk:norm_topk_prob=true", .edit = { "steer:lam=0.7,experts=3.1+3.-2" }, .n_edit = 1, .balance = { "switch:coef=0.7", "zloss:coef=0.3" }, .n_balance = 2),
    BED_SPEC(.router = "topk", .edit = { "steer:mode=hard,eps=0.5,experts=3.1+3.-2" }, .n_edit = 1, .balance = { "zloss:coef=0.3" }, .n_balance = 1),
    BED_SPEC(.router = "thor"), BED_SPEC(.router = "thor:inference_level=token"), BED_SPEC(.router = "thor:inference_level=ensemble", .shared_F = 3),
    BED_SPEC(.router = "base", .expert = "residual:zero_init=false,base_sublayers=3"),
    BED_SPEC(.router = "softmoe:num_slots=2"), BED_SPEC(.router = "softmoe:noise_std=0.5"),
    BED_SPEC(.router = "dynmoe:threshold=0.7,dyn_coef=0.3"), BED_SPEC(.router = "dynmoe:threshold=0.9,temperature=0.5,max_experts=2", .balance = { "switch:form=slots,coef=0.7" }, .n_balance = 1),
    BED_SPEC(.router = "adamoe:top_k=3,coef=0.7", .Z = 3, .zero = "null"), BED_SPEC(.router = "adamoe:top_k=3,norm_topk_prob=false,router_jitter_noise=0.3", .Z = 2, .zero = "null"),
    BED_SPEC(.expert = "gelu"), BED_SPEC(.expert = "gelu:hidden_act=gelu_tanh"), BED_SPEC(.expert = "gelu:hidden_act=relu"), BED_SPEC(.expert = "gelu:hidden_act=relu2"),
    BED_SPEC(.expert = "gelu:hidden_act=silu"), BED_SPEC(.expert = "identity"),
    BED_SPEC(.Z = 2, .zero = "null"), BED_SPEC(.router = "topk:top_k=4", .Z = 2, .zero = "identity"), BED_SPEC(.router = "topk:top_k=4", .Z = 2, .zero = "constant"),
    BED_SPEC(.balance = { "switch:coef=0.7", "zloss:coef=0.3", "importance:coef=0.5" }, .n_balance = 3),
    BED_SPEC(.router = "topk:score=sigmoid,capacity_factor=0.6", .balance = { "switch:coef=0.7,form=slots", "importance:coef=0.5" }, .n_balance = 2),
    BED_SPEC(.balance = { "switch:coef=0.7,form=first,scope=sequence" }, .n_balance = 1),
    BED_SPEC(.router = "auxfree:top_k=2", .balance = { "switch:coef=0.7,scope=step,mode=exact,micro_mix=0.5" }, .n_balance = 1),
    BED_SPEC(.balance = { "switch:coef=0.7,scope=step,mode=prev,groups=2", "switch:coef=0.7,scope=step,mode=buffer" }, .n_balance = 2),
};

/* Every word of every enum and both values of every bool stand in some text above, or are the default. */
static void note(const sy_opt *row, size_t at, int index, void *arg)
{
    const char *method = arg;
    (void)at, (void)index;
    if (row->type != SY_OPT_ENUM && row->type != SY_OPT_BOOL) return;
    const char *words = row->type == SY_OPT_BOOL ? "false|true" : row->text;
    int value = 0;
    for (const char *w = words; ; value++) {
        size_t len = strcspn(w, "|");
        char want[96];
        bool found = value == (int)row->def;
        for (int n = 0; n < 2; n++) {
            snprintf(want, sizeof want, "%s=%.*s", n && row->alias ? row->alias : row->name, (int)len, w);
            for (size_t i = 0; i < SY_COUNT(specs) && !found; i++) {
                const char *text[7] = { specs[i]->router, specs[i]->expert, specs[i]->balance[0], specs[i]->balance[1], specs[i]->balance[2], specs[i]->edit[0], NULL };
                for (int k = 0; k < 6; k++) found |= text[k] && !strncmp(text[k], method, strlen(method)) && strstr(text[k], want);
            }
        }
        if (!found) fail_msg("no case of this test sets %s %s", method, want);
        if (!w[len]) break;
        w += len + 1;
    }
}

static void every_value(void **state)
{
    (void)state;
    for (const sy_method *const *m = sy_builtin_methods.list; *m; m++) {
        const char *const here[] = { "topk", "auxfree", "noisytopk", "expertchoice", "base", "hash", "stablemoe", "dselectk", "comet", "softmoe", "dynmoe", "adamoe", "evomoe", "remoe", "rmoe", "actgate", "smoedropout", "thor", "steer", "residual", "switch", "zloss", "importance", "gelu" };
        for (size_t i = 0; i < SY_COUNT(here); i++) if (!strcmp((*m)->name, here[i])) sy_opt_each((*m)->opts, note, (void *)(*m)->name);
    }
}

static double loss(bed *B, sy_tensor **out)
{
    sy_expect_ok(bed_run(B, SY_TRAIN, B->again.first_slot ? &B->again : NULL, err));
    sy_real *c = sy_tape_alloc(&B->tape, sy_numel(B->y), sizeof *c);
    for (size_t i = 0; i < sy_numel(B->y); i++) c[i] = (sy_real)(2 * sy_draw(sy_test_seed(), i, 5) - 1);
    sy_tensor *l = sy_dot_const(&B->tape, B->y, c);
    for (int i = 0; i < B->aux.n; i++) l = sy_add(&B->tape, l, B->aux.l[i].value);
    sy_expect_ok(sy_tape_status(&B->tape, err));
    if (out) *out = l;
    return (double)l->x[0];
}

static void check(bed *B, const char *name, sy_real *x, const sy_real *grad, size_t n, double *most)
{
    const double h = 1e-5;
    for (size_t i = 0; i < n; i++) {
        sy_real keep = x[i];
        x[i] = keep + (sy_real)h;
        double up = loss(B, NULL);
        x[i] = keep - (sy_real)h;
        double down = loss(B, NULL);
        x[i] = keep;
        char what[200];
        snprintf(what, sizeof what, "%s[%zu]", name, i);
        sy_expect_near(what, (double)grad[i], (up - down) / (2 * h), 1e-8, 1e-6);
        *most = fmax(*most, fabs((double)grad[i]));
    }
}

static void gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < SY_COUNT(specs); i++) {
        bed B;
        sy_tensor *l;
        sy_test_case("%s, %s, zero %s, balance %s", bed_spec(specs[i]).router, bed_spec(specs[i]).expert, specs[i]->zero ? specs[i]->zero : "-", specs[i]->n_balance ? specs[i]->balance[0] : "-");
        bed_open(&B, specs[i]);
        bed_tokens(&B, 0, 2, 5);
        for (int step = 0; step < 2; step++) {                            /* two steps: the counts of the one before are there */
            sy_expect_ok(sy_block_before(&B.b, step, 2, 0, err));
            if (B.b.flags & SY_NEEDCOUNT) bed_go(&B, SY_COUNT_PASS);
            bed_go(&B, SY_TRAIN);
            if (!step) sy_expect_ok(sy_block_after(&B.b, step, 2, 0, err));
        }
        if (B.route) bed_keep(&B);                                        /* a mixing router chooses nothing */
        loss(&B, &l);
        sy_expect_ok(sy_backward(&B.tape, l, err));
        double most = 0;
        sy_real *dx = malloc((size_t)B.T * B.D * sizeof *dx);
        memcpy(dx, B.x->dx, (size_t)B.T * B.D * sizeof *dx);
        check(&B, "x", B.value, dx, (size_t)B.T * B.D, &most);
        assert_true(most > 1e-3);
        free(dx);
        for (int k = 0; k < B.params.n; k++) {
            sy_param *p = B.params.p[k];
            if (!sy_param_trains(p)) continue;
            most = 0;
            check(&B, p->name, p->w.data, p->w.dx, p->n, &most);
            if (strcmp(bed_spec(specs[i]).expert, "identity")) assert_true(most > 1e-6);    /* equal rows: only the sum of weights is seen */
        }
        bed_close(&B);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_value), cmocka_unit_test(gradients) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
