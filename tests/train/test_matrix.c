/* full */
/* Every router with every expert kind, balance term and edit in a tiny model: three steps of two micro-batches stay finite; saved and loaded, each
 * part of it gives the same logits; token by token through caches the same bits as at once in serving mode. What is refused is refused by the flags that the methods declare, and by nothing else.
 * Oracles: the rules of docs/methods.md, applied here to the flags; another path of our own. */
#include "bed.h"

#include <math.h>

#include "model/checkpoint.h"

enum { T = 11 };
static bed B;

static const char *list_of(sy_kind kind, int i)     /* the i-th method of a kind; "" before the first for terms that may be left out; NULL at the end */
{
    if ((kind == SY_BALANCE || kind == SY_EDIT) && i-- == 0) return "";
    for (const sy_method *const *m = B.eng.methods.list; *m; m++) if ((*m)->kind == kind && i-- == 0) return (*m)->name;
    return NULL;
}

static unsigned flags_of(sy_kind kind, const char *name)
{
    const sy_method *m;
    void *s;
    sy_expect_ok(sy_method_make(&B.eng.methods, kind, name, &B.a, &m, &s, err));
    unsigned (*declares)(const void *) = kind == SY_ROUTER ? ((const sy_router_hooks *)m->hooks)->declares : kind == SY_EDIT ? ((const sy_edit_hooks *)m->hooks)->declares :
                                         kind == SY_BALANCE ? ((const sy_balance_hooks *)m->hooks)->declares : ((const sy_expert_hooks *)m->hooks)->declares;
    unsigned fixed = kind == SY_ROUTER ? ((const sy_router_hooks *)m->hooks)->flags : kind == SY_EDIT ? ((const sy_edit_hooks *)m->hooks)->flags :
                     kind == SY_BALANCE ? ((const sy_balance_hooks *)m->hooks)->flags : ((const sy_expert_hooks *)m->hooks)->flags;
    unsigned logits = kind == SY_EDIT && ((const sy_edit_hooks *)m->hooks)->logits ? SY_NEEDLOGITS : 0;
    return fixed | logits | (declares ? declares(s) : 0);
}

static bool has(sy_kind kind, const char *name, const char *what)
{
    const sy_method *m;
    const sy_preset *p;
    sy_expect_ok(sy_method_find(&B.eng.methods, kind, name, &m, &p, err));
    return !strcmp(what, "run") ? ((const sy_expert_hooks *)m->hooks)->run != NULL : ((const sy_edit_hooks *)m->hooks)->gates != NULL;
}

/* A part of the sentence with which the four are refused, or NULL. */
static const char *refused(const char *router, const char *expert, const char *balance, const char *edit)
{
    unsigned r = flags_of(SY_ROUTER, router);
    const struct { sy_kind kind; const char *name; } terms[] = { { SY_EDIT, edit }, { SY_BALANCE, balance } };
    for (int i = 0; i < 2; i++) {
        if (!*terms[i].name) continue;
        unsigned needs = flags_of(terms[i].kind, terms[i].name);
        if (needs & SY_NEEDPROBS && r & SY_NOPROBS) return "no probabilities";
        if (needs & SY_NEEDLOGITS && r & SY_NOLOGITS) return "no logits";
        if (r & SY_MIXES && (terms[i].kind == SY_BALANCE || has(SY_EDIT, edit, "gates"))) return "mixes tokens";
    }
    if (!has(SY_EXPERT, expert, "run")) return "runs nothing";
    return r & SY_NOSERVE ? "no causal form" : NULL;
}

/* Logits [T,V] of one text, at once or through a cache in pieces. */
static void logits_of(sy_model *m, int piece, sy_real *out)
{
    int id[T], pos[T], seq[T], V = m->spec.vocab_size;
    sy_kv kv, *caches[] = { &kv };
    sy_tape t;
    for (int i = 0; i < T; i++) id[i] = (i * 7 + 3) % 19, pos[i] = i, seq[i] = 0;
    sy_expect_ok(sy_kv_open(&kv, &m->spec, T, err));
    sy_tape_init(&t, m->eng, false);
    for (int at = 0; at < T; at += piece) {
        int n = T - at < piece ? T - at : piece;
        sy_segment seg = { .row = 0, .n = n, .pos0 = at };
        sy_batch batch = { .T = n, .n_seg = 1, .id = id + at, .pos = pos + at, .seq = seq, .seg = &seg, .seq_no = (uint64_t[]){ 5 } };
        sy_run run = { .mode = SY_SERVE, .kv = piece == T ? NULL : caches, .seed = 1 };
        sy_tape_reset(&t);
        sy_tensor *z = sy_model_logits(m, &t, sy_model_hidden(m, &t, &batch, &run), NULL, n);
        sy_expect_ok(sy_tape_status(&t, err));
        memcpy(out + (size_t)at * V, z->x, (size_t)n * V * sizeof *out);
    }
    sy_tape_free(&t);
    sy_kv_close(&kv);
}

static void serve(sy_model *m, bool disk)
{
    size_t n = (size_t)T * m->spec.vocab_size;
    sy_real *whole = malloc(n * sizeof *whole), *other = malloc(n * sizeof *other);
    logits_of(m, T, whole);
    for (size_t i = 0; i < n; i++) if (!isfinite((double)whole[i])) fail_msg("logit %zu is not finite", i);
    logits_of(m, 1, other);
    sy_expect_same("token by token", other, whole, n * sizeof *whole);
    logits_of(m, 4, other);
    sy_expect_same("in pieces of four", other, whole, n * sizeof *whole);
    if (disk) {
        sy_model *again;
        const char *dir = bed_path("model");
        sy_expect_ok(sy_mkdirs(dir, err));
        sy_expect_ok(sy_model_save(m, dir, -1, NULL, err));
        sy_expect_ok(sy_model_load(&again, &B.eng, dir, 0, NULL, err));
        logits_of(again, T, other);
        sy_expect_same("saved and loaded", other, whole, n * sizeof *whole);
        sy_model_free(again);
        sy_expect_ok(sy_remove_tree(dir, err));
    }
    free(whole), free(other);
}

/* Returns whether the four go together. */
static bool one(const char *router, const char *expert, const char *balance, const char *edit)
{
    char settings[400];
    sy_model *m;
    sy_stepper s;
    sy_err e = { 0 }, *err = &e;
    const char *part = refused(router, expert, balance, edit);
    sy_test_case("router %s, expert %s, balance %s, edit %s", router, expert, *balance ? balance : "none", *edit ? edit : "none");
    snprintf(settings, sizeof settings, "router=%s expert=%s balance=%s edit=%s", router, expert, balance, edit);
    sy_expect_ok(bed_set(&B, settings, err));
    sy_status st = sy_model_new(&m, &B.eng, &B.c.model, SY_MODEL_TRAIN, 1, err);
    if (part) { sy_expect_fail(st, SY_EUNSUP, part); return false; }
    if (st != SY_OK) fail_msg("%s", e.text);
    bed_stepper(&B, m, &s);
    st = sy_stepper_learn(&s, err);
    for (int i = 0; i < 3 && st == SY_OK; i++) {
        sy_step_result r = { 0 };
        st = sy_stepper_run(&s, &r, err);
        if (st == SY_OK && (r.skipped || !isfinite(r.loss) || !(r.grad_norm > 0))) fail_msg("step %d: loss %g, gradient %g, skipped %d", i, r.loss, r.grad_norm, r.skipped);
    }
    if (st != SY_OK && !strstr(e.text, "the gradient of its training is not written")) fail_msg("%s", e.text);      /* a router that says it is for serving alone */
    serve(m, !*balance && (!strcmp(expert, "swiglu") || !strcmp(router, "topk")));        /* balance terms have nothing to save; a disk is slow */
    sy_stepper_close(&s);
    sy_model_free(m);
    return true;
}

static void matrix(void **state)
{
    (void)state;
    int done = 0, out = 0;
    const char *r, *x, *b, *e;
    bed_open(&B, 1, "hidden_size=8 num_attention_heads=2 layers=sparse num_experts=8 moe_intermediate_size=4 seq_len=8 max_position_embeddings=16 batch_size=4 micro_batch_size=2");
    for (int i = 0; (r = list_of(SY_ROUTER, i)); i++)
        for (int j = 0; (x = list_of(SY_EXPERT, j)); j++)
            for (int k = 0; (b = list_of(SY_BALANCE, k)); k++)
                for (int l = 0; (e = list_of(SY_EDIT, l)); l++) {
                    if (one(r, x, b, e)) done++;
                    else out++;
                }
    print_message("%d combinations run, %d are refused\n", done, out);
    assert_true(done > 400 && out > 100);
    bed_close(&B);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(matrix) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
