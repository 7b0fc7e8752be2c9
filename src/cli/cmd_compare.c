/* cli/cmd_compare.c - switchyard compare: all methods of a kind on one bed, and the league table. */
#include <string.h>

#include "cli/watch.h"
#include "core/file.h"
#include "experiments/league.h"

typedef struct args { sy_list data; const char *kind, *only, *bed, *store, *out, *into, *html; int seeds, jobs; double budget; bool no_tuning, so_far; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, kind, "kind", 'k', SY_FLAG_TEXT, "KIND", "router or balance; default: router"),
    SY_FLAG(args, only, "only", 0, SY_FLAG_TEXT, "KEY,...", "these methods or presets, beside the baselines; default: all of the kind"),
    SY_FLAG(args, bed, "bed", 'b', SY_FLAG_TEXT, "BED", "cr (clustered regression, seconds a run) or lm-tiny (a small language model, a minute or two); default: lm-tiny with --data, else cr"),
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "text of lm-tiny: name=path; each source is a domain"),
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "FILE", "where the table goes, as Markdown; default: standard output"),
    SY_FLAG(args, into, "into", 0, SY_FLAG_TEXT, "FILE", "puts the table into a page of several, in the place of the one of the same kind and bed, or at the end"),
    SY_FLAG(args, html, "html", 0, SY_FLAG_TEXT, "FILE", "writes the league as a page, too"),
    SY_FLAG(args, store, "store", 0, SY_FLAG_TEXT, "DIR", "finished runs are kept here and not run again, those of reproduce included; default: runs"),
    SY_FLAG(args, seeds, "seeds", 0, SY_FLAG_INT, "N", "seeds; default: five on cr, three on lm-tiny"),
    SY_FLAG(args, jobs, "jobs", 'j', SY_FLAG_INT, "N", "runs side by side, a thread each; default: as many as there are threads. The bits are the same"),
    SY_FLAG(args, budget, "budget", 0, SY_FLAG_REAL, "SHARE", "share of every run's steps, for a quick look: 0.05; default 1; the page says so"),
    SY_FLAG(args, no_tuning, "no-tuning", 0, SY_FLAG_ON, NULL, "every arm at its own values; the page says so"),
    SY_FLAG(args, so_far, "so-far", 0, SY_FLAG_ON, NULL, "runs nothing: the table of the runs that the store has"),
    { 0 }
};

static sy_status kind_of(const char *word, sy_kind *out, sy_err *err)
{
    const char *names[SY_KINDS + 1] = { 0 };
    for (int i = 0; i < SY_KINDS; i++) {
        names[i] = sy_kind_word((sy_kind)i);
        if (!strcmp(names[i], word)) { *out = (sy_kind)i; return SY_OK; }
    }
    const char *near = sy_nearest(word, names);
    return sy_fail(err, SY_EARG, "no kind is called '%s'%s%s%s", word, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

enum { MOST_PAGE = 8 << 20 };

/* The table as a part of a longer page: headings one level down, between two marks that the next call finds again. */
static sy_status put_into(const char *file, const char *kind, const char *bed, const sy_buf *table, sy_err *err)
{
    static const char end[] = "<!-- end of league -->\n";
    char start[80];
    sy_buf old = { 0 }, page = { 0 };
    snprintf(start, sizeof start, "<!-- league %s %s -->\n", kind, bed);
    sy_status st = sy_file_exists(file) ? sy_file_read(file, MOST_PAGE, &old, err) : SY_OK;
    const char *text = old.data ? old.data : "", *at = strstr(text, start), *rest = at ? strstr(at, end) : NULL;
    if (st == SY_OK && at && !rest) st = sy_fail(err, SY_EFORMAT, "%s: '%.*s' has no '%.*s' behind it: put the line back, or take both away", file, (int)strlen(start) - 1, start, (int)sizeof end - 2, end);
    sy_buf_put(&page, text, at ? (size_t)(at - text) : strlen(text));
    if (!at) sy_buf_text(&page, *text ? "\n" : "");
    sy_buf_text(&page, start);
    for (const char *p = table->data; *p; ) {
        size_t n = strcspn(p, "\n");
        n += p[n] == '\n';
        if (*p == '#') sy_buf_text(&page, "#");
        sy_buf_put(&page, p, n);
        p += n;
    }
    sy_buf_text(&page, end);
    if (rest) sy_buf_text(&page, rest + sizeof end - 1);
    if (st == SY_OK && page.failed) st = sy_fail(err, SY_ENOMEM, "no memory for %s", file);
    if (st == SY_OK) st = sy_file_write(file, page.data, page.n, err);
    sy_buf_free(&old);
    sy_buf_free(&page);
    return st;
}

static sy_status show(sy_cli *cli, const args *arg, const char *bed, const sy_league *l, sy_err *err)
{
    sy_buf page = { 0 }, html = { 0 };
    sy_status st = cli->json ? sy_league_json(l, &page, err) : sy_league_markdown(l, &page, err);
    if (st == SY_OK && arg->html) st = sy_league_html(l, &html, err);
    if (st == SY_OK && arg->html) st = sy_file_write(arg->html, html.data, html.n, err);
    if (st == SY_OK && arg->into) st = put_into(arg->into, arg->kind ? arg->kind : "router", bed, &page, err);
    if (st == SY_OK && arg->out) st = sy_file_write(arg->out, page.data, page.n, err);
    if (st == SY_OK && !arg->out && !arg->into && (fwrite(page.data, 1, page.n, stdout) != page.n || fflush(stdout))) st = sy_fail(err, SY_EIO, "cannot write to standard output");
    if (st == SY_OK && arg->html) sy_log_info(&cli->log, "%s (%.0f kB) holds the league; open it in a browser", arg->html, (double)html.n / 1e3);
    sy_buf_free(&page);
    sy_buf_free(&html);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    const args *arg = a;
    sy_kind kind = SY_ROUTER;
    sy_buf made = { 0 };
    sy_league l;
    (void)words, (void)n;
    if (arg->into && cli->json) return sy_fail(err, SY_EARG, "--into is for Markdown: leave --json away");
    SY_TRY(kind_of(arg->kind ? arg->kind : "router", &kind, err));
    SY_TRY(sy_cli_engine(cli, err));
    const char *bed = arg->bed ? arg->bed : arg->data.n ? "lm-tiny" : "cr";
    char words_of[1200];
    snprintf(words_of, sizeof words_of, "compare --kind %s --bed %.40s%s%.1000s", sy_kind_word(kind), bed, arg->only ? " --only " : "", arg->only ? arg->only : "");
    sy_made_by(&made, words_of, arg->data.v, arg->data.n, arg->seeds, arg->budget, !arg->no_tuning, cli->eng.k->name);
    if (made.failed) return sy_fail(err, SY_ENOMEM, "no memory for a league");
    sy_bed_context c = { .eng = &cli->eng, .data = arg->data.v, .n_data = arg->data.n, .stop = sy_watch_stop, .arg = cli };
    sy_watch w = { .cli = cli };
    sy_league_options o = { .kind = kind, .bed = bed, .only = arg->only, .seeds = arg->seeds, .store = arg->store ? arg->store : "runs", .side_by_side = arg->jobs ? arg->jobs : cli->eng.threads,
                            .budget = arg->budget, .tune = !arg->no_tuning, .so_far = arg->so_far, .made_by = made.data, .tell = sy_watch_tell, .arg = &w };
    sy_status st = sy_league_run(&c, &o, &cli->arena, &l, err);
    sy_watch_close(&w, st);
    if (st == SY_OK) st = show(cli, arg, bed, &l, err);
    sy_buf_free(&made);
    return st;
}

const sy_command sy_cmd_compare = {
    .name = "compare", .summary = "all methods of a kind on one bed, tuned alike, as a league table", .usage = "[--kind KIND] [--only KEY,...] [--bed BED] [--data SOURCE ...]",
    .text = "Every arm has the same tokens and the same tuning; then all run the same seeds on the same data, and each is judged against the baseline of its\n"
            "group. Finished runs are kept in the store as they come, so it can be stopped at any time, killed too, and goes on from there. What cannot run\n"
            "on a bed stands in the table with the reason. The table is Markdown, or JSON with --json.",
    .example = "switchyard compare --kind router --only auxfree,noisytopk --html league.html", .flags = flags, .size = sizeof(args), .run = run,
};
