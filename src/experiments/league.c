/* experiments/league.c - who takes part, with what settings, and what comes out. */
#include "experiments/league.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "route/router.h"

#define TOP2 "router=topk:top_k=2,norm_topk_prob=true"

/* Groups of equal budget: of tokens, with parameters and active parameters equal where experts have a width (lm-tiny); or, where the number of experts floats, of
 * multiply-adds in training. These have no baseline of their own, but that of `like`. */
enum { TWO, ONE, TERMS, BASES, TWO_WORK = BASES, ONE_WORK, GROUPS };
#define WORK "Training of each arm ends once it has spent the multiply-adds of the baseline's training, and its schedules run on the spent share: what costs twice as much a token sees half the tokens."
static const struct { sy_kind kind; int like; const char *title, *cr, *lm, *what_cr, *what_lm; } groups[GROUPS] = {
    [TWO] = { SY_ROUTER, TWO, "Two experts a token", "", "layers=sparse num_experts=8 moe_intermediate_size=128 ",
              "2 of 8 experts for a served token, or as many on average. The baseline is top-2 with the balance loss.",
              "2 of 8 experts of width 128 for a token, or as many on average. The baseline is top-2 with the balance loss." },
    [ONE] = { SY_ROUTER, ONE, "One expert a token", "", "layers=sparse num_experts=4 moe_intermediate_size=256 ",
              "1 of 8 experts for a served token. The baseline is top-1 with the balance loss.",
              "1 of 4 experts of width 256 for a token: total and active parameters of the other group. The baseline is top-1 with the balance loss." },
    [TERMS] = { SY_BALANCE, TERMS, "Balance terms", "variant=skew ", "layers=sparse num_experts=8 moe_intermediate_size=128 ",
                "Top-2 of 8 with one term each, domains drawn unevenly. The baseline has none.", "Top-2 of 8 with one term each. The baseline has none." },
    [TWO_WORK] = { SY_ROUTER, TWO, "Two experts a token, equal work", "", "", WORK, WORK },
    [ONE_WORK] = { SY_ROUTER, ONE, "One expert a token, equal work", "", "", WORK, WORK },
};

/* What does not follow from options and flags. `key` as in the table of methods or presets; lm NULL: as on cr. */
static const struct entry { int group; const char *key, *name, *cr, *lm; double coef; const char *note; bool floats; } entries[] = {
    { TWO, "topk",   "topk, K = 2", TOP2 " balance=switch:coef=$C", NULL, 0.01, NULL, false },                 /* the first of a group is its baseline */
    { ONE, "topk",   "topk, K = 1", "router=topk:top_k=1 balance=switch:coef=$C", NULL, 0.01, NULL, false },
    { TERMS, "none", "none", TOP2, NULL, 0, NULL, false },
    { TWO, "adamoe", NULL, "zero_experts=8 router=adamoe:top_k=4,coef=$C", NULL, 0.01, "four places a token, half of the experts are null; on clustered regression its error depends on the seed, as its definition's own figures do", true },
    { TWO, "auxfree", NULL, "router=auxfree:top_k=2,bias_update=$C", NULL, 0.001, NULL, false },
    { ONE, "base", NULL, "router=base", NULL, 0, "trained by an auction, served by the best expert", false },
    { TWO, "comet", NULL, "router=comet:entropy_reg=$C", NULL, 0.01, "runs more experts while its trees are soft", true },
    { TWO, "dselectk", NULL, "router=dselectk:entropy_reg=$C", NULL, 0.01, "runs more experts while its bits are soft", true },
    { TWO, "dynmoe", NULL, "router=dynmoe:top_p_threshold=0.8 balance=switch:form=slots,coef=$C", "router=dynmoe balance=switch:form=slots,coef=$C", 0.01, "as many experts as a token needs", true },
    { ONE, "evomoe", NULL, "router=evomoe:coef=$C", NULL, 0.01, "runs more experts while its gate is warm", true },
    { TWO, "expertchoice", NULL, "router=expertchoice:capacity_factor=2", NULL, 0, "trained by experts that choose, served by running thresholds", false },
    { TWO, "gshard", NULL, "router=gshard balance=switch:form=first,coef=$C", NULL, 0.01, "capacity 1 in training, none when serving", false },
    { ONE, "hash", NULL, "ids=8 router=hash", "router=hash", 0, "on clustered regression each domain has eight ids of its own, which its table spreads over the experts", false },
    { TWO, "noisytopk", NULL, "router=noisytopk:w_importance=$C,w_load=$C", NULL, 0.1, NULL, false },
    { TWO, "remoe", NULL, "router=remoe:top_k=2", NULL, 0, "two experts on average, by a penalty that adapts itself", true },
    { TWO, "rmoe", NULL, "router=rmoe:top_k=2,moe_router_rnn_hidden_size=16 balance=switch:coef=$C", "router=rmoe:top_k=2,moe_router_rnn_hidden_size=64 balance=switch:coef=$C", 0.01, "on clustered regression there is one layer, so its state has nothing to carry", false },
    { TWO, "smoedropout", NULL, "router=smoedropout:moe_top_k_min=2,inference_k=2", NULL, 0, "a random router that is not trained; 2 to all experts in training, served with 2, which is not what it is for: see its page", true },
    { TWO, "softmoe", NULL, "sequence_length=256 router=softmoe:num_slots=64", "router=softmoe:num_slots=16", 0, "mixes all tokens of a set, later ones too; measured on sets", false },
    { ONE, "stablemoe", NULL, "ids=8 router=stablemoe:two_stage_updates=600,balance_factor=$C", "router=stablemoe:two_stage_updates=100,balance_factor=$C", 0.3,
      "on clustered regression its second stage reads ids that give the domain away", false },
    { ONE, "switch", NULL, "router=switch balance=switch:coef=$C", NULL, 0.01, "capacity 1.25 in training, none when serving", false },
    { ONE, "thor", NULL, "router=thor", NULL, 0, "draws an expert at random, and its objective, which makes experts agree, is left out: what a router that knows nothing does", false },
    { TERMS, "gshard", NULL, TOP2 " balance=gshard:coef=$C", NULL, 0.01, NULL, false },
};

typedef struct player { int group; const char *title, *note; sy_arm arm; bool floats; } player;
typedef struct roster { player *p; int n, room; const sy_league_options *o; const sy_methods *methods; sy_arena *a; } roster;

static bool is_lm(const sy_league_options *o) { return !strcmp(o->bed, "lm-tiny"); }

static sy_status add(roster *r, player p, sy_err *err)
{
    const char *prefix = is_lm(r->o) ? groups[p.group].lm : groups[p.group].cr;
    const char *without = is_lm(r->o) && p.arm.settings && !strstr(p.arm.settings, "balance=") ? " balance=" : "";       /* the recipe has a term of its own */
    if (r->n == r->room) return sy_fail(err, SY_EARG, "more than %d arms", r->room);
    if (!p.arm.settings || !(p.arm.settings = sy_arena_printf(r->a, "%s%s%s", prefix, p.arm.settings, without))) return sy_fail(err, SY_ENOMEM, "no memory for an arm");
    r->p[r->n++] = p;
    return SY_OK;
}

static const char *title_of(const roster *r, const char *key)
{
    const sy_method *m;
    const sy_preset *preset;
    sy_err ignored;
    return sy_method_find(r->methods, r->o->kind, key, &m, &preset, &ignored) == SY_OK ? m->title : "";
}

static sy_status add_entry(roster *r, const struct entry *e, sy_err *err)
{
    const char *settings = is_lm(r->o) && e->lm ? e->lm : e->cr;
    return add(r, (player){ e->group, title_of(r, e->key), e->note, { e->name ? e->name : e->key, settings, e->coef }, e->floats }, err);
}

/* The entry of a key that is no baseline; NULL: its settings follow from the descriptor. */
static const struct entry *entry_of(sy_kind kind, const char *key)
{
    for (size_t i = BASES; i < SY_COUNT(entries); i++) if (groups[entries[i].group].kind == kind && !strcmp(entries[i].key, key)) return &entries[i];
    return NULL;
}

/* A router takes two experts where it has that option and the balance loss where it has probabilities; a balance term has the coefficient that is its default. */
static sy_status add_method(roster *r, const char *key, sy_err *err)
{
    const struct entry *e = entry_of(r->o->kind, key);
    const sy_method *m;
    const sy_preset *preset;
    if (e) return add_entry(r, e, err);
    SY_TRY(sy_method_find(r->methods, r->o->kind, key, &m, &preset, err));
    player p = { r->o->kind == SY_ROUTER ? TWO : TERMS, m->title, NULL, { key, NULL, 0 }, false };
    size_t at;
    int index;
    if (r->o->kind == SY_BALANCE) {
        const sy_opt *coef = m->opts ? sy_opt_find(m->opts, "coef", &at, &index) : NULL;
        p.arm.coef = coef ? coef->def : 0;
        p.arm.settings = sy_arena_printf(r->a, coef ? TOP2 " balance=%s:coef=$C" : TOP2 " balance=%s", key);
    } else {
        const char *two = !preset && m->opts && sy_opt_find(m->opts, "num_experts_per_tok", &at, &index) ? ":num_experts_per_tok=2" : "";
        bool probs = !(((const sy_router_hooks *)m->hooks)->flags & SY_NOPROBS);
        p.arm.coef = probs ? 0.01 : 0;
        p.arm.settings = sy_arena_printf(r->a, "router=%s%s%s", key, two, probs ? " balance=switch:coef=$C" : "");
    }
    return add(r, p, err);
}

static bool listed(const roster *r, const char *key)
{
    for (int i = 0; i < r->n; i++) if (!strcmp(r->p[i].arm.name, key)) return true;
    return false;
}

/* Baselines first; then what was asked for, or every method of the kind and the presets that have a line. */
static sy_status call_up_tokens(roster *r, sy_err *err)
{
    sy_kind kind = r->o->kind;
    for (int i = 0; i < BASES; i++) if (groups[entries[i].group].kind == kind) SY_TRY(add_entry(r, &entries[i], err));
    for (const char *p = r->o->only; p && *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        char *key = sy_arena_printf(r->a, "%.*s", (int)n, p);
        if (!key) return sy_fail(err, SY_ENOMEM, "no memory for an arm");
        if (kind == SY_ROUTER ? strcmp(key, "topk") != 0 : strcmp(key, "none") != 0) if (!listed(r, key)) SY_TRY(add_method(r, key, err));
        p += n;
    }
    if (r->o->only) return SY_OK;
    for (int extra = 0; extra < 2; extra++)
        for (const sy_method *const *m = extra ? r->methods->extra : r->methods->list; m && *m; m++)
            if ((*m)->kind == kind && !(kind == SY_ROUTER && !strcmp((*m)->name, "topk"))) SY_TRY(add_method(r, (*m)->name, err));
    for (const sy_preset *p = r->methods->presets; p && p->name; p++)
        if (p->kind == kind && entry_of(kind, p->name)) SY_TRY(add_method(r, p->name, err));
    return SY_OK;
}

/* After all others, those whose number of experts floats stand once more in the groups of equal work. */
static sy_status call_up(roster *r, sy_err *err)
{
    SY_TRY(call_up_tokens(r, err));
    for (int i = 0, n = r->n; i < n; i++) {
        if (!r->p[i].floats) continue;
        if (r->n == r->room) return sy_fail(err, SY_EARG, "more than %d arms", r->room);
        player p = r->p[i];
        for (int g = BASES; g < GROUPS; g++) if (groups[g].like == r->p[i].group) p.group = g;
        r->p[r->n++] = p;
    }
    return SY_OK;
}

/* --- results ----------------------------------------------------------------------------------------------------------------------- */

static const char prefix[] = "domain.";
enum { PREFIX = sizeof prefix - 1 };

static sy_status row_of(sy_league_row *row, const player *p, const sy_arm_runs *s, const sy_arm_runs *base, const sy_league *l, sy_arena *a, sy_err *err)
{
    double *seed = sy_arena_array(a, (size_t)l->seeds, sizeof *seed), *domain = sy_arena_array(a, (size_t)l->domains + 1, sizeof *domain);
    if (!seed || !domain) return sy_fail(err, SY_ENOMEM, "no memory for a row of the league");
    *row = (sy_league_row){ .name = p->arm.name, .title = p->title, .settings = p->arm.settings, .note = p->note, .why = s->why, .lr_scale = s->lr_scale, .coef = p->arm.coef * s->coef_scale,
                            .edge = s->lr_scale != 1 || s->coef_scale != 1, .seed = seed, .domain = domain, .diff = NAN, .se = NAN };
    if (s->why) return SY_OK;
    const struct { double *to; const char *metric; } mean[] = { { &row->train_loss, "train_loss" }, { &row->maxvio, "maxvio" }, { &row->specialisation, "specialisation" },
        { &row->experts, "experts_per_token" }, { &row->flops, "flops_per_token" }, { &row->train_flops, "train_flops_per_token" }, { &row->parameters, "parameters" }, { &row->active, "active_parameters" } };
    for (size_t i = 0; i < SY_COUNT(mean); i++) *mean[i].to = sy_arm_mean(s, l->seeds, mean[i].metric, NULL);
    row->loss = sy_arm_mean(s, l->seeds, "loss", &row->sd);
    for (int i = 0; i < l->seeds; i++) seed[i] = sy_metric_get(&s->result[i], "loss");
    for (int d = 0; d < l->domains; d++) {
        const char *name = sy_arena_printf(a, "%s%s", prefix, l->domain[d]);
        if (!name) return sy_fail(err, SY_ENOMEM, "no memory for a row of the league");
        domain[d] = sy_arm_mean(s, l->seeds, name, NULL);
    }
    if (base->why) return SY_OK;
    sy_verdict v = sy_arm_judge(s, base, l->seeds);
    row->diff = v.diff, row->se = v.se, row->lower = v.lower, row->sign = sy_verdict_sign(&v);
    return SY_OK;
}

/* Names of the domains that the runs measured, from the first arm that has a result. */
static sy_status domains_of(sy_league *l, const sy_arm_runs *s, int n, sy_arena *a, sy_err *err)
{
    const sy_trial_result *r = NULL;
    const char **name = sy_arena_array(a, SY_MAX_METRICS, sizeof *name);
    for (int i = 0; i < n && !r; i++) if (!s[i].why) r = &s[i].result[0];
    if (!name) return sy_fail(err, SY_ENOMEM, "no memory for the domains");
    for (int i = 0; r && i < r->n; i++)
        if (!strncmp(r->m[i].name, prefix, PREFIX) && !(name[l->domains++] = sy_arena_printf(a, "%s", r->m[i].name + PREFIX))) return sy_fail(err, SY_ENOMEM, "no memory for the domains");
    l->domain = name;
    return SY_OK;
}

static int by_rank(const void *x, const void *y)
{
    const sy_league_row *a = x, *b = y;
    if (a->why || b->why) return !a->why ? -1 : !b->why ? 1 : strcmp(a->name, b->name);
    return a->loss < b->loss ? -1 : a->loss > b->loss ? 1 : strcmp(a->name, b->name);
}

static sy_status group_of(sy_league_group *g, int nth, const roster *r, const sy_arm_runs *s, const sy_league *l, sy_err *err)
{
    const sy_arm_runs *base = NULL;
    for (int i = 0; i < r->n && !base; i++) if (r->p[i].group == groups[nth].like) base = &s[i];
    *g = (sy_league_group){ .title = groups[nth].title, .what = is_lm(r->o) ? groups[nth].what_lm : groups[nth].what_cr, .again = nth >= BASES, .row = sy_arena_array(r->a, (size_t)r->n + 1, sizeof *g->row) };
    if (!g->row) return sy_fail(err, SY_ENOMEM, "no memory for the rows of the league");
    for (int i = 0; i < r->n; i++)
        if (r->p[i].group == nth || &s[i] == base) SY_TRY(row_of(&g->row[g->n++], &r->p[i], &s[i], base, l, r->a, err));
    const char *first = g->row[0].settings;
    qsort(g->row, (size_t)g->n, sizeof *g->row, by_rank);
    while (g->row[g->base].settings != first) g->base++;
    return SY_OK;
}

static const char *about(const sy_league_options *o, const sy_trials *t, int seeds, sy_arena *a)
{
    char part[160];
    snprintf(part, sizeof part, is_lm(o) ? "The full league: %d runs of a minute or two. " : "The short league: %d runs of some seconds. ", t->done - t->refused);
    if (t->missing) snprintf(part, sizeof part, "A part of the %s league: %d of %d runs are in; an arm stands in the tables when all of its own are. ", is_lm(o) ? "full" : "short", t->done, t->all);
    return sy_arena_printf(a, "%s%s All arms have equal tokens but where equal work is said, %d seeds and the same data. %s%sHeld-out loss is taken in serving mode, but for methods that have no causal form; a "
                           "verdict needs a difference of more than twice its standard error, seed by seed.",
                           part, is_lm(o) ? "A byte-level language model of 3 layers and width 64, 1000 steps of 2048 bytes; loss in nats per byte."
                                    : "Clustered regression: eight domains with a linear map each, eight linear experts, 3000 steps of 256 tokens; squared error, of which 0.0025 is noise. The right routing exists and is "
                                      "simple, so a tie here says little about text.",
                           seeds, o->tune ? "Each was tuned over learning rate x {1/2, 1, 2} and its own coefficient x {1/3, 1, 3} on a seed that is not used again. " : "Nothing was tuned. ",
                           o->budget && o->budget != 1 ? "A quick look: runs have a small share of their steps, so losses are not those of the methods. " : "");
}

static bool plays(const roster *r, int group)
{
    for (int i = 0; i < r->n; i++) if (r->p[i].group == group) return true;
    return false;
}

static sy_status result_of(sy_league *l, const roster *r, const sy_arm_runs *s, const sy_trials *t, int seeds, sy_err *err)
{
    *l = (sy_league){ .title = sy_arena_printf(r->a, "%s on %s", r->o->kind == SY_ROUTER ? "Routers" : "Balance terms", is_lm(r->o) ? "text" : "clustered regression"), .about = about(r->o, t, seeds, r->a),
                      .unit = is_lm(r->o) ? "nats per byte" : "squared error", .made_by = r->o->made_by, .seeds = seeds, .group = sy_arena_array(r->a, GROUPS, sizeof *l->group) };
    if (!l->title || !l->about || !l->group) return sy_fail(err, SY_ENOMEM, "no memory for the league");
    SY_TRY(domains_of(l, s, r->n, r->a, err));
    for (int i = 0; i < GROUPS; i++) if (groups[i].kind == r->o->kind && plays(r, i)) SY_TRY(group_of(&l->group[l->groups++], i, r, s, l, err));
    return SY_OK;
}

static int room_for(const sy_methods *m)
{
    int n = 2 * (int)SY_COUNT(entries);
    for (const sy_method *const *p = m->list; p && *p; p++) n++;
    for (const sy_method *const *p = m->extra; p && *p; p++) n++;
    for (const sy_preset *p = m->presets; p && p->name; p++) n++;
    return n;
}

/* Arms from `from` on that are run together: with one kind of budget, and enough of them to keep all threads busy. So a league that is stopped early has whole
 * arms rather than the tuning of all. */
static int batch_of(const roster *r, int from)
{
    int n = 0, runs = 0, enough = r->o->side_by_side > 1 ? 4 * r->o->side_by_side : 1;
    while (from + n < r->n && (!n || runs < enough) && (r->p[from + n].group < BASES) == (r->p[from].group < BASES)) runs += sy_arm_tuning_runs(&r->p[from + n++].arm);
    return n;
}

/* What the arms of equal work may spend: the multiply-adds of their baseline, which are the same for every seed and learning rate. */
static void share_out(const roster *r, sy_arm_runs *s, int from, int n)
{
    for (int i = from; i < from + n; i++) {
        int base = 0, like = groups[r->p[i].group].like;
        if (r->p[i].group < BASES) continue;
        while (r->p[base].group != like) base++;
        if (s[base].why) s[i].why = "its baseline has no result yet";
        else s[i].gmadds = sy_metric_get(&s[base].result[0], "train_gmadds");
    }
}

sy_status sy_league_run(const sy_bed_context *c, const sy_league_options *o, sy_arena *a, sy_league *out, sy_err *err)
{
    roster r = { .o = o, .methods = &c->eng->methods, .a = a, .room = room_for(&c->eng->methods) };
    sy_trials trials = { .c = c, .store = o->store, .side_by_side = o->side_by_side, .keep_going = true, .so_far = o->so_far, .tell = o->tell, .arg = o->arg, .arena = a };
    sy_comparison rules = { sy_kind_word(o->kind), o->bed, o->budget, o->seeds ? o->seeds : sy_default_seeds(o->bed), &trials };
    if (o->kind != SY_ROUTER && o->kind != SY_BALANCE) return sy_fail(err, SY_EARG, "there is no league of kind %s; there are router and balance", sy_kind_word(o->kind));
    if (strcmp(o->bed, "cr") && strcmp(o->bed, "lm-tiny")) return sy_fail(err, SY_EARG, "no bed is called '%s'; there are cr and lm-tiny", o->bed);
    SY_TRY(sy_comparison_check(&rules, err));
    if (!(r.p = sy_arena_array(a, (size_t)r.room, sizeof *r.p))) return sy_fail(err, SY_ENOMEM, "no memory for the arms");
    SY_TRY(call_up(&r, err));
    sy_arm_runs *s = sy_arena_array(a, (size_t)r.n, sizeof *s);
    if (!s) return sy_fail(err, SY_ENOMEM, "no memory for %d arms", r.n);
    for (int i = 0; i < r.n; i++) {
        s[i].arm = &r.p[i].arm;
        s[i].lr_scale = s[i].coef_scale = 1;
        trials.all += rules.seeds + (o->tune ? sy_arm_tuning_runs(s[i].arm) : 0);
    }
    SY_TRY(sy_trials_open(&trials, o->bed, err));
    for (int from = 0, n; from < r.n; from += n) {
        n = batch_of(&r, from);
        share_out(&r, s, from, n);
        if (o->tune) SY_TRY(sy_arms_tune(&rules, s + from, n, err));
        SY_TRY(sy_arms_run(&rules, s + from, n, err));
    }
    return result_of(out, &r, s, &trials, rules.seeds, err);
}
