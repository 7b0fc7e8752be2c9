/* experiments/trials.c - the store of finished runs, and the threads that make new ones. */
#include "experiments/trials.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"

enum { CR_VERSION = 3, LM_VERSION = 2, MAX_WORKERS = 64 };      /* versions: of what a bed measures; a change makes its old runs unknown */

/* --- store ------------------------------------------------------------------------------------------------------------------- */

/* The name of a run: a hash over bed, settings, scales, seed, budget, kernels and the id of what it read ("" on a bed without). */
static void run_id(const sy_trials *k, const sy_trial *t, char out[65])
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
    if (t->gmadds) {
        snprintf(lr, sizeof lr, "gmadds %.17g", t->gmadds);
        sy_sha256_text(&s, lr);
    }
    sy_sha256_text(&s, k->c->eng->k->name);
    if (*k->text) sy_sha256_text(&s, k->text);
    sy_sha256_end(&s, digest);
    sy_hex(digest, 32, out);
}

static sy_status path_of(const sy_trials *k, const sy_trial *t, char *path, size_t size, sy_err *err)
{
    char id[65], name[80];
    run_id(k, t, id);
    snprintf(name, sizeof name, "%.40s.json", id);
    return sy_path(path, size, k->store, name, err);
}

/* True when the store has the run: its result, or in *st and err the failure that it was. */
static bool from_store(const char *path, sy_trial_result *out, sy_status *st, sy_err *err)
{
    json_t *root, *v;
    const char *key;
    sy_err ignored;
    if (!sy_file_exists(path) || sy_json_read(&root, path, 1 << 20, &ignored) != SY_OK) return false;    /* damaged: run again */
    *out = (sy_trial_result){ 0 };
    *st = SY_OK;
    json_object_foreach(json_object_get(root, "metrics"), key, v) if (json_is_number(v)) sy_metric_add(out, key, json_number_value(v));
    const char *failed = json_string_value(json_object_get(root, "failed"));
    if (failed) *st = sy_fail(err, SY_ENUM, "%s", failed);
    json_decref(root);
    return failed || out->n > 0;
}

static sy_status to_store(const char *path, const sy_trial *t, const sy_trial_result *r, const char *failed, sy_err *err)
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
    if (t->gmadds) sy_json_key(&j, "gmadds"), sy_json_real(&j, t->gmadds);
    if (failed) sy_json_key(&j, "failed"), sy_json_text(&j, failed);
    sy_json_key(&j, "metrics");
    sy_json_begin(&j, '{');
    for (int i = 0; i < r->n; i++) sy_json_key(&j, r->m[i].name), sy_json_real(&j, r->m[i].value);
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory for a result") : sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}

/* --- the work ------------------------------------------------------------------------------------------------------------------ */

typedef struct work {                   /* what the workers share, under `lock` */
    sy_trials *t;
    sy_job    *job;
    int        n, next;
    int       *same;                    /* [n] an earlier job that is the same run, or -1 */
    bool       end;
    sy_status  st;
    sy_err     err;
    pthread_mutex_t lock;
} work;

static bool bearable(const sy_trials *t, sy_status st) { return st == SY_EARG || st == SY_ESHAPE || st == SY_EUNSUP || st == SY_ENUM || (t->so_far && st == SY_ENOENT); }

static bool stopping(void *arg)
{
    work *w = arg;
    const sy_bed_context *c = w->t->c;
    pthread_mutex_lock(&w->lock);
    bool end = w->end || (c->stop && c->stop(c->arg));
    pthread_mutex_unlock(&w->lock);
    return end;
}

/* The next job, told about; NULL when there is none, or all is to end. */
static sy_job *take(work *w)
{
    sy_job *j = NULL;
    pthread_mutex_lock(&w->lock);
    while (w->next < w->n && w->same[w->next] >= 0) w->next++;
    if (!w->end && w->next < w->n) j = &w->job[w->next++];
    if (j && w->t->tell && !w->t->so_far) w->t->tell(w->t, j->what, w->t->arg);
    pthread_mutex_unlock(&w->lock);
    return j;
}

static sy_status one(work *w, sy_engine *eng, sy_job *j, bool *found, sy_err *err)
{
    char path[1024];
    sy_status st;
    sy_bed_context c = *w->t->c;
    c.eng = eng, c.stop = stopping, c.arg = w;
    SY_TRY(path_of(w->t, &j->trial, path, sizeof path, err));
    *found = from_store(path, &j->result, &st, err);
    if (*found) return st;
    if (w->t->so_far) return sy_fail(err, SY_ENOENT, "not run yet");
    st = sy_bed_run(&c, &j->trial, &j->result, err);
    if (st != SY_OK && st != SY_ENUM) return st;
    sy_err disk;
    sy_status kept = to_store(path, &j->trial, &j->result, st == SY_OK ? NULL : err->text, &disk);
    if (kept != SY_OK) *err = disk;
    return kept != SY_OK ? kept : st;
}

static void serve(work *w, sy_engine *eng)
{
    for (sy_job *j; (j = take(w)); ) {
        sy_err e = { 0 };
        bool found = false;
        sy_status st = one(w, eng, j, &found, &e);
        pthread_mutex_lock(&w->lock);
        j->status = st;
        if (st != SY_OK && w->t->keep_going && bearable(w->t, st)) {
            if (!(j->why = sy_arena_printf(w->t->arena, "%s", e.text))) st = sy_fail(&e, SY_ENOMEM, "no memory for a sentence");
            else st = SY_OK;
        }
        if (j->status == SY_ENOENT && st == SY_OK) w->t->missing++;
        else if (st == SY_OK) w->t->done++, w->t->found += found, w->t->refused += j->status != SY_OK && j->status != SY_ENUM;
        else if (!w->end) {
            w->end = true;
            w->err = e;
            w->st = sy_within(&w->err, st, "%s", j->what);
        }
        pthread_mutex_unlock(&w->lock);
    }
}

/* An engine of one thread, with the kernels and methods of `like`. */
static sy_status engine_like(sy_engine *e, const sy_engine *like, sy_err *err)
{
    sy_status st = sy_engine_init(e, 1, like->k->name, &(sy_methods){ like->methods.list, like->methods.presets, NULL }, err);
    for (const sy_method *const *m = like->methods.extra; st == SY_OK && m && *m; m++) st = sy_engine_register(e, *m, err);
    if (st != SY_OK) { sy_engine_uninit(e); return st; }
    e->log = like->log;
    e->check_nan = like->check_nan;
    return SY_OK;
}

static void *worker(void *arg)
{
    work *w = arg;
    sy_engine eng;
    sy_err e = { 0 };
    sy_status st = engine_like(&eng, w->t->c->eng, &e);
    if (st == SY_OK) {
        serve(w, &eng);
        sy_engine_uninit(&eng);
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    if (!w->end) w->end = true, w->st = st, w->err = e;
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void side_by_side(work *w, int n)
{
    pthread_t thread[MAX_WORKERS];
    int made = 0;
    if (n > MAX_WORKERS) n = MAX_WORKERS;
    while (made < n - 1 && !pthread_create(&thread[made], NULL, worker, w)) made++;     /* fewer threads than wanted do the same work */
    worker(w);
    while (made--) pthread_join(thread[made], NULL);
}

/* Which jobs are the same run as an earlier one. */
static void find_same(const sy_trials *t, const sy_job *job, int n, int *same)
{
    for (int i = 0; i < n; i++) {
        const sy_trial *a = &job[i].trial;
        same[i] = -1;
        for (int k = 0; k < i && same[i] < 0; k++) {
            const sy_trial *b = &job[k].trial;
            char x[65], y[65];
            if (a->seed != b->seed || a->lr_scale != b->lr_scale || strcmp(a->settings, b->settings)) continue;
            run_id(t, a, x), run_id(t, b, y);
            if (!strcmp(x, y)) same[i] = k;
        }
    }
}

sy_status sy_trials_open(sy_trials *t, const char *bed, sy_err *err)
{
    SY_TRY(sy_mkdirs(t->store, err));
    return strcmp(bed, "lm-tiny") ? SY_OK : sy_bed_lm_id(t->c, t->text, err);
}

sy_status sy_trials_run(sy_trials *t, sy_job *job, int n, sy_err *err)
{
    work w = { .t = t, .job = job, .n = n, .same = sy_calloc((size_t)n, sizeof *w.same) };
    if (!w.same) return sy_fail(err, SY_ENOMEM, "no memory for %d runs", n);
    pthread_mutex_init(&w.lock, NULL);
    find_same(t, job, n, w.same);
    if (t->side_by_side > 0) side_by_side(&w, t->side_by_side);
    else serve(&w, t->c->eng);
    for (int i = 0; i < n; i++) {
        int k = w.same[i];
        if (k < 0) continue;
        job[i].result = job[k].result, job[i].status = job[k].status, job[i].why = job[k].why;
        if (w.st == SY_OK && job[k].status == SY_ENOENT) t->missing++;
        else if (w.st == SY_OK) t->done++, t->found++;
    }
    pthread_mutex_destroy(&w.lock);
    sy_free(w.same);
    if (w.st != SY_OK) *err = w.err;
    return w.st;
}
