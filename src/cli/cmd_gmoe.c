/* cli/cmd_gmoe.c - switchyard gmoe: Gaussian mixtures of experts, drawn, fitted, and the rates of the fit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "cli/cli.h"
#include "core/file.h"
#include "gmoe/study.h"

typedef struct args { const char *n, *out, *html; int reps, starts, seed, rounds; bool near_alone; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, reps, "reps", 'r', SY_FLAG_INT, "N", "samples of each size; default: 20"),
    SY_FLAG(args, n, "sizes", 'n', SY_FLAG_TEXT, "N,N,...", "sizes of the samples; default: 250,1000,4000,16000"),
    SY_FLAG(args, starts, "starts", 0, SY_FLAG_INT, "N", "starts of a fit from random cuts, beside the one near the truth; default: 1"),
    SY_FLAG(args, near_alone, "near-only", 0, SY_FLAG_ON, NULL, "the start near the truth alone, as in the papers"),
    SY_FLAG(args, rounds, "rounds", 0, SY_FLAG_INT, "N", "rounds of EM at most; default: 2000"),
    SY_FLAG(args, seed, "seed", 0, SY_FLAG_INT, "N", "of samples and starts; default: 1"),
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "FILE", "where the table goes, as Markdown; default: standard output"),
    SY_FLAG(args, html, "html", 0, SY_FLAG_TEXT, "FILE", "writes a page with pictures, too"),
    { 0 }
};

enum { MOST_STUDIES = 16 };
#define SIZES "250,1000,4000,16000"

typedef struct watch { sy_cli *cli; sy_progress bar; } watch;
static void tell(void *arg, int done, int all) { watch *w = arg; w->bar.total = all; sy_progress_at(&w->bar, done, NULL); }
static bool stopping(void *arg) { return *((watch *)arg)->cli->stop; }

static sy_status sizes_of(const char *text, sy_study_options *o, sy_err *err)
{
    for (const char *p = text; ; p++) {
        char *end;
        errno = 0;
        long n = strtol(p, &end, 10);
        if (end == p || errno || n < 10 || n > 10000000 || (*end && *end != ',')) return sy_fail(err, SY_EARG, "--sizes '%.60s': whole numbers from 10 to 10000000, joined by commas", text);
        if (o->sizes == SY_STUDY_SIZES) return sy_fail(err, SY_EARG, "--sizes: more than %d", SY_STUDY_SIZES);
        o->size[o->sizes++] = (int)n;
        p = end;
        if (!*p) return SY_OK;
    }
}

static sy_status study_of(const char *key, const sy_gmoe_study **out, sy_err *err)
{
    const char *names[MOST_STUDIES + 1] = { 0 };
    for (int i = 0; sy_gmoe_studies[i].key; i++) {
        names[i] = sy_gmoe_studies[i].key;
        if (!strcmp(key, names[i])) { *out = &sy_gmoe_studies[i]; return SY_OK; }
    }
    const char *near = sy_nearest(key, names);
    return sy_fail(err, SY_ENOENT, "no study is called '%s'%s%s%s", key, near ? "; did you mean '" : " (switchyard gmoe --help lists them)", near ? near : "", near ? "'?" : "");
}

static sy_status write_out(sy_cli *cli, const args *arg, const sy_study_result *r, int n, const sy_study_options *o, sy_err *err)
{
    char made[320], starts[32] = "--near-only";
    if (o->starts) snprintf(starts, sizeof starts, "--starts %d", o->starts);
    sy_buf b = { 0 }, html = { 0 };
    snprintf(made, sizeof made, "`switchyard gmoe --reps %d --sizes %.60s %s --seed %d` (version %s, commit %s)", o->reps, arg->n ? arg->n : SIZES, starts, (int)o->seed, SY_VERSION, SY_COMMIT);
    sy_status st = cli->json ? sy_study_json(r, n, o, &b, err) : sy_study_markdown(r, n, o, made, &b, err);
    if (st == SY_OK && arg->html) st = sy_study_html(r, n, o, made, &html, err);
    if (st == SY_OK && arg->html) st = sy_file_write(arg->html, html.data, html.n, err);
    if (st == SY_OK && arg->out) st = sy_file_write(arg->out, b.data, b.n, err);
    else if (st == SY_OK && (fwrite(b.data, 1, b.n, stdout) != b.n || fflush(stdout))) st = sy_fail(err, SY_EIO, "cannot write to standard output");
    sy_buf_free(&b);
    sy_buf_free(&html);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    const args *arg = a;
    const sy_gmoe_study *study[MOST_STUDIES];
    sy_study_result r[MOST_STUDIES];
    watch w = { .cli = cli };
    int studies = 0;
    sy_study_options o = { .reps = arg->reps ? arg->reps : 20, .starts = arg->near_alone ? 0 : arg->starts ? arg->starts : 1, .seed = arg->seed ? (uint64_t)arg->seed : 1,
                           .rules = { arg->rounds ? arg->rounds : 2000, 1e-10, 1e-6 }, .tell = tell, .stop = stopping, .arg = &w };
    if (n > MOST_STUDIES) return sy_fail(err, SY_EARG, "%d studies; at most %d", n, MOST_STUDIES);
    if (arg->near_alone && arg->starts) return sy_fail(err, SY_EARG, "--near-only and --starts %d exclude each other", arg->starts);
    SY_TRY(sizes_of(arg->n ? arg->n : SIZES, &o, err));
    for (int i = 0; i < n; i++) SY_TRY(study_of(words[i], &study[studies++], err));
    for (int i = 0; !n && sy_gmoe_studies[i].key; i++) study[studies++] = &sy_gmoe_studies[i];
    SY_TRY(sy_cli_engine(cli, err));
    o.pool = cli->eng.pool;
    for (int i = 0; i < studies; i++) {
        sy_progress_open(&w.bar, stderr, study[i]->key, 0, cli->progress);
        w.bar.unit = "fit";
        sy_status st = sy_study_run(study[i], &o, &r[i], err);
        sy_progress_close(&w.bar, NULL);
        SY_TRY(sy_within(err, st, "%s", study[i]->key));
    }
    return write_out(cli, arg, r, studies, &o, err);
}

const sy_command sy_cmd_gmoe = {
    .name = "gmoe", .summary = "Gaussian mixtures of experts: how fast a fit nears the truth", .usage = "[STUDY ...]",
    .text = "Draws samples of growing size from a mixture of experts, fits each by maximum likelihood (EM), and measures the slope of every error. Studies:\n"
            "exact (as many experts as there are), over (one too many), top1 (a gate that keeps one), temperature (a temperature in a linear gate),\n"
            "activation (the same behind a sigmoid). Without STUDY: all. The table is Markdown, or JSON with --json.",
    .example = "switchyard gmoe exact over --html rates.html", .flags = flags, .size = sizeof(args), .max_words = -1, .run = run,
};
