/* float only */
/* tests/train/test_memory.c - the n-th allocation fails, for n = 1, 2, 3, ... (sampled where there are many), once and from then on, in everything that a
 * run is made of. Wanted: SY_ENOMEM and a sentence; no crash; under the sanitizers of the debug preset, no leak. */
#include "testing.h"

#include "bed.h"
#include "core/alloc.h"
#include "infer/generate.h"

static bed shared;                      /* opened once, without failures */
static char model_dir[400], run_dir[400], bpe_dir[400];

#define SETTINGS "steps=3 batch_size=2 micro_batch_size=1 checkpoint_every=1 keep=1 log_every=1 eval_every=2 router=auxfree:top_k=2 " \
                 "balance='switch:scope=step,mode=exact zloss' shared_expert_intermediate_size=8 shared_expert_gate=true "

static sy_status engine(sy_err *err)
{
    sy_engine e = { 0 };
    sy_status st = sy_engine_init(&e, 2, NULL, &sy_builtin_methods, err);
    sy_engine_uninit(&e);
    return st;
}

static sy_status fresh_model(sy_err *err)
{
    sy_model *m = NULL;
    sy_status st = sy_model_new(&m, &shared.eng, &shared.c.model, SY_MODEL_TRAIN, 3, err);
    sy_model_free(m);
    return st;
}

static sy_status load(sy_err *err)
{
    sy_model *m = NULL;
    sy_ledger l = { 0 };
    sy_status st = sy_model_load(&m, &shared.eng, model_dir, SY_MODEL_TRAIN, &l, err);
    sy_ledger_free(&l);
    sy_model_free(m);
    return st;
}

static sy_status tokenizer(sy_err *err)
{
    sy_tokenizer *t = NULL;
    int32_t id[64];
    size_t n = 0;
    sy_status st = sy_tokenizer_load(&t, bpe_dir, err);
    if (st == SY_OK) st = sy_tokenizer_encode(t, "gate token", 10, id, &n, err);
    sy_tokenizer_close(t);
    return st;
}

static sy_status corpus(const char *cache, sy_err *err)
{
    const char *src[] = { bed_text(0) };
    sy_data *d = NULL;
    sy_arena a = { 0 };
    sy_batch b;
    sy_status st = sy_data_open(&d, &(sy_sources){ .train = src, .n_train = 1, .cache_dir = cache }, &shared.c.data, shared.tok, 1, err);
    if (st == SY_OK) st = sy_data_rows(d, 5, 3, &a, &b, err);
    sy_data_close(d);
    sy_arena_free(&a);
    return st;
}

static sy_status data(sy_err *err) { return corpus(NULL, err); }

static sy_status cached(sy_err *err)
{
    char dir[700];
    snprintf(dir, sizeof dir, "%s/cache", sy_test_dir());
    sy_status st = corpus(dir, err);
    return st == SY_OK ? corpus(dir, err) : st;      /* writes it, then finds it */
}

/* With an engine of its own: scratch grows in the first step. */
static sy_status some_steps(bool recompute, sy_err *err)
{
    sy_engine e = { 0 };
    sy_model *m = NULL;
    sy_stepper s = { 0 };
    sy_step_result r = { 0 };
    sy_status st = sy_engine_init(&e, 1, NULL, &sy_builtin_methods, err);
    if (st == SY_OK) st = sy_model_new(&m, &e, &shared.c.model, SY_MODEL_TRAIN, 3, err);
    if (st == SY_OK) {
        bed_stepper(&shared, m, &s);
        sy_tape_init(&s.tape, &e, true);
        s.recompute = recompute;
    }
    for (int i = 0; i < 3 && st == SY_OK; i++) {
        st = sy_stepper_run(&s, &r, err);
        if (st == SY_OK && r.skipped) st = sy_fail(err, SY_ENUM, "step %d was skipped, as if it were not finite", i);
    }
    sy_stepper_close(&s);
    sy_model_free(m);
    sy_engine_uninit(&e);
    return st;
}

static sy_status steps(sy_err *err) { return some_steps(false, err); }
static sy_status steps_again(sy_err *err) { return some_steps(true, err); }

/* Wide enough for ops to be cut over three threads, so that the workers' scratch grows, too. Which allocation is the n-th depends on their race. */
static sy_status threads(sy_err *err)
{
    bed b = { 0 };
    sy_model *m = NULL;
    sy_stepper s = { 0 };
    sy_step_result r = { 0 };
    b = shared;
    b.eng = (sy_engine){ 0 };
    b.c.model.hidden_size = 64, b.c.model.moe_intermediate_size = 96, b.c.train.batch_size = 8, b.c.train.micro_batch_size = 4;
    sy_status st = sy_engine_init(&b.eng, 3, NULL, &sy_builtin_methods, err);
    if (st == SY_OK) st = sy_model_new(&m, &b.eng, &b.c.model, SY_MODEL_TRAIN, 3, err);
    if (st == SY_OK) bed_stepper(&b, m, &s);
    for (int i = 0; i < 2 && st == SY_OK; i++) {
        st = sy_stepper_run(&s, &r, err);
        if (st == SY_OK && r.skipped) st = sy_fail(err, SY_ENUM, "step %d was skipped, as if it were not finite", i);
    }
    sy_stepper_close(&s);
    sy_model_free(m);
    sy_engine_uninit(&b.eng);
    return st;
}

static sy_status evaluation(sy_err *err)
{
    sy_model *m = NULL;
    sy_arena a = { 0 };
    sy_evaluation e;
    sy_status st = sy_model_load(&m, &shared.eng, model_dir, 0, NULL, err);
    if (st == SY_OK) st = sy_evaluate(m, shared.data, 2, NULL, &e, &a, err);
    sy_arena_free(&a);
    sy_model_free(m);
    return st;
}

static sy_status generation(sy_err *err)
{
    static const int prompt[] = { 't', 'h', 'e', ' ' };
    sy_model *m = NULL;
    sy_generator g = { 0 };
    sy_generate_options o;
    sy_buf out = { 0 };
    sy_generation x = { .stop = (const char *const[]){ "zz" }, .n_stop = 1 };
    sy_opt_defaults(sy_generate_opts, &o);
    o.max_new_tokens = 8;
    sy_status st = sy_model_load(&m, &shared.eng, model_dir, 0, NULL, err);
    if (st == SY_OK) st = sy_generator_open(&g, m, shared.tok, 16, err);
    if (st == SY_OK) st = sy_generator_feed(&g, prompt, 4, NULL, err);
    if (st == SY_OK) st = sy_generate(&g, &o, &x, &out, err);
    sy_generator_close(&g);
    sy_buf_free(&out);
    sy_model_free(m);
    return st;
}

static sy_status saving(sy_err *err)
{
    sy_model *m = NULL;
    char dir[700], path[800];
    sy_state_item item[] = { { "step", 3 }, { "row", 6 } };
    snprintf(dir, sizeof dir, "%s/saved", sy_test_dir());
    snprintf(path, sizeof path, "%s/training_state.safetensors", dir);
    SY_TRY(sy_mkdirs(dir, err));
    SY_TRY(sy_model_new(&m, &shared.eng, &shared.c.model, SY_MODEL_TRAIN, 3, err));
    sy_status st = sy_model_save(m, dir, -1, NULL, err);
    if (st == SY_OK) st = sy_state_save(m, path, item, 2, err);
    if (st == SY_OK) st = sy_state_load(m, path, item, 2, err);
    if (st == SY_OK) st = sy_tokenizer_save(shared.tok, dir, err);
    sy_model_free(m);
    return st;
}

static sy_status run(sy_err *err) { return bed_train(&shared, run_dir, false, err); }
static sy_status resume(sy_err *err) { return bed_train(&shared, model_dir, true, err); }   /* a finished run: everything is opened, read, written */

static sy_status config(sy_err *err)
{
    char path[700];
    sy_arena a = { 0 };
    sy_config c;
    sy_buf b = { 0 };
    sy_json j;
    snprintf(path, sizeof path, "%s/config.json", sy_test_dir());
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_config_write(&shared.c, &j);
    sy_json_end(&j, '}');
    sy_config_defaults(&c);
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory for the config") : sy_file_write(path, b.data, b.n, err);
    if (st == SY_OK) st = sy_config_read(&c, path, &a, err);
    sy_buf_free(&b);
    sy_arena_free(&a);
    return st;
}

static void forget_run(void) { sy_remove_tree(run_dir, NULL); }
static void forget_cache(void) { sy_remove_tree(bed_path("cache"), NULL); }

/* Stopped inside an evaluation, and resumed there. */
static void stop_at_eval(void *arg, const sy_train_event *e) { if (e->moment == SY_AT_STEP && e->step == 2) *(sig_atomic_t *)arg = 1; }

static sy_status interrupted(sy_err *err)
{
    sig_atomic_t stop = 0;
    sy_train_job job = { .eng = &shared.eng, .config = &shared.c, .data = shared.data, .tok = shared.tok, .out = run_dir, .stop = &stop, .on = stop_at_eval, .arg = &stop };
    SY_TRY(sy_train(&job, err));
    job.resume = true;
    job.stop = NULL;
    return sy_train(&job, err);
}

static const struct { const char *what; sy_status (*fn)(sy_err *err); int most; void (*before)(void); } scenes[] = {
    { "engine",     engine,      200, NULL },
    { "model",      fresh_model, 200, NULL },
    { "load",       load,        200, NULL },
    { "tokenizer",  tokenizer,   120, NULL },
    { "data",       data,        200, NULL },
    { "cached data", cached,     150, forget_cache },
    { "steps",      steps,       200, NULL },
    { "steps, layers again", steps_again, 200, NULL },
    { "threads",    threads,     100, NULL },
    { "evaluation", evaluation,  120, NULL },
    { "generation", generation,  150, NULL },
    { "saving",     saving,      150, NULL },
    { "config",     config,      120, NULL },
    { "whole run",  run,         150, forget_run },
    { "resume",     resume,      150, NULL },
    { "interrupted", interrupted, 100, forget_run },
};

static void test_all(void **state)
{
    (void)state;
    const char *only = getenv("SY_SCENE");           /* one of them, when one is looked into */
    for (size_t i = 0; i < SY_COUNT(scenes); i++) {
        sy_err err = { 0 };
        if (only && strcmp(only, scenes[i].what)) continue;
        if (scenes[i].before) scenes[i].before();
        uint64_t before = sy_alloc_calls(), g = sy_test_seed() + i;
        sy_status st = scenes[i].fn(&err);
        if (st != SY_OK) fail_msg("%s, with all the memory it wants: %s", scenes[i].what, err.text);
        uint64_t calls = sy_alloc_calls() - before;
        assert_true(calls > 0);
        for (int sticky = 0; sticky < 2; sticky++) {
            uint64_t stride = 1 + calls / (uint64_t)scenes[i].most;
            for (uint64_t n = 1; n <= calls; n += stride == 1 ? 1 : 1 + bed_rng(&g) % (2 * stride - 1)) {
                err = (sy_err){ 0 };
                if (scenes[i].before) scenes[i].before();
                sy_alloc_fail_at(n, sticky);
                st = scenes[i].fn(&err);
                sy_alloc_fail_at(0, 0);
                if (st == SY_OK && scenes[i].fn == threads && n > calls / 2) continue;      /* the race took a way with fewer allocations */
                if (st != SY_ENOMEM || !*err.text)
                    fail_msg("%s: allocation %llu of %llu fails%s: status '%s', sentence '%s' (seed %llu)", scenes[i].what, (unsigned long long)n, (unsigned long long)calls,
                             sticky ? ", and all later ones" : "", sy_status_text(st), err.text, (unsigned long long)sy_test_seed());
            }
        }
        err = (sy_err){ 0 };
        if (scenes[i].before) scenes[i].before();
        if ((st = scenes[i].fn(&err)) != SY_OK) fail_msg("%s, after the failures: %s", scenes[i].what, err.text);
    }
}

static int no_fsync(int fd) { (void)fd; return 0; }
static sy_syscalls quick;

static int open_shared(void **state)
{
    (void)state;
    quick = *sy_file_calls;
    quick.fsync = no_fsync;                          /* thousands of files; the power stays on */
    sy_file_calls = &quick;
    snprintf(model_dir, sizeof model_dir, "%s", bed_path("model"));
    snprintf(run_dir, sizeof run_dir, "%s", bed_path("run"));
    snprintf(bpe_dir, sizeof bpe_dir, "%s", model_dir);
    bed_open(&shared, 1, SETTINGS);                  /* one thread, so that the n-th allocation is the same each time */
    sy_expect_ok(bed_train(&shared, model_dir, false, err));
    return 0;
}

static int close_shared(void **state)
{
    (void)state;
    bed_close(&shared);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all) };
    if (sy_is_dir("/dev/shm")) setenv("TMPDIR", "/dev/shm", 0);
    return cmocka_run_group_tests(tests, open_shared, close_shared);
}
