/* cli/cmd_reproduce.c - switchyard reproduce: a method against its baseline, and the page with the result. */
#include "cli/watch.h"
#include "core/file.h"
#include "experiments/experiment.h"

typedef struct args { sy_list data; const char *store, *out; int seeds, jobs; double budget; bool no_tuning; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "text of the language-model beds: name=path"),
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "FILE", "where the page goes; default: standard output"),
    SY_FLAG(args, store, "store", 0, SY_FLAG_TEXT, "DIR", "finished runs are kept here and not run again; default: runs"),
    SY_FLAG(args, seeds, "seeds", 0, SY_FLAG_INT, "N", "seeds; default: five on cr, three on lm-tiny"),
    SY_FLAG(args, jobs, "jobs", 'j', SY_FLAG_INT, "N", "runs side by side, a thread each; default: as many as there are threads. The bits are the same"),
    SY_FLAG(args, budget, "budget", 0, SY_FLAG_REAL, "SHARE", "share of every run's steps, for a quick look: 0.05; default 1; the page says so"),
    SY_FLAG(args, no_tuning, "no-tuning", 0, SY_FLAG_ON, NULL, "every arm at its defaults; the page says so"),
    { 0 }
};

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    const args *arg = a;
    if (!n) {
        for (const sy_experiment *x = sy_experiments; x->key; x++) printf("%-14s %s (%s)\n", x->key, x->title, x->bed);
        return SY_OK;
    }
    const sy_experiment *x = sy_experiment_find(words[0], err);
    if (!x) return SY_ENOENT;
    SY_TRY(sy_cli_engine(cli, err));
    sy_bed_context c = { .eng = &cli->eng, .data = arg->data.v, .n_data = arg->data.n, .stop = sy_watch_stop, .arg = cli };
    sy_watch w = { .cli = cli };
    sy_experiment_options o = { .seeds = arg->seeds, .store = arg->store ? arg->store : "runs", .side_by_side = arg->jobs ? arg->jobs : cli->eng.threads, .budget = arg->budget, .tune = !arg->no_tuning, .tell = sy_watch_tell, .arg = &w };
    sy_buf page = { 0 };
    sy_status st = sy_experiment_run(&c, x, &o, &page, err);
    sy_watch_close(&w, st);
    if (st == SY_OK) {
        char words[160];
        snprintf(words, sizeof words, "reproduce %s", x->key);
        sy_buf_text(&page, "\nMade by ");
        sy_made_by(&page, words, arg->data.v, arg->data.n, arg->seeds, arg->budget, !arg->no_tuning, cli->eng.k->name);
        sy_buf_text(&page, ".\n");
        if (page.failed) st = sy_fail(err, SY_ENOMEM, "no memory for the page");
        else if (arg->out) st = sy_file_write(arg->out, page.data, page.n, err);
        else fputs(page.data, stdout);
    }
    sy_buf_free(&page);
    return st;
}

const sy_command sy_cmd_reproduce = {
    .name = "reproduce", .summary = "a method against its baseline, tuned alike, with a verdict", .usage = "[KEY] [--data SOURCE ...]",
    .text = "Without KEY: lists the experiments. Every arm gets the same tuning; then all arms run the same seeds on the same data. Finished runs are\n"
            "kept in the store, so it can be stopped at any time and continued. The page is Markdown.",
    .example = "switchyard reproduce auxfree", .flags = flags, .size = sizeof(args), .max_words = 1, .run = run,
};
