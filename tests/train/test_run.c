/* float only */
/* tests/train/test_run.c - whole runs in the process. Oracle: the run that was left alone, byte for byte; and what stood on the disk before. */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <math.h>

#include "bed.h"
#include "core/log.h"

static void whole(const char *out, int threads, const char *settings)
{
    bed b;
    bed_open(&b, threads, settings);
    sy_expect_ok(bed_train(&b, out, false, err));
    bed_close(&b);
}

static void test_threads(void **state)
{
    (void)state;
    static const char *const cases[] = { "", "router=auxfree:top_k=2 balance=switch:scope=sequence micro_batch_size=2",
                                         "dtype=bfloat16 batch_size=6",
                                         "router=topk:top_k=2,router_jitter_noise=0.1,capacity_factor=1 balance='switch:scope=step,mode=exact zloss' micro_batch_size=3" };
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char one[300], more[300];
        snprintf(one, sizeof one, "%s", bed_path("threads-%zu-1", i));
        whole(one, 1, cases[i]);
        for (int threads = 2; threads <= 3; threads++) {
            snprintf(more, sizeof more, "%s", bed_path("threads-%zu-%d", i, threads));
            sy_test_case("%d threads: %s", threads, cases[i]);
            whole(more, threads, cases[i]);
            bed_expect_same_run(more, one);
        }
    }
}

/* --- stops and exact resume -------------------------------------------------------------------------------------------------- */

typedef struct watcher { sig_atomic_t stop; int at; bool ended, stopped; int64_t step; int skips; char broken[128]; double poison; int poison_at; } watcher;

static void on(void *arg, const sy_train_event *e)
{
    watcher *w = arg;
    if (e->moment == SY_AT_STEP && w->at-- == 0) w->stop = 1;
    if (e->moment == SY_AT_SKIP) {
        w->skips++;
        snprintf(w->broken, sizeof w->broken, "%s", e->result->broken ? e->result->broken->name : "loss");
    }
    if ((e->moment == SY_AT_STEP || e->moment == SY_AT_START) && w->poison_at && e->step + 1 == w->poison_at)
        ((sy_real *)sy_params_find(&e->model->params, "model.layers.0.mlp.down_proj.weight")->w.data)[3] = (sy_real)w->poison;
    if (e->moment == SY_AT_END) w->ended = true, w->stopped = e->stopped, w->step = e->step;
}

static sy_status watched(bed *b, const char *out, bool resume, watcher *w, sy_err *err)
{
    return sy_train(&(sy_train_job){ .eng = &b->eng, .config = &b->c, .data = b->data, .tok = b->tok, .out = out, .resume = resume, .stop = &w->stop, .on = on, .arg = w }, err);
}

static void test_stop(void **state)
{
    (void)state;
    static const char *const cases[] = { "checkpoint_every=4", "router=auxfree:top_k=2,bias_update=0.01 balance=switch:scope=step,mode=prev keep=1",
                                         "eval_every=1 log_every=1 router=topk:top_k=1,router_jitter_noise=0.2 balance='switch zloss'" };
    uint64_t g = sy_test_seed();
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char alone[300], out[300];
        snprintf(alone, sizeof alone, "%s", bed_path("alone-%zu", i));
        snprintf(out, sizeof out, "%s", bed_path("stopped-%zu", i));
        whole(alone, 2, cases[i]);
        bool ended = false;
        for (int k = 0; !ended; k++) {
            bed b;
            watcher w = { .at = (int)(bed_rng(&g) % 4) };
            sy_test_case("%s, stop %d", cases[i], k);
            assert_true(k < 20);
            bed_open(&b, 1 + k % 3, cases[i]);
            sy_expect_ok(watched(&b, out, k > 0, &w, err));
            assert_true(w.ended);
            assert_true(w.stopped || w.step == 12);  /* stopped behind step 12: inside its evaluation */
            if (i == 2 && w.stopped) assert_true(sy_file_exists(bed_path("stopped-2/checkpoints/step-%010lld/unfinished_step.json", (long long)w.step)));
            ended = !w.stopped;
            bed_close(&b);
        }
        bed_expect_same_run(out, alone);
        bed b;
        bed_open(&b, 2, cases[i]);                   /* a finished run resumes to itself */
        sy_expect_ok(bed_train(&b, out, true, err));
        bed_close(&b);
        bed_expect_same_run(out, alone);
    }
}

/* --- steps that are not finite ----------------------------------------------------------------------------------------------- */

static void test_bad_steps(void **state)
{
    (void)state;
    bed b;
    sy_err why = { 0 }, *err = &why;
    watcher w = { .at = -1, .poison = NAN, .poison_at = 5 };
    const char *out = bed_path("bad");
    sy_test_case("three bad steps");
    bed_open(&b, 2, "checkpoint_every=3 eval_every=0 log_every=100");
    sy_expect_fail(watched(&b, out, false, &w, err), SY_ENUM, "step 7: ");
    assert_int_equal(w.skips, 3);
    assert_false(w.ended);
    assert_true(sy_is_dir(bed_path("bad/checkpoints/step-0000000007")));
    sy_buf m = bed_read(out, "metrics.jsonl");
    int skipped = 0;
    for (char *p = m.data; (p = strstr(p, "\"skipped\":true")); p++) skipped++;
    assert_int_equal(skipped, 3);
    assert_non_null(strstr(m.data, "\"broken\":\""));
    sy_buf_free(&m);
    watcher again = { 0 };                           /* it goes on being stopped, at once */
    sy_expect_fail(watched(&b, out, true, &again, err), SY_ENUM, "step 8: ");
    assert_int_equal(again.skips, 1);
    bed_close(&b);
}

/* --- start from a checkpoint, train a part ------------------------------------------------------------------------------------ */

static void test_parts(void **state)
{
    (void)state;
    static const struct { const char *what, *settings, *trained; } cases[] = {
        { "freeze", "freeze_params=*self_attn*", "!*self_attn*" },
        { "train", "train_params=*.mlp.experts.*", "*.mlp.experts.*" },
        { "both", "train_params=model.layers.1.* freeze_params=*.mlp.gate.*", "model.layers.1.*" },
    };
    char base[300], out[300], set[600];
    snprintf(base, sizeof base, "%s", bed_path("base"));
    whole(base, 2, "steps=3");
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        bed b;
        sy_model *was, *is;
        sy_test_case("%s", cases[i].what);
        snprintf(out, sizeof out, "%s", bed_path("part-%zu", i));
        snprintf(set, sizeof set, "steps=3 checkpoint_every=2 from=%s %s", base, cases[i].settings);
        bed_open(&b, 2, set);
        sy_expect_ok(bed_train(&b, out, false, err));
        sy_expect_ok(sy_model_load(&was, &b.eng, base, 0, NULL, err));
        sy_expect_ok(sy_model_load(&is, &b.eng, out, 0, NULL, err));
        int moved = 0, stood = 0;
        for (int p = 0; p < was->params.n; p++) {
            const sy_param *x = was->params.p[p], *y = is->params.p[p];
            const char *pat = cases[i].trained;
            bool same = !memcmp(x->w.data, y->w.data, x->n * sizeof(sy_real)), trains = *pat == '!' ? fnmatch(pat + 1, x->name, 0) != 0 : fnmatch(pat, x->name, 0) == 0;
            if (i == 2 && strstr(x->name, ".mlp.gate.")) trains = false;
            if (same == trains) fail_msg("case '%s': %s should have %s", cases[i].what, x->name, trains ? "moved" : "stayed");
            moved += trains, stood += !trains;
        }
        assert_true(moved && stood);
        sy_model_free(was);
        sy_model_free(is);
        bed_close(&b);
    }
    sy_err why = { 0 }, *err = &why;
    bed b;
    watcher w = { .at = 1 };
    char alone[300];
    sy_test_case("what a run started from may go once it has a checkpoint");
    snprintf(set, sizeof set, "steps=4 from=%s", base);
    snprintf(alone, sizeof alone, "%s", bed_path("from-alone"));
    snprintf(out, sizeof out, "%s", bed_path("from-stopped"));
    whole(alone, 2, set);
    bed_open(&b, 2, set);
    sy_expect_ok(watched(&b, out, false, &w, err));
    sy_expect_ok(sy_remove_tree(base, err));
    sy_expect_ok(bed_train(&b, out, true, err));
    bed_expect_same_run(out, alone);
    bed_close(&b);
    bed_open(&b, 2, "freeze_params=nothing.*");
    sy_expect_fail(bed_train(&b, bed_path("none-1"), false, err), SY_EARG, "--freeze 'nothing.*' matches no parameter");
    bed_close(&b);
    bed_open(&b, 2, "train_params=nothing.*");
    sy_expect_fail(bed_train(&b, bed_path("none-2"), false, err), SY_EARG, "leave no parameter to train");
    assert_false(sy_file_exists(bed_path("none-2/run.json")));
    bed_close(&b);
    snprintf(set, sizeof set, "from=%s", bed_path("absent"));
    bed_open(&b, 2, set);
    sy_expect_fail(bed_train(&b, bed_path("none-3"), false, err), SY_ENOENT, "absent");
    bed_close(&b);
}

/* Another machine may pick other kernels: the run goes on, and says that the bits are not those of one machine. */
static void keep_line(void *arg, sy_log_level level, const char *line) { if (level == SY_LOG_WARN) snprintf(arg, 400, "%s", line); }

static void test_kernels(void **state)
{
    (void)state;
    char said[400] = "", out[300];
    sy_log log = { .level = SY_LOG_WARN, .fn = keep_line, .arg = said };
    watcher w = { .at = 2 };
    bed b;
    if (!sy_kernels_at(1)) skip();
    snprintf(out, sizeof out, "%s", bed_path("kernels"));
    bed_open(&b, 2, "");
    b.eng.log = &log;
    sy_expect_ok(watched(&b, out, false, &w, err));
    w = (watcher){ .at = 2 };
    sy_expect_ok(watched(&b, out, true, &w, err));
    assert_string_equal(said, "");
    b.eng.k = &sy_kernels_ref;
    sy_expect_ok(bed_train(&b, out, true, err));
    assert_non_null(strstr(said, "goes on with ref"));
    bed_close(&b);
}

/* --- refusals ------------------------------------------------------------------------------------------------------------------ */

static void test_refusals(void **state)
{
    (void)state;
    static const struct { const char *settings, *part; uint64_t salt; sy_status want; } cases[] = {
        { "lr=0.02",                      "train.lr is 0.01 there, 0.02 here",      0, SY_EARG },
        { "router=topk:top_k=1",          "model.router",                            0, SY_EARG },
        { "seq_len=8",                    "data.seq_len",                            0, SY_EARG },
        { "hidden_size=8",                "model.hidden_size is 16 there, 8 here",  0, SY_EARG },
        { "freeze_params=*norm*",         "train.freeze_params is (none) there",    0, SY_EARG },
        { "",                             "text of the run",                         5, SY_EARG },
        { "log_every=2",                  NULL,                                      0, SY_OK   },
        { "checkpoint_every=3 keep=7 log_every=3 max_minutes=100", NULL,             0, SY_OK   },
    };
    char out[300];
    bed b;
    watcher w = { .at = 4 };
    sy_err why = { 0 }, *err = &why;
    snprintf(out, sizeof out, "%s", bed_path("holds"));
    bed_open(&b, 2, "checkpoint_every=2");
    sy_expect_fail(bed_train(&b, out, true, err), SY_ENOENT, "no run to resume");
    sy_expect_ok(watched(&b, out, false, &w, err));
    sy_buf before = bed_read(out, "checkpoints/step-0000000005/model.safetensors");
    sy_expect_fail(bed_train(&b, out, false, err), SY_EEXIST, "already holds a run");
    sy_tokenizer *bytes = b.tok, *other;
    sy_expect_ok(sy_tokenizer_open_bytes(&other, true, err));
    b.tok = other;
    sy_expect_fail(bed_train(&b, out, true, err), SY_EARG, "the tokenizer of the run");
    b.c.model.vocab_size = 257;
    sy_expect_fail(bed_train(&b, out, true, err), SY_EARG, "vocab_size");
    b.c.model.vocab_size = 256;
    b.tok = bytes;
    sy_tokenizer_close(other);
    bed_close(&b);
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char set[300];
        watcher now = { .stop = 1 };
        sy_test_case("%s", cases[i].settings);
        snprintf(set, sizeof set, "checkpoint_every=2 %s", cases[i].settings);
        bed_open_text(&b, 2, set, bed_text(cases[i].salt));
        if (cases[i].want == SY_OK) sy_expect_ok(watched(&b, out, true, &now, err));
        else sy_expect_fail(watched(&b, out, true, &now, err), cases[i].want, cases[i].part);
        bed_close(&b);
        sy_buf after = bed_read(out, "checkpoints/step-0000000005/model.safetensors");
        assert_int_equal(after.n, before.n);
        sy_expect_same("checkpoint", after.data, before.data, before.n);
        sy_buf_free(&after);
    }
    sy_buf_free(&before);
}

static int checkpoints(const char *out)
{
    char dir[400];
    sy_arena a = { 0 };
    const char **names;
    int n;
    snprintf(dir, sizeof dir, "%s/checkpoints", out);
    sy_expect_ok(sy_dir_list(dir, &a, &names, &n, err));
    int whole_ones = 0;
    for (int i = 0; i < n; i++) whole_ones += !strncmp(names[i], "step-", 5);
    sy_arena_free(&a);
    return whole_ones;
}

static void test_keep(void **state)
{
    (void)state;
    char out[300];
    for (int keep = 1; keep <= 4; keep++) {
        char set[80];
        sy_model *m;
        bed b;
        sy_test_case("keep %d", keep);
        snprintf(out, sizeof out, "%s", bed_path("keep-%d", keep));
        snprintf(set, sizeof set, "checkpoint_every=2 keep=%d", keep);
        bed_open(&b, 2, set);
        sy_expect_ok(bed_train(&b, out, false, err));
        assert_int_equal(checkpoints(out), keep);
        assert_true(sy_is_dir(bed_path("keep-%d/checkpoints/step-0000000012", keep)));
        sy_expect_ok(sy_model_load(&m, &b.eng, out, 0, NULL, err));    /* the final folder opens */
        sy_model_free(m);
        sy_tokenizer *t;
        sy_expect_ok(sy_tokenizer_load(&t, out, err));
        assert_string_equal(sy_tokenizer_id(t), sy_tokenizer_id(b.tok));
        sy_tokenizer_close(t);
        bed_close(&b);
    }
}

/* max_minutes ends a run early with a whole model; continued, it comes to the same weights, and what stands in OUT is never older than the checkpoints. */
static void test_minutes(void **state)
{
    (void)state;
    char alone[300], out[300], found[700];
    bed b;
    watcher w = { .at = -1 }, two = { .at = 1 };
    snprintf(alone, sizeof alone, "%s", bed_path("minutes-alone"));
    snprintf(out, sizeof out, "%s", bed_path("minutes"));
    whole(alone, 2, "");
    sy_test_case("max_minutes");
    bed_open(&b, 2, "max_minutes=1e-9");
    sy_expect_ok(watched(&b, out, false, &w, err));
    assert_true(w.ended && !w.stopped && w.step == 1);
    sy_expect_ok(sy_checkpoint_find(out, found, sizeof found, err));
    assert_string_equal(found, out);
    b.c.train.max_minutes = 0;
    sy_expect_ok(watched(&b, out, true, &two, err));
    assert_true(two.stopped && two.step == 3);
    sy_expect_ok(sy_checkpoint_find(out, found, sizeof found, err));
    assert_non_null(strstr(found, "/checkpoints/step-0000000003"));
    sy_expect_ok(bed_train(&b, out, true, err));
    bed_close(&b);
    bed_expect_same_file(out, alone, "model.safetensors");
}

/* --- damage ------------------------------------------------------------------------------------------------------------------ */

static void test_damage(void **state)
{
    (void)state;
    static const struct { const char *what, *file, *part; long cut, flip; } cases[] = {
        { "weights are cut",       "model.safetensors",          "checksum",         -9, -1 },
        { "weights are empty",     "model.safetensors",          "checksum",          0, -1 },
        { "a bit of a weight",     "model.safetensors",          "model.safetensors", 1, 9000 },
        { "a bit of the header",   "model.safetensors",          "model.safetensors", 1, 3 },
        { "state is cut",          "training_state.safetensors", "checksum",         -1, -1 },
        { "a bit of the state",    "training_state.safetensors", "checksum",          1, 12000 },
        { "sums are cut",          "SHA256SUMS",                 "SHA256SUMS",       -1, -1 },
        { "sums are empty",        "SHA256SUMS",                 "SHA256SUMS",        0, -1 },
        { "a bit of the sums",     "SHA256SUMS",                 "SHA256SUMS",        1, 5 },
        { "the tokenizer",         "tokenizer.json",             "tokenizer.json",    1, 40 },
    };
    char out[300], dir[400];
    bed b;
    watcher w = { .at = 4 };
    sy_err why = { 0 }, *err = &why;
    snprintf(out, sizeof out, "%s", bed_path("damage"));
    snprintf(dir, sizeof dir, "%s/checkpoints/step-0000000005", out);
    bed_open(&b, 2, "checkpoint_every=2");
    sy_expect_ok(watched(&b, out, false, &w, err));
    for (size_t i = 0; i < SY_COUNT(cases); i++) {
        char path[600];
        sy_buf good = bed_read(dir, cases[i].file);
        sy_test_case("%s", cases[i].what);
        snprintf(path, sizeof path, "%s/%s", dir, cases[i].file);
        size_t n = cases[i].cut > 0 ? good.n : cases[i].cut < 0 ? good.n - (size_t)-cases[i].cut : 0;
        if (cases[i].flip >= 0) {
            assert_true((size_t)cases[i].flip < good.n);
            good.data[cases[i].flip] ^= 1;
        }
        sy_expect_ok(sy_file_write(path, good.data, n, err));
        sy_expect_fail(bed_train(&b, out, true, err), SY_EFORMAT, cases[i].part);
        if (cases[i].flip >= 0) good.data[cases[i].flip] ^= 1;
        sy_expect_ok(sy_file_write(path, good.data, good.n, err));
        assert_int_equal(checkpoints(out), 2);
        sy_buf_free(&good);
    }
    static const char *const gone[] = { "model.safetensors", "training_state.safetensors", "SHA256SUMS" };
    for (size_t i = 0; i < SY_COUNT(gone); i++) {
        char path[600], away[700];
        sy_test_case("%s is gone", gone[i]);
        snprintf(path, sizeof path, "%s/%s", dir, gone[i]);
        snprintf(away, sizeof away, "%s/aside", out);
        assert_int_equal(rename(path, away), 0);
        sy_expect_fail(bed_train(&b, out, true, err), SY_EFORMAT, "is missing");
        assert_int_equal(rename(away, path), 0);
    }
    sy_test_case("the state of another step");
    char early[400], moved[400];
    snprintf(early, sizeof early, "%s/checkpoints/step-0000000004", out);
    snprintf(moved, sizeof moved, "%s/checkpoints/step-0000000011", out);
    assert_int_equal(rename(early, moved), 0);
    sy_expect_fail(bed_train(&b, out, true, err), SY_EFORMAT, "another checkpoint");
    snprintf(early, sizeof early, "%s/checkpoints/step-0000000900", out);
    assert_int_equal(rename(moved, early), 0);
    sy_expect_fail(bed_train(&b, out, true, err), SY_EFORMAT, "another checkpoint");
    sy_expect_ok(sy_remove_tree(early, err));
    sy_test_case("metrics are shorter than the checkpoint says");
    sy_buf metrics = bed_read(out, "metrics.jsonl");
    char path[600];
    snprintf(path, sizeof path, "%s/metrics.jsonl", out);
    sy_expect_ok(sy_file_write(path, metrics.data, metrics.n / 2, err));
    sy_expect_fail(bed_train(&b, out, true, err), SY_EFORMAT, "metrics.jsonl");
    sy_expect_ok(sy_file_write(path, metrics.data, metrics.n, err));
    sy_buf_free(&metrics);
    sy_test_case("all is well again");
    sy_expect_ok(bed_train(&b, out, true, err));
    bed_close(&b);
    char alone[300];
    snprintf(alone, sizeof alone, "%s", bed_path("damage-alone"));
    whole(alone, 2, "checkpoint_every=2");
    bed_expect_same_run(out, alone);
}

/* --- a disk that fails ------------------------------------------------------------------------------------------------------- */

static struct { int used, fail; bool sticky; } disk;       /* the call with number `fail` (1 ...) gives ENOSPC */

static bool fails(void)
{
    disk.used++;
    bool now = disk.fail && (disk.used == disk.fail || (disk.sticky && disk.used > disk.fail));
    if (now) errno = ENOSPC;
    return now;
}
static int f_open(const char *p, int flags, mode_t m) { return (flags & (O_WRONLY | O_RDWR)) && fails() ? -1 : open(p, flags, m); }
static ssize_t f_write(int fd, const void *b, size_t n)
{
    if (!fails()) return write(fd, b, n);
    if (n > 1 && write(fd, b, n / 2)) { }            /* a full disk takes a part first */
    errno = ENOSPC;
    return -1;
}
static int f_fsync(int fd) { (void)fd; return fails() ? -1 : 0; }
static int f_rename(const char *a, const char *b) { return fails() ? -1 : rename(a, b); }
static int f_truncate(int fd, off_t n) { return fails() ? -1 : ftruncate(fd, n); }
static int no_fsync(int fd) { (void)fd; return 0; }  /* the power stays on here; syncing takes minutes on a busy disk */
static sy_syscalls healthy;
static const sy_syscalls faulty = { f_open, read, f_write, f_fsync, close, f_rename, f_truncate };

/* Steps 1 .. 2 are saved on a good disk; then the n-th call that changes the disk fails, once or from then on. The run says so, and what was saved
 * before still resumes to the same end. */
static void test_full_disk(void **state)
{
    (void)state;
    char alone[300], out[300];
    static const char settings[] = "steps=4 checkpoint_every=1 log_every=1 eval_every=0 val_fraction=0 keep=1";
    snprintf(alone, sizeof alone, "%s", bed_path("disk-alone"));
    snprintf(out, sizeof out, "%s", bed_path("disk"));
    whole(alone, 1, settings);
    int failed = 0;
    for (int sticky = 0; sticky < 2; sticky++)
        for (int n = 1, more = 1; more; n += sticky ? 7 : 1) {
            bed b;
            sy_err err = { 0 };
            watcher first = { .at = 1 }, then = { .at = -1 };
            sy_test_case("disk call %d fails%s", n, sticky ? ", and all later ones" : "");
            bed_open(&b, 1, settings);
            sy_expect_ok(watched(&b, out, false, &first, err));
            disk.used = 0, disk.fail = n, disk.sticky = sticky;
            sy_file_calls = &faulty;
            sy_status st = watched(&b, out, true, &then, &err);
            sy_file_calls = &healthy;
            more = disk.used >= n;
            if (more && st == SY_OK && sticky) fail_msg("call %d failed for good and nobody noticed", n);
            if (st != SY_OK) {
                if (st != SY_EIO || !*err.text) fail_msg("call %d of the disk failed: status %s, '%s'", n, sy_status_text(st), err.text);
                failed++;
                assert_true(checkpoints(out) >= 1);
                sy_expect_ok(bed_train(&b, out, true, err));
            }
            bed_close(&b);
            bed_expect_same_run(out, alone);
            sy_expect_ok(sy_remove_tree(out, err));
        }
    assert_true(failed > 40);
}

int main(void)
{
    if (sy_is_dir("/dev/shm")) setenv("TMPDIR", "/dev/shm", 0);
    healthy = *sy_file_calls;
    healthy.fsync = no_fsync;
    sy_file_calls = &healthy;
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads), cmocka_unit_test(test_stop), cmocka_unit_test(test_bad_steps), cmocka_unit_test(test_parts),
                                        cmocka_unit_test(test_refusals), cmocka_unit_test(test_kernels), cmocka_unit_test(test_keep), cmocka_unit_test(test_minutes), cmocka_unit_test(test_damage), cmocka_unit_test(test_full_disk) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
