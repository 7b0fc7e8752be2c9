/* experiments/experiment.c - tuning, seeds, store of finished runs, verdict, page. */
#include "experiments/experiment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"

enum { MAX_ARMS = 4, MAX_SEEDS = 64, TUNING_SEED = 1000, CR_VERSION = 2, LM_VERSION = 1 };  /* of what a bed measures; a change makes its old runs unknown */

void sy_metric_add(sy_trial_result *r, const char *name, double value)
{
    if (r->n == SY_MAX_METRICS) return;
    snprintf(r->m[r->n].name, sizeof r->m[r->n].name, "%s", name);
    r->m[r->n++].value = value;
}

double sy_metric_get(const sy_trial_result *r, const char *name)
{
    for (int i = 0; i < r->n; i++) if (!strcmp(r->m[i].name, name)) return r->m[i].value;
    return NAN;
}

sy_status sy_bed_run(const sy_bed_context *c, const sy_trial *t, sy_trial_result *out, sy_err *err)
{
    *out = (sy_trial_result){ 0 };
    if (!strcmp(t->bed, "cr")) return sy_bed_cr(c, t, out, err);
    if (!strcmp(t->bed, "classes")) return sy_bed_classes(c, t, out, err);
    if (!strcmp(t->bed, "sums")) return sy_bed_sums(c, t, out, err);
    if (!strcmp(t->bed, "lm-tiny")) return sy_bed_lm(c, t, out, err);
    return sy_fail(err, SY_EARG, "no bed is called '%s'", t->bed);
}

/* --- store ------------------------------------------------------------------------------------------------------------------- */

/* The name of a run: a hash over bed, settings, scales, seed, budget, kernels and `text`, the id of what it read ("" on a bed without). */
static void run_id(const sy_bed_context *c, const char *text, const sy_trial *t, char out[65])
{
    sy_sha256 s;
    unsigned char digest[32];
    char lr[40];
    snprintf(lr, sizeof lr, "%.17g", t->lr_scale);
    sy_sha256_start(&s);
    sy_sha256_u64(&s, strcmp(t->bed, "cr") ? LM_VERSION : CR_VERSION);
    sy_sha256_text(&s, t->bed);
    sy_sha256_text(&s, t->settings);
    sy_sha256_text(&s, lr);
    sy_sha256_u64(&s, t->seed);
    if (t->budget != 1) {
        snprintf(lr, sizeof lr, "budget %.17g", t->budget);
        sy_sha256_text(&s, lr);
    }
    sy_sha256_text(&s, c->eng->k->name);
    if (*text) sy_sha256_text(&s, text);
    sy_sha256_end(&s, digest);
    sy_hex(digest, 32, out);
}

static bool from_store(const char *path, sy_trial_result *out)
{
    json_t *root, *v;
    const char *key;
    sy_err ignored;
    if (!sy_file_exists(path) || sy_json_read(&root, path, 1 << 20, &ignored) != SY_OK) return false;    /* damaged: run again */
    *out = (sy_trial_result){ 0 };
    json_object_foreach(json_object_get(root, "metrics"), key, v) if (json_is_number(v)) sy_metric_add(out, key, json_number_value(v));
    json_decref(root);
    return out->n > 0;
}

static sy_status to_store(const char *path, const sy_trial *t, const sy_trial_result *r, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 1);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "bed"), sy_json_text(&j, t->bed);
    sy_json_key(&j, "settings"), sy_json_text(&j, t->settings);
    sy_json_key(&j, "lr_scale"), sy_json_real(&j, t->lr_scale);
    sy_json_key(&j, "seed"), sy_json_int(&j, (long long)t->seed);
    sy_json_key(&j, "budget"), sy_json_real(&j, t->budget);
    sy_json_key(&j, "metrics");
    sy_json_begin(&j, '{');
    for (int i = 0; i < r->n; i++) sy_json_key(&j, r->m[i].name), sy_json_real(&j, r->m[i].value);
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory for a result") : sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}

typedef struct campaign { const sy_bed_context *c; const sy_experiment *x; const sy_experiment_options *o; int done, all; char text[33]; } campaign;

static sy_status trial(const campaign *k, const sy_trial *t, sy_trial_result *out, sy_err *err)
{
    char id[65], name[80], path[1024];
    run_id(k->c, k->text, t, id);
    snprintf(name, sizeof name, "%.40s.json", id);
    SY_TRY(sy_path(path, sizeof path, k->o->store, name, err));
    if (from_store(path, out)) return SY_OK;
    SY_TRY(sy_bed_run(k->c, t, out, err));
    return to_store(path, t, out, err);
}

/* --- arms -------------------------------------------------------------------------------------------------------------------- */

typedef struct arm_state {
    const sy_arm   *arm;
    double          lr_scale, coef_scale;
    sy_trial_result result[MAX_SEEDS];
} arm_state;

/* The arm's settings with its coefficient in the place of every "$C". */
static void settings_of(const sy_arm *a, double coef_scale, char *out, size_t size)
{
    size_t n = 0;
    for (const char *p = a->settings; *p && n < size; ) {
        size_t plain = strlen(p);
        const char *hole = strstr(p, "$C");
        if (hole) plain = (size_t)(hole - p);
        int len = hole ? snprintf(out + n, size - n, "%.*s%.6g", (int)plain, p, a->coef * coef_scale) : snprintf(out + n, size - n, "%s", p);
        n += (size_t)(len > 0 ? len : 0);
        p += plain + (hole ? 2 : 0);
    }
}

static sy_status arm_trial(campaign *k, const arm_state *s, uint64_t seed, sy_trial_result *out, sy_err *err)
{
    char settings[1024], what[160];
    settings_of(s->arm, s->coef_scale, settings, sizeof settings);
    sy_trial t = { .bed = k->x->bed, .settings = settings, .lr_scale = s->lr_scale, .budget = k->o->budget ? k->o->budget : 1, .seed = seed };
    snprintf(what, sizeof what, "%s: %s, lr x %.3g, coefficient x %.3g, seed %llu", k->x->key, s->arm->name, s->lr_scale, s->coef_scale, (unsigned long long)seed);
    if (k->o->tell) k->o->tell(k->o->arg, what, k->done, k->all);
    k->done++;
    return sy_within(err, trial(k, &t, out, err), "%s, arm %s", k->x->key, s->arm->name);
}

static sy_status tune(campaign *k, arm_state *s, sy_err *err)
{
    static const double lr[] = { 1, 0.5, 2 }, coef[] = { 1, 1.0 / 3, 3 };
    double best = INFINITY, best_lr = 1, best_coef = 1;
    for (size_t i = 0; i < SY_COUNT(lr); i++)
        for (size_t j = 0; j < (s->arm->coef ? SY_COUNT(coef) : 1); j++) {
            sy_trial_result r;
            s->lr_scale = lr[i];
            s->coef_scale = coef[j];
            SY_TRY(arm_trial(k, s, TUNING_SEED, &r, err));
            double loss = sy_metric_get(&r, "loss");
            if (loss < best) best = loss, best_lr = lr[i], best_coef = coef[j];
        }
    s->lr_scale = best_lr;
    s->coef_scale = best_coef;
    return SY_OK;
}

static double mean_of(const arm_state *s, int n, const char *metric, double *sd)
{
    double m = 0, v = 0;
    for (int i = 0; i < n; i++) m += sy_metric_get(&s->result[i], metric) / n;
    for (int i = 0; i < n; i++) v += pow(sy_metric_get(&s->result[i], metric) - m, 2);
    if (sd) *sd = n > 1 ? sqrt(v / (n - 1)) : 0;
    return m;
}

/* Seeds are paired, so the difference is judged by its own spread: |mean| against twice the standard error. */
static void verdict(sy_buf *b, const arm_state *base, const arm_state *s, int n)
{
    double m = 0, v = 0;
    for (int i = 0; i < n; i++) m += (sy_metric_get(&s->result[i], "loss") - sy_metric_get(&base->result[i], "loss")) / n;
    for (int i = 0; i < n; i++) v += pow(sy_metric_get(&s->result[i], "loss") - sy_metric_get(&base->result[i], "loss") - m, 2);
    double se = n > 1 ? sqrt(v / (n - 1) / n) : INFINITY;
    int wins = 0;
    for (int i = 0; i < n; i++) wins += sy_metric_get(&s->result[i], "loss") < sy_metric_get(&base->result[i], "loss");
    sy_buf_printf(b, "- **%s against %s**: %+.4f (standard error %.4f), lower on %d of %d seeds: %s.\n", s->arm->name, base->arm->name, m, se, wins, n,
                  fabs(m) <= 2 * se ? "no difference at this size" : m < 0 ? "lower loss" : "higher loss");
}

/* One table of means. */
static void table_of(const sy_experiment *x, const arm_state *s, int arms, int seeds, sy_buf *b)
{
    sy_buf_text(b, "| arm | lr x | coefficient | loss, mean (sd) |");
    for (const char *p = x->metrics; *p; p += strspn(p, " ")) { size_t n = strcspn(p, " "); sy_buf_printf(b, " %.*s |", (int)n, p); p += n; }
    sy_buf_text(b, "\n|---|---|---|---|");
    for (const char *p = x->metrics; *p; p += strspn(p, " ")) { sy_buf_text(b, "---|"); p += strcspn(p, " "); }
    sy_buf_text(b, "\n");
    for (int a = 0; a < arms; a++) {
        double sd, m = mean_of(&s[a], seeds, "loss", &sd);
        if (s[a].arm->coef) sy_buf_printf(b, "| %s | %.3g | %.3g | %.4f (%.4f) |", s[a].arm->name, s[a].lr_scale, s[a].arm->coef * s[a].coef_scale, m, sd);
        else sy_buf_printf(b, "| %s | %.3g | | %.4f (%.4f) |", s[a].arm->name, s[a].lr_scale, m, sd);
        for (const char *p = x->metrics; *p; p += strspn(p, " ")) {
            char name[48];
            size_t n = strcspn(p, " ");
            snprintf(name, sizeof name, "%.*s", (int)n, p);
            double v = mean_of(&s[a], seeds, name, NULL);
            if (isnan(v)) sy_buf_text(b, " |");
            else sy_buf_printf(b, fabs(v) < 1e4 ? " %.4g |" : " %.0f |", v);
            p += n;
        }
        sy_buf_text(b, "\n");
    }
}

/* Means of the loss on each domain, where the bed has domains. */
static void domains_of(const arm_state *s, int arms, int seeds, sy_buf *b)
{
    static const char prefix[] = "domain.";
    const sy_trial_result *r = &s[0].result[0];
    size_t skip = sizeof prefix - 1;
    int n = 0;
    for (int i = 0; i < r->n; i++)
        if (!strncmp(r->m[i].name, prefix, skip)) sy_buf_printf(b, "%s %s |", n++ ? "" : "\n| arm |", r->m[i].name + skip);
    if (!n) return;
    sy_buf_text(b, "\n|---|");
    for (int i = 0; i < n; i++) sy_buf_text(b, "---|");
    for (int a = 0; a < arms; a++) {
        sy_buf_printf(b, "\n| %s |", s[a].arm->name);
        for (int i = 0; i < r->n; i++)
            if (!strncmp(r->m[i].name, prefix, skip)) sy_buf_printf(b, " %.4f |", mean_of(&s[a], seeds, r->m[i].name, NULL));
    }
    sy_buf_text(b, "\n");
}

/* A best value at an end of its grid may not be the best there is. */
static void edges_of(const arm_state *s, int arms, sy_buf *b)
{
    int n = 0;
    for (int a = 0; a < arms; a++)
        if (s[a].lr_scale != 1 || s[a].coef_scale != 1) sy_buf_printf(b, "%s %s", n++ ? "," : "At an end of the tuning grid:", s[a].arm->name);
    if (n) sy_buf_text(b, "; a wider grid might find a lower loss.\n");
}

static void page_of(const campaign *k, const arm_state *s, const arm_state *plain, int arms, int seeds, sy_buf *b)
{
    const sy_experiment *x = k->x;
    sy_buf_printf(b, "# %s: %s\n\n%s (%s)\n\nBed: %s. %s\n\n", x->key, x->title, x->question, x->paper, x->bed,
                  k->o->tune ? "Each arm was tuned over learning rate x {1/2, 1, 2} and its coefficient x {1/3, 1, 3} on a seed that is not used below." : "Nothing was tuned: every arm runs at its defaults.");
    if (k->o->budget && k->o->budget != 1) sy_buf_printf(b, "A quick look: every run has %.3g %% of its steps, so losses are not those of the method.\n\n", 100 * k->o->budget);
    table_of(x, s, arms, seeds, b);
    domains_of(s, arms, seeds, b);
    sy_buf_printf(b, "\n%d seeds; all arms share seeds and data. Loss is held out%s.\n", seeds, strcmp(x->bed, "lm-tiny") ? "" : ", nats per byte");
    edges_of(s, arms, b);
    sy_buf_text(b, "\n");
    for (int a = 1; a < arms; a++) verdict(b, &s[0], &s[a], seeds);
    if (x->note) sy_buf_printf(b, "\n%s\n", x->note);
    sy_buf_text(b, "\n| seed |");
    for (int a = 0; a < arms; a++) sy_buf_printf(b, " %s |", s[a].arm->name);
    sy_buf_text(b, "\n|---|");
    for (int a = 0; a < arms; a++) sy_buf_text(b, "---|");
    for (int i = 0; i < seeds; i++) {
        sy_buf_printf(b, "\n| %d |", i + 1);
        for (int a = 0; a < arms; a++) sy_buf_printf(b, " %.4f |", sy_metric_get(&s[a].result[i], "loss"));
    }
    if (x->expect) {
        sy_buf_printf(b, "\n\nUntuned, every arm at its own values. Expected here: %s\n\n", x->expect);
        table_of(x, plain, arms, seeds, b);
    } else sy_buf_text(b, "\n");
    sy_buf_text(b, "\nSettings:\n\n");
    for (int a = 0; a < arms; a++) sy_buf_printf(b, "- %s: `%s`\n", s[a].arm->name, s[a].arm->settings);
}

sy_status sy_experiment_run(const sy_bed_context *c, const sy_experiment *x, const sy_experiment_options *o, sy_buf *page, sy_err *err)
{
    sy_arena a = { 0 };
    arm_state *s = sy_arena_array(&a, MAX_ARMS, sizeof *s), *plain = sy_arena_array(&a, MAX_ARMS, sizeof *plain);
    int arms = 0, seeds = o->seeds ? o->seeds : !strcmp(x->bed, "cr") ? 5 : 3;
    campaign k = { .c = c, .x = x, .o = o };
    sy_status st = s && plain ? sy_mkdirs(o->store, err) : sy_fail(err, SY_ENOMEM, "no memory for an experiment");
    if (st == SY_OK && !(o->budget >= 0 && o->budget <= 1)) st = sy_fail(err, SY_EARG, "a budget of %g is outside 0 .. 1", o->budget);
    if (st == SY_OK && seeds > MAX_SEEDS) st = sy_fail(err, SY_EARG, "%d seeds; at most %d", seeds, MAX_SEEDS);
    for (; st == SY_OK && arms < MAX_ARMS && x->arm[arms].name; arms++) {
        s[arms] = plain[arms] = (arm_state){ .arm = &x->arm[arms], .lr_scale = 1, .coef_scale = 1 };
        k.all += (x->expect ? 2 : 1) * seeds + (o->tune ? 3 * (x->arm[arms].coef ? 3 : 1) : 0);
    }
    if (st == SY_OK && !strcmp(x->bed, "lm-tiny")) st = sy_bed_lm_id(c, k.text, err);
    for (int i = 0; st == SY_OK && o->tune && i < arms; i++) st = tune(&k, &s[i], err);
    for (int n = 0; st == SY_OK && n < seeds; n++)
        for (int i = 0; st == SY_OK && i < arms; i++) st = arm_trial(&k, &s[i], (uint64_t)n + 1, &s[i].result[n], err);
    for (int n = 0; st == SY_OK && x->expect && n < seeds; n++)
        for (int i = 0; st == SY_OK && i < arms; i++) st = arm_trial(&k, &plain[i], (uint64_t)n + 1, &plain[i].result[n], err);
    if (st == SY_OK) {
        page_of(&k, s, plain, arms, seeds, page);
        if (page->failed) st = sy_fail(err, SY_ENOMEM, "no memory for the page");
    }
    sy_arena_free(&a);
    return st;
}
