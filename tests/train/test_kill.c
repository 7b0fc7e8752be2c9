/* float only */
/* tests/train/test_kill.c - the program itself, killed at any moment and resumed. Oracle: the same run left alone. The moments are drawn from a seed that
 * a failure prints. */
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "bed.h"

#define ARGS "--set hidden_size=32 --set num_hidden_layers=2 --set num_attention_heads=2 --set layers=sparse --set num_experts=4 --set moe_intermediate_size=32 " \
             "--router auxfree:top_k=2,bias_update=0.01 --balance switch:scope=step,mode=prev --set max_position_embeddings=32 --set seq_len=32 --set batch_size=4 " \
             "--set steps=150 --set warmup_steps=10 --set log_every=3 --set eval_every=40 --set checkpoint_every=3 --set keep=2"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(double s) { nanosleep(&(struct timespec){ (time_t)s, (long)((s - (double)(time_t)s) * 1e9) }, NULL); }

/* Starts the program; what it says goes to `out`.log. */
static pid_t start(const char *out, const char *text, bool resume)
{
    char line[2000];
    snprintf(line, sizeof line, "exec %s train --threads 2 --out %s %s >>%s.log 2>&1", SY_BINARY, out, resume ? "--resume" : ARGS, out);
    if (!resume) snprintf(line, sizeof line, "exec %s train --threads 2 --out %s --data %s %s >>%s.log 2>&1", SY_BINARY, out, text, ARGS, out);
    pid_t pid = fork();
    if (!pid) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) { }
    return status;
}

static bool over(pid_t pid, int *status) { return waitpid(pid, status, WNOHANG) == pid; }

static void expect_done(int status, const char *out)
{
    if (WIFEXITED(status) && !WEXITSTATUS(status)) return;
    char path[700];
    sy_buf b = { 0 };
    snprintf(path, sizeof path, "%s.log", out);
    sy_expect_ok(sy_file_read(path, 1 << 20, &b, err));
    fail_msg("the run in %s ended with status %d (seed %llu): %s", out, status, (unsigned long long)sy_test_seed(), b.data);
}

/* The number of the newest whole checkpoint, -1: none. */
static long newest(const char *out)
{
    char dir[700];
    sy_arena a = { 0 };
    const char **names;
    int n = 0;
    long best = -1;
    snprintf(dir, sizeof dir, "%s/checkpoints", out);
    if (sy_is_dir(dir)) sy_expect_ok(sy_dir_list(dir, &a, &names, &n, err));
    for (int i = 0; i < n; i++) if (!strncmp(names[i], "step-", 5)) best = strtol(names[i] + 5, NULL, 10);
    sy_arena_free(&a);
    return best;
}

static char alone[400];
static double took;

static int left_alone(void **state)
{
    (void)state;
    if (!sy_file_exists(SY_BINARY)) fail_msg("%s is not built", SY_BINARY);
    snprintf(alone, sizeof alone, "%s", bed_path("alone"));
    double t = now();
    expect_done(wait_for(start(alone, bed_text(0), false)), alone);
    took = now() - t;
    return 0;
}

static void test_kill(void **state)
{
    (void)state;
    enum { KILLS = 10 };
    char out[400];
    uint64_t g = sy_test_seed();
    long last = -1;
    int status, kills = 0;
    snprintf(out, sizeof out, "%s", bed_path("killed"));
    pid_t pid = start(out, bed_text(0), false);
    while (kills < KILLS) {
        double moment = 0.01 + took * 0.5 * (double)(bed_rng(&g) % 1000) / 1000, t = now();
        bool ended = false;
        while (!ended && now() - t < moment) {
            ended = over(pid, &status);
            if (!ended) nap(0.001);
        }
        if (ended) {                                 /* before its next kill: another round */
            expect_done(status, out);
            bed_expect_same_run(out, alone);
            sy_expect_ok(sy_remove_tree(out, err));
            last = -1;
            pid = start(out, bed_text(0), false);
            continue;
        }
        kill(pid, SIGKILL);
        wait_for(pid);
        kills++;
        long step = newest(out);
        if (step < last) fail_msg("kill %d (seed %llu): the last checkpoint was step %ld, now it is %ld", kills, (unsigned long long)sy_test_seed(), last, step);
        last = step;
        bool run = sy_file_exists(bed_path("killed/run.json"));
        if (!run) sy_expect_ok(sy_remove_tree(out, err));      /* killed before it was a run */
        pid = start(out, bed_text(0), run);
    }
    expect_done(wait_for(pid), out);
    bed_expect_same_run(out, alone);
}

static void stopped_by(int signal, const char *name)
{
    char out[400];
    int status;
    snprintf(out, sizeof out, "%s", bed_path("%s", name));
    pid_t pid = start(out, bed_text(0), false);
    for (double t = now(); newest(out) < 3 && !over(pid, &status); nap(0.002)) if (now() - t > 60) fail_msg("no checkpoint after a minute");
    kill(pid, signal);
    expect_done(wait_for(pid), out);
    long step = newest(out);
    assert_true(step >= 3);
    if (step < 150) assert_false(sy_file_exists(bed_path("%s/model.safetensors", name)));
    expect_done(wait_for(start(out, bed_text(0), true)), out);
    bed_expect_same_run(out, alone);
}

static void test_interrupt(void **state) { (void)state; stopped_by(SIGINT, "interrupted"); }
static void test_terminate(void **state) { (void)state; stopped_by(SIGTERM, "terminated"); }

/* The second Ctrl-C does not wait for anything. The first is sent while the program is stopped, so that both arrive before a step ends. */
static void test_twice(void **state)
{
    (void)state;
    char out[400];
    int status;
    snprintf(out, sizeof out, "%s", bed_path("twice"));
    pid_t pid = start(out, bed_text(0), false);
    for (double t = now(); newest(out) < 3 && !over(pid, &status); nap(0.002)) if (now() - t > 60) fail_msg("no checkpoint after a minute");
    kill(pid, SIGSTOP);
    kill(pid, SIGTERM);                              /* two signals of different number: equal ones would be one while it is stopped */
    kill(pid, SIGINT);
    kill(pid, SIGCONT);
    status = wait_for(pid);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 128 + SIGINT || WEXITSTATUS(status) == 128 + SIGTERM);
    expect_done(wait_for(start(out, bed_text(0), true)), out);
    bed_expect_same_run(out, alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_kill), cmocka_unit_test(test_interrupt), cmocka_unit_test(test_terminate), cmocka_unit_test(test_twice) };
    if (sy_is_dir("/dev/shm")) setenv("TMPDIR", "/dev/shm", 0);        /* a kill takes no power away: syncing to a real disk would only be slow */
    return cmocka_run_group_tests(tests, left_alone, NULL);
}
