/* cli/cmd_corpus.c - switchyard corpus: real text in labelled domains, gathered from the machine itself. */
#include <string.h>

#include "cli/cli.h"
#include "core/file.h"
#include "core/json.h"
#include "data/gather.h"

typedef struct args { const char *from_system, *root; double max_bytes; int min_kb; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, from_system, "from-system", 0, SY_FLAG_TEXT, "OUT", "folder to write to: new, empty, or from an earlier gathering"),
    SY_FLAG(args, root, "root", 0, SY_FLAG_TEXT, "DIR", "root of the system that is looked at, as of a container that is unpacked there; default /"),
    SY_FLAG(args, max_bytes, "max-bytes", 0, SY_FLAG_REAL, "N", "most bytes of one domain; default 4e6"),
    SY_FLAG(args, min_kb, "min-kb", 0, SY_FLAG_INT, "N", "domains with less text are left out; default 256"),
    { 0 }
};

static sy_status print_json(const sy_gathered *r, int n, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '[');
    for (int i = 0; i < n; i++) {
        sy_json_begin(&j, '{');
        sy_json_key(&j, "domain"), sy_json_text(&j, r[i].domain);
        sy_json_key(&j, "what"), sy_json_text(&j, r[i].what);
        sy_json_key(&j, "kept"), sy_json_bool(&j, r[i].kept);
        sy_json_key(&j, "files"), sy_json_int(&j, r[i].files);
        sy_json_key(&j, "bytes"), sy_json_int(&j, r[i].bytes);
        sy_json_key(&j, "found"), sy_json_int(&j, r[i].found);
        sy_json_key(&j, "copies"), sy_json_int(&j, r[i].copies);
        sy_json_key(&j, "unfit"), sy_json_int(&j, r[i].unfit);
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the table") : SY_OK;
}

struct watch { sy_cli *cli; sy_progress bar; };

static sy_status on_progress(void *arg, const char *what, double share, sy_err *err)
{
    struct watch *w = arg;
    if (*w->cli->stop) return sy_fail(err, SY_ESTOP, "stopped; the domains that are written stand");
    sy_progress_at(&w->bar, share, what);
    return SY_OK;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)words, (void)n;
    const args *arg = a;
    sy_gathered *r;
    if (!arg->from_system) return sy_fail(err, SY_EARG, "corpus gathers text from this machine: say where to by --from-system OUT");
    if (arg->max_bytes && !(arg->max_bytes >= 1e5 && arg->max_bytes <= 1e9)) return sy_fail(err, SY_EARG, "--max-bytes %g is outside 1e5 .. 1e9", arg->max_bytes);
    sy_gather_options o = { .max_bytes = arg->max_bytes ? (int64_t)arg->max_bytes : 4000000, .min_bytes = (int64_t)(arg->min_kb ? arg->min_kb : 256) << 10 };
    if (o.min_bytes > o.max_bytes) return sy_fail(err, SY_EARG, "--min-kb %d is more than --max-bytes allows", arg->min_kb);
    if (arg->root && !sy_is_dir(arg->root)) return sy_fail(err, SY_ENOENT, "--root %s is not a folder", arg->root);
    struct watch w = { .cli = cli };
    sy_progress_open(&w.bar, stderr, "gathering", 1, cli->progress);
    w.bar.unit = "";
    o.progress = on_progress;
    o.arg = &w;
    sy_status st = sy_gather_system(arg->root ? arg->root : "/", arg->from_system, &o, &cli->arena, &r, &n, err);
    sy_progress_close(&w.bar, NULL);
    SY_TRY(st);
    if (cli->json) return print_json(r, n, err);
    printf("%-10s %-30s %7s %10s %8s %7s %7s\n", "domain", "what", "files", "bytes", "found", "copies", "unfit");
    for (int i = 0; i < n; i++)
        printf("%-10s %-30s %7lld %10lld %8lld %7lld %7lld%s\n", r[i].domain, r[i].what, (long long)r[i].files, (long long)r[i].bytes, (long long)r[i].found,
               (long long)r[i].copies, (long long)r[i].unfit, r[i].kept ? "" : "  too little, left out");
    printf("\nWritten to %s, a folder a domain: --data %s takes it as it is.\n", arg->from_system, arg->from_system);
    return SY_OK;
}

const sy_command sy_cmd_corpus = {
    .name = "corpus", .summary = "gather labelled text from what is installed on this machine", .usage = "--from-system OUT [--max-bytes N]",
    .text = "Gathers C headers, CMake, Perl and Python modules, shell scripts, manual texts and licences of installed packages, a domain each, and writes\n"
            "them as JSON lines. Homes and settings are not looked at. Equal files are taken once; the same machine gives the same bytes.",
    .example = "switchyard corpus --from-system corpus\nswitchyard train --recipe demo --data corpus --out run", .flags = flags, .size = sizeof(args), .run = run,
};
