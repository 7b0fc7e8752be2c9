/* cli/cmd_report.c - switchyard report: a page about one run, or several compared. */
#include "cli/cli.h"
#include "core/file.h"
#include "report/report.h"

typedef struct args { const char *out; bool text; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "FILE", "write the page here; default: report.html in the first RUN"),
    SY_FLAG(args, text, "text", 't', SY_FLAG_ON, NULL, "print the table of held-out losses, too"),
    { 0 }
};

static sy_status print(sy_status (*make)(const sy_record *, int, sy_buf *, sy_err *), const sy_record *runs, int n, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = make(runs, n, &b, err);
    if (st == SY_OK && (fwrite(b.data, 1, b.n, stdout) != b.n || fflush(stdout))) st = sy_fail(err, SY_EIO, "cannot write to standard output");
    sy_buf_free(&b);
    return st;
}

static sy_status write_page(sy_cli *cli, const char *out, const char *first, const sy_record *runs, int n, sy_err *err)
{
    char path[1024];
    sy_buf page = { 0 };
    if (!out) SY_TRY(sy_path(path, sizeof path, first, "report.html", err));
    if (!out) out = path;
    sy_status st = sy_report_html(runs, n, &page, err);
    if (st == SY_OK) st = sy_file_write(out, page.data, page.n, err);
    if (st == SY_OK) sy_log_info(&cli->log, "%s (%.0f kB) holds the whole report; open it in a browser", out, (double)page.n / 1e3);
    sy_buf_free(&page);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    const args *arg = a;
    sy_record runs[SY_REPORT_RUNS];
    int read = 0;
    sy_status st = SY_OK;
    if (n > SY_REPORT_RUNS) return sy_fail(err, SY_EARG, "a report shows at most %d runs, not %d", SY_REPORT_RUNS, n);
    while (read < n && (st = sy_record_read(&runs[read], words[read], err)) == SY_OK) read++;
    for (int i = 0; i < read; i++)
        for (size_t k = 0; k < runs[i].n_note && !arg->text; k++) sy_log_warn(&cli->log, "%s: %s", words[i], runs[i].note[k]);
    if (st == SY_OK) st = write_page(cli, arg->out, words[0], runs, n, err);
    if (st == SY_OK && cli->json) st = print(sy_report_json, runs, n, err);
    else if (st == SY_OK && arg->text) st = print(sy_report_text, runs, n, err);
    while (read--) sy_record_free(&runs[read]);
    return st;
}

const sy_command sy_cmd_report = {
    .name = "report", .summary = "one page about a run, or about several compared", .usage = "RUN... [-o FILE]",
    .text = "RUN is a folder that train --out made. The page is one HTML file without outside parts: loss by domain, load and domains of every\n"
            "expert, routing of a sentence, speed, options, generated text. Of several runs the only dense one, else the first, is the baseline.\n"
            "--json prints the data of the page.",
    .example = "switchyard report demo/sparse demo/dense -o report.html --text", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = -1, .run = run,
};
