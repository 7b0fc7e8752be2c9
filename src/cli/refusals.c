/* cli/refusals.c - which methods do not go together, for docs/methods.md: each pair is tried at its defaults on a tiny block or model, and what the code says is written down. */
#include <string.h>

#include "cli/describe.h"
#include "infer/decode.h"
#include "route/block.h"
#include "train/config.h"
#include "train/objective.h"
#include "train/step.h"

enum { WIDTH = 8, EXPERTS = 8, TOKENS = 6, SENTENCE = 512, MOST_GROUPS = 8 };

typedef struct group { char routers[600], sentence[SENTENCE]; } group;
typedef struct page { FILE *to; const sy_methods *m; sy_arena a; int n; group g[MOST_GROUPS]; } page;       /* routers by sentence, of one use */

/* A row for each sentence: "`--router a`, `b`, WITH". */
static void flush_rows(page *p, const char *with)
{
    for (int i = 0; i < p->n; i++) fprintf(p->to, "| `--router` %s, %s | %s |\n", p->g[i].routers, with, p->g[i].sentence);
    p->n = 0;
}

/* Takes `part` out of the text, wherever it stands. */
static void without(char *text, const char *part)
{
    for (char *at; (at = strstr(text, part)); ) memmove(at, at + strlen(part), strlen(at + strlen(part)) + 1);
}

/* The place in the model is the same in every row, and the router stands at its beginning: both are left out of the sentence. */
static void row(page *p, const char *router, const char *with, const char *said)
{
    char sentence[SENTENCE], name[80];
    int i = 0;
    snprintf(name, sizeof name, "router %s: ", router);
    snprintf(sentence, sizeof sentence, "%s", said);
    without(sentence, "step 0: "), without(sentence, "layer 0: "), without(sentence, name);
    while (i < p->n && strcmp(p->g[i].sentence, sentence)) i++;
    if (i == MOST_GROUPS) flush_rows(p, with), i = 0;
    group *g = &p->g[i];
    if (i == p->n) {
        p->n++;
        *g->routers = 0;
        snprintf(g->sentence, sizeof g->sentence, "%s", sentence);
    }
    size_t n = strlen(g->routers);
    snprintf(g->routers + n, sizeof g->routers - n, "%s`%s`", n ? ", " : "", router);
}

/* --- blocks -------------------------------------------------------------------------------------------------------------------- */

/* The sentence with which a sparse block refuses these parts at their defaults, or NULL. Only refusals that follow from what methods are (SY_EUNSUP) count. */
static const char *refusal(page *p, sy_block_spec spec, sy_err *err)
{
    sy_block *b = sy_arena_zalloc(&p->a, sizeof *b);
    sy_params params = { .arena = &p->a, .fresh = true };
    sy_site site = { .n_sparse = 1, .V = 256, .init_std = 0.02 };
    spec.D = spec.F = WIDTH;
    spec.E = EXPERTS;
    spec.routed_scale = 1;
    return b && sy_block_init(b, &spec, &site, p->m, &params, 0, err) == SY_EUNSUP ? err->text : NULL;
}

static void experts(page *p)
{
    sy_err err;
    const char *text;
    for (const sy_method *const *x = p->m->list; *x; x++) {
        if ((*x)->kind != SY_EXPERT) continue;
        sy_block_spec real = { .router = "topk", .expert = (*x)->name }, zero = { .router = "topk", .expert = "swiglu", .zero = (*x)->name, .Z = 1 };
        if ((text = refusal(p, real, &err))) fprintf(p->to, "| `--expert %s` | %s |\n", (*x)->name, text);
        if ((text = refusal(p, zero, &err))) fprintf(p->to, "| `--set zero_experts=1 --set zero_expert=%s` | %s |\n", (*x)->name, text);
    }
    for (const sy_method *const *x = p->m->list; *x; x++) {
        sy_block_spec zero = { .router = "topk", .expert = "swiglu", .zero = "null", .Z = 1, .edit = { (*x)->name }, .n_edit = 1 };
        if ((*x)->kind == SY_EDIT && (text = refusal(p, zero, &err))) fprintf(p->to, "| `--edit %s`, `--set zero_experts=1` | %s |\n", (*x)->name, text);
    }
}

static void terms(page *p)
{
    sy_err err;
    const char *text, *zero_flag = "`--set zero_experts=1`";
    for (const sy_method *const *x = p->m->list; *x; x++) {
        char with[160];
        snprintf(with, sizeof with, "`--%s %s`", sy_kind_word((*x)->kind), (*x)->name);
        bool one_of = (*x)->kind == SY_BALANCE || (*x)->kind == SY_EDIT || ((*x)->kind == SY_EXPERT && ((const sy_expert_hooks *)(*x)->hooks)->run);
        for (const sy_method *const *r = p->m->list; *r && one_of; r++) {
            if ((*r)->kind != SY_ROUTER) continue;
            sy_block_spec pair = { .router = (*r)->name, .expert = (*x)->kind == SY_EXPERT ? (*x)->name : "swiglu" };
            if ((*x)->kind == SY_BALANCE) pair.balance[pair.n_balance++] = (*x)->name;
            else if ((*x)->kind == SY_EDIT) pair.edit[pair.n_edit++] = (*x)->name;
            if ((text = refusal(p, pair, &err))) row(p, (*r)->name, with, text);
        }
        flush_rows(p, with);
    }
    for (const sy_method *const *r = p->m->list; *r; r++) {
        sy_block_spec zero = { .router = (*r)->name, .expert = "swiglu", .zero = "null", .Z = 1 };
        if ((*r)->kind == SY_ROUTER && (text = refusal(p, zero, &err))) row(p, (*r)->name, zero_flag, text);
    }
    flush_rows(p, zero_flag);
}

/* --- models: what a trainer or a generator does with one -------------------------------------------------------------------------- */

typedef struct trial { page *p; sy_engine *eng; sy_config *config; const char *router; sy_err *err; } trial;

static sy_status open_model(const trial *t, int how, sy_model **m)
{
    sy_spec spec = t->config->model;
    spec.router = t->router;
    return sy_model_new(m, t->eng, &spec, how, 1, t->err);
}

static const int id[TOKENS] = { 1, 2, 3, 4, 5, 6 }, pos[TOKENS] = { 0, 1, 2, 3, 4, 5 }, seq[TOKENS], label[TOKENS] = { 2, 3, 4, 5, 6, 7 };

/* One step of training. */
static sy_status train(const trial *t, const char *what)
{
    sy_model *m;
    sy_segment seg = { .n = TOKENS };
    sy_batch b = { .T = TOKENS, .n_seg = 1, .id = id, .pos = pos, .seq = seq, .label = label, .seg = &seg, .seq_no = (uint64_t[]){ 0 } };
    sy_step_result r;
    (void)what;
    SY_TRY(open_model(t, SY_MODEL_TRAIN, &m));
    sy_stepper s = { .model = m, .optim = &t->config->train.optim, .batch_size = 1, .steps = 10 };
    sy_tape_init(&s.tape, t->eng, true);
    sy_status st = sy_stepper_learn(&s, t->err);
    if (st == SY_OK) st = sy_stepper_batches(&s, &b, 1, &r, t->err);
    sy_stepper_close(&s);
    sy_model_free(m);
    return st;
}

/* The objective looks at the model; what it wants of data is not asked here. */
static sy_status objective(const trial *t, const char *what)
{
    sy_model *m;
    const sy_method *x;
    void *s = NULL;
    SY_TRY(sy_method_make(t->p->m, SY_OBJECTIVE, what, &t->p->a, &x, &s, t->err));
    SY_TRY(open_model(t, SY_MODEL_TRAIN, &m));
    sy_status st = x->check ? x->check(s, m, t->err) : SY_OK;
    sy_model_free(m);
    return st;
}

static sy_status read_with(const trial *t, const char *method, const sy_override *over)
{
    sy_model *m;
    sy_generator g;
    SY_TRY(open_model(t, 0, &m));
    sy_status st = sy_generator_open(&g, m, NULL, 2 * TOKENS, t->err);
    if (st == SY_OK) {
        if (method) st = sy_generator_decode(&g, method, t->err);
        if (st == SY_OK) st = sy_generator_feed(&g, id, TOKENS, over, t->err);
        sy_generator_close(&g);
    }
    sy_model_free(m);
    return st;
}

static sy_status decode(const trial *t, const char *what) { return read_with(t, what, NULL); }
static sy_status fewer(const trial *t, const char *what) { (void)what; return read_with(t, NULL, &(sy_override){ .k = 1 }); }
static sy_status threshold(const trial *t, const char *what) { (void)what; return read_with(t, NULL, &(sy_override){ .threshold = 0.5 }); }
static sy_status plain(const trial *t, const char *what) { (void)what; return read_with(t, NULL, NULL); }

/* Every router under one use; a model that cannot be made at all has its row under the plain one. */
static void each_router(trial *t, const char *with, sy_status (*use)(const trial *t, const char *what), const char *what)
{
    for (const sy_method *const *r = t->p->m->list; *r; r++) {
        sy_err err;
        t->router = (*r)->name;
        t->err = &err;
        if ((*r)->kind != SY_ROUTER || (use != plain && plain(t, NULL) == SY_EUNSUP)) continue;
        if (use(t, what) == SY_EUNSUP) row(t->p, (*r)->name, with, err.text);
    }
    flush_rows(t->p, with);
}

static void each_method(trial *t, sy_kind kind, sy_status (*use)(const trial *t, const char *what))
{
    for (const sy_method *const *x = t->p->m->list; *x; x++) {
        char with[160];
        snprintf(with, sizeof with, "`--%s %s`", sy_kind_word(kind), (*x)->name);
        if ((*x)->kind == kind) each_router(t, with, use, (*x)->name);
    }
}

static sy_status models(page *p, sy_err *err)
{
    static const char tiny[] = "vocab_size=256 hidden_size=8 num_hidden_layers=2 num_attention_heads=2 layers=sparse num_experts=8 moe_intermediate_size=8 max_position_embeddings=16 balance=";
    sy_engine eng;
    sy_config c;
    sy_config_defaults(&c);
    SY_TRY(sy_recipe_apply(&(sy_recipe){ .name = "tiny", .settings = tiny }, &c, &p->a, err));
    SY_TRY(sy_engine_init(&eng, 1, "ref", p->m, err));
    trial t = { .p = p, .eng = &eng, .config = &c };
    each_router(&t, "a causal language model", plain, NULL);
    each_router(&t, "training", train, NULL);
    each_method(&t, SY_OBJECTIVE, objective);
    each_method(&t, SY_DECODE, decode);
    each_router(&t, "`--override k=1`", fewer, NULL);
    each_router(&t, "`--override threshold=0.5`", threshold, NULL);
    sy_engine_uninit(&eng);
    return SY_OK;
}

sy_status sy_describe_refusals(FILE *to, const sy_methods *m, sy_err *err)
{
    page p = { .to = to, .m = m };
    fprintf(to, "\n## What is refused\n\nEvery router meets every edit, balance term, expert kind, objective and decoding method, unless what one of them declares or does says that it cannot\n"
                "work. The rules:\n\n"
                "- what reads logits is refused beside a router without logits, what reads the distribution beside a router without one\n"
                "- balance terms and edits of gates are refused beside a router that mixes tokens; so are zero-cost experts\n"
                "- a zero-cost expert must declare that it may stand as one; an expert kind that runs nothing cannot be the kind of the real experts\n"
                "- a router without a causal form is refused in a causal language model, whatever stands beside it\n"
                "- a number of experts, a threshold or places of the order (which `scmoe` takes) from outside are for routers that choose by it\n\n"
                "All pairs of a router with a method of another kind were tried at their defaults for this page, and so were zero-cost experts, edits and models; what does not stand in the table goes together:\n\n| parts | the sentence |\n|---|---|\n");
    experts(&p);
    terms(&p);
    sy_status st = models(&p, err);
    sy_arena_free(&p.a);
    return st;
}
