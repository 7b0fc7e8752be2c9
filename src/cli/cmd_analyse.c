/* cli/cmd_analyse.c - switchyard analyse: what the experts of models do, over text, over parallel text, over the checkpoints of a run. */
#include <stdlib.h>
#include <string.h>

#include "cli/analyse.h"
#include "cli/open.h"
#include "core/alloc.h"
#include "core/file.h"
#include "infer/observe.h"
#include "report/report.h"

enum { POSITIONS = 2048, BATCH = 4096, MOST = 64 };     /* longest window by default; tokens of a batch; models */

typedef struct args {
    sy_list data, parallel, set;
    const char *checkpoints, *tokenizer, *trace, *page;
    int seq_len, tokens, sentences;
    double tau;
    bool save;
} args;

static const sy_flag flags[] = {
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "text: file or folder, name=path; each source or subfolder is a domain"),
    SY_FLAG(args, parallel, "parallel", 0, SY_FLAG_LIST, "NAME=FILE", "a language of parallel text, a sentence a line; the first is the one that others are compared with"),
    SY_FLAG(args, checkpoints, "checkpoints", 0, SY_FLAG_TEXT, "RUN", "instead of MODEL: every checkpoint that a run kept"),
    SY_FLAG(args, tokens, "tokens", 0, SY_FLAG_INT, "N", "tokens of each domain, from its beginning; default 32768, -1: all"),
    SY_FLAG(args, seq_len, "seq-len", 0, SY_FLAG_INT, "N", "window; default: the model's positions, at most 2048"),
    SY_FLAG(args, sentences, "sentences", 0, SY_FLAG_INT, "N", "with --parallel: at most so many; default: all"),
    SY_FLAG(args, tau, "tau", 0, SY_FLAG_REAL, "X", "with --parallel: how much more often other languages use an expert to call it theirs; default 0.3"),
    SY_FLAG(args, tokenizer, "tokenizer", 0, SY_FLAG_TEXT, "PATH", "another tokenizer than the model's: a folder, tokenizer.json, GGUF file, or bytes"),
    SY_FLAG(args, trace, "trace", 0, SY_FLAG_TEXT, "FILE", "write the experts and weights of every token of --data as a trace (safetensors)"),
    SY_FLAG(args, page, "page", 0, SY_FLAG_TEXT, "FILE", "write a page with pictures (HTML)"),
    SY_FLAG(args, save, "save", 0, SY_FLAG_ON, NULL, "write analysis.json into the folder of each model, where report finds it"),
    SY_FLAG_SET(args, set, "buckets, min_count, shuffles, capacity_factor, ...", sy_analysis_opts),
    { 0 }
};

typedef struct job {
    sy_cli      *cli;
    const args  *arg;
    sy_analysis_options o;
    sy_subject  *s;                     /* [n] */
    int          n;
    sy_progress  bar;
} job;

static bool on_progress(void *arg, double done, double all)
{
    job *w = arg;
    w->bar.total = all;
    sy_progress_at(&w->bar, done, NULL);
    return !*w->cli->stop;
}

static bool stopping(void *arg) { return *((job *)arg)->cli->stop; }

/* --- what is analysed -------------------------------------------------------------------------------------------------------- */

static bool is_trace(const char *place)
{
    size_t n = strlen(place), end = sizeof ".safetensors" - 1;
    return n > end && !strcmp(place + n - end, ".safetensors") && sy_file_exists(place) && !sy_is_dir(place);
}

static bool is_name(const char *name, int64_t *step)
{
    char *end;
    if (strncmp(name, "step-", 5)) return false;
    *step = strtoll(name + 5, &end, 10);
    return end != name + 5 && !*end;
}

/* The checkpoints of a run, oldest first. */
static sy_status find_checkpoints(job *w, sy_err *err)
{
    const char *run = w->arg->checkpoints, **names, *dir = sy_arena_printf(&w->cli->arena, "%s/checkpoints", run);
    int n = 0;
    int64_t step;
    if (!dir) return sy_fail(err, SY_ENOMEM, "no memory for a path");
    if (!sy_is_dir(dir)) return sy_fail(err, SY_ENOENT, "%s has no checkpoints; give the folder that train --out made", run);
    SY_TRY(sy_dir_list(dir, &w->cli->arena, &names, &n, err));
    if (!(w->s = sy_arena_array(&w->cli->arena, (size_t)n + 1, sizeof *w->s))) return sy_fail(err, SY_ENOMEM, "no memory for %d checkpoints", n);
    for (int i = 0; i < n; i++) {
        if (!is_name(names[i], &step)) continue;
        char *place = sy_arena_printf(&w->cli->arena, "%s/%s", dir, names[i]);
        if (!place) return sy_fail(err, SY_ENOMEM, "no memory for a path");
        w->s[w->n++] = (sy_subject){ .name = names[i], .place = place, .step = step };
    }
    if (w->n < 2) return sy_fail(err, SY_EARG, "%s keeps %d checkpoint%s; learning shows over several: train with --set checkpoint_every=N --set keep=1000", run, w->n, w->n == 1 ? "" : "s");
    return SY_OK;
}

static sy_status find_models(job *w, const char *const *words, int n, sy_err *err)
{
    bool model = false;
    if (!(w->s = sy_arena_array(&w->cli->arena, (size_t)n + 1, sizeof *w->s))) return sy_fail(err, SY_ENOMEM, "no memory for %d models", n);
    for (int i = 0; i < n; i++) {
        w->s[i] = (sy_subject){ .name = words[i], .place = words[i], .step = -1 };
        model = model || !is_trace(words[i]);
    }
    w->n = n;
    if (model && !w->arg->data.n && !w->arg->parallel.n) return sy_fail(err, SY_EARG, "on what text? give --data FILE-OR-FOLDER, or --parallel NAME=FILE for each language");
    if (!model && (w->arg->data.n || w->arg->parallel.n || w->arg->trace)) return sy_fail(err, SY_EARG, "a trace brings its tokens; --data, --parallel and --trace belong to models");
    return SY_OK;
}

static sy_status check(const args *a, int words, sy_err *err)
{
    if (words && a->checkpoints) return sy_fail(err, SY_EARG, "--checkpoints RUN stands in the place of MODEL; give one of them");
    if (!words && !a->checkpoints) return sy_fail(err, SY_EARG, "which model? give MODEL, a trace, or --checkpoints RUN");
    if (words > MOST) return sy_fail(err, SY_EARG, "%d models; %d at a time", words, MOST);
    if (a->checkpoints && (!a->data.n || a->parallel.n || a->trace)) return sy_fail(err, SY_EARG, "checkpoints are compared on --data; --parallel and --trace belong to one model");
    if (a->trace && (words != 1 || !a->data.n)) return sy_fail(err, SY_EARG, "--trace writes what one model did over --data");
    if (a->page && (a->checkpoints ? 1 : words) > SY_REPORT_RUNS) return sy_fail(err, SY_EARG, "a page shows %d models at most", SY_REPORT_RUNS);
    if ((a->sentences || a->tau) && !a->parallel.n) return sy_fail(err, SY_EARG, "--sentences and --tau belong to --parallel");
    if (a->sentences < 0 || a->sentences == 1) return sy_fail(err, SY_EARG, "--sentences %d: two are the least", a->sentences);
    if (a->tau < 0 || a->tau > 1) return sy_fail(err, SY_EARG, "--tau %g is no share from 0 to 1", a->tau);
    if (a->tokens < -1) return sy_fail(err, SY_EARG, "--tokens %d", a->tokens);
    return SY_OK;
}

/* --- one of them ------------------------------------------------------------------------------------------------------------- */

static sy_status open_tokenizer(const args *a, sy_tokenizer **tok, sy_err *err)
{
    if (!strcmp(a->tokenizer, "bytes") || !strcmp(a->tokenizer, "bytes+eot")) return sy_tokenizer_open_bytes(tok, a->tokenizer[5] != 0, err);
    return sy_open_tokenizer_at(a->tokenizer, tok, err);
}

static sy_status over_text(job *w, sy_subject *s, sy_model *m, sy_err *err)
{
    const args *a = w->arg;
    sy_config c;
    sy_data *data = NULL;
    int positions = sy_spec_positions(&m->spec), len = a->seq_len ? a->seq_len : positions < POSITIONS ? positions : POSITIONS;
    if (len < 1 || len > positions) return sy_fail(err, SY_EARG, "--seq-len %d: the model takes 1 to %d positions", len, positions);
    sy_config_defaults(&c);
    c.data.seq_len = len;
    SY_TRY(sy_set_sources(w->cli, &a->data, &c.corpus.eval_data, err));
    SY_TRY(sy_open_data(w->cli, &c, s->tok, NULL, &data, err));
    int domains = sy_data_domains(data);
    const char **name = sy_arena_array(&w->cli->arena, (size_t)domains + 1, sizeof *name);
    for (int d = 0; d < domains && name; d++) name[d] = sy_data_domain(data, d)->name;
    sy_observe_options o = { .rows = len < BATCH ? BATCH / len : 1, .most_tokens = a->tokens < 0 ? 0 : a->tokens ? a->tokens : 32768, .seen = on_progress, .arg = w };
    sy_status st = name ? sy_analysis_open(&s->routes, m, name, domains, err) : sy_fail(err, SY_ENOMEM, "no memory for the names of %d domains", domains);
    sy_progress_open(&w->bar, stderr, s->name, 1, w->cli->progress);
    w->bar.unit = "token";
    if (st == SY_OK) st = sy_observe(m, data, &o, &s->routes, err);
    sy_progress_close(&w->bar, NULL);
    sy_data_close(data);
    if (st == SY_OK) st = sy_analysis_make(&s->routes, &w->o, stopping, w, &w->cli->arena, &s->of_routes, err);
    s->has_routes = st == SY_OK;
    return st;
}

static sy_status over_languages(job *w, sy_subject *s, sy_model *m, sy_err *err)
{
    const args *a = w->arg;
    sy_languages_options o = { .tau = a->tau > 0 ? a->tau : 0.3, .seen = on_progress, .arg = w };
    SY_TRY(sy_parallel_read(&s->parallel, a->parallel.v, a->parallel.n, s->tok, sy_spec_positions(&m->spec), a->sentences, &w->cli->arena, err));
    SY_TRY(sy_analysis_open(&s->spoken, m, s->parallel.name, s->parallel.languages, err));
    sy_progress_open(&w->bar, stderr, s->name, 1, w->cli->progress);
    w->bar.unit = "sentence";
    sy_status st = sy_languages_run(m, &s->parallel, &o, &s->spoken, &w->cli->arena, &s->languages, err);
    sy_progress_close(&w->bar, NULL);
    if (st == SY_OK) st = sy_analysis_make(&s->spoken, &w->o, stopping, w, &w->cli->arena, &s->of_spoken, err);
    s->has_languages = st == SY_OK;
    return st;
}

static sy_status model(job *w, sy_subject *s, sy_err *err)
{
    const args *a = w->arg;
    sy_model *m = NULL;
    sy_status st = a->tokenizer ? open_tokenizer(a, &s->tok, err) : SY_OK;
    if (st == SY_OK) st = sy_open_model(w->cli, s->place, &m, a->tokenizer ? NULL : &s->tok, err);
    if (st == SY_ENOENT && !a->tokenizer && !m) st = sy_within(err, st, "a model without a tokenizer needs --tokenizer");
    if (st == SY_OK && !m->n_sparse) st = sy_fail(err, SY_EUNSUP, "%s is dense: its tokens choose no experts", s->place);
    if (st == SY_OK && sy_tokenizer_vocab(s->tok) > m->spec.vocab_size) st = sy_fail(err, SY_ESHAPE, "the tokenizer has %d ids, %s %d", sy_tokenizer_vocab(s->tok), s->place, m->spec.vocab_size);
    if (st == SY_OK && a->data.n) st = over_text(w, s, m, err);
    if (st == SY_OK && a->parallel.n) st = over_languages(w, s, m, err);
    sy_model_free(m);
    return st;
}

static sy_status trace(job *w, sy_subject *s, sy_err *err)
{
    sy_trace t;
    if (w->arg->tokenizer) SY_TRY(open_tokenizer(w->arg, &s->tok, err));
    SY_TRY(sy_trace_read(&t, s->place, err));
    SY_TRY(sy_analysis_of(&s->routes, &t, err));
    SY_TRY(sy_within(err, sy_analysis_make(&s->routes, &w->o, stopping, w, &w->cli->arena, &s->of_routes, err), "%s", s->place));
    s->has_routes = true;
    for (size_t i = 0; s->tok && i < s->routes.trace.n; i++)
        if (sy_trace_tokens(&s->routes.trace)[i].id >= sy_tokenizer_vocab(s->tok)) return sy_fail(err, SY_ESHAPE, "%s has the id %d, the tokenizer %d ids", s->place, sy_trace_tokens(&s->routes.trace)[i].id, sy_tokenizer_vocab(s->tok));
    return SY_OK;
}

/* With the last checkpoint; of several models with the first, where both saw the same tokens and have as many layers and experts. */
static sy_status compare(job *w, sy_subject *s, const sy_subject *with, sy_err *err)
{
    sy_err why = { 0 };
    if (!s->has_routes || !with->has_routes) return SY_OK;
    sy_overlap *x = sy_arena_array(&w->cli->arena, (size_t)s->of_routes.layers + 1, sizeof *x);
    if (!x) return sy_fail(err, SY_ENOMEM, "no memory to compare %d layers", s->of_routes.layers);
    sy_status st = sy_analysis_overlap(&s->routes.trace, &with->routes.trace, w->o.min_count, x, &why);
    if (st == SY_ESHAPE && !w->arg->checkpoints) {
        sy_log_info(&w->cli->log, "%s and %s are not compared: %s", with->name, s->name, why.text);
        return SY_OK;
    }
    if (st != SY_OK) return sy_fail(err, st, "%s and %s: %s", with->name, s->name, why.text);
    s->overlap = x;
    s->overlap_with = with->name;
    return SY_OK;
}

/* The one that others are compared with comes first and keeps its trace. */
static sy_status all(job *w, sy_err *err)
{
    int base = w->arg->checkpoints ? w->n - 1 : 0;
    for (int k = 0; k < w->n; k++) {
        sy_subject *s = &w->s[k == 0 ? base : k <= base ? k - 1 : k];
        SY_TRY(is_trace(s->place) ? trace(w, s, err) : model(w, s, err));
        if (k || w->arg->checkpoints) SY_TRY(compare(w, s, &w->s[base], err));
        if (!k && w->arg->trace) SY_TRY(sy_trace_write(&s->routes.trace, w->arg->trace, err));
        if (k) sy_trace_close(&s->routes.trace);
    }
    return SY_OK;
}

/* --- JSON and the page ------------------------------------------------------------------------------------------------------- */

static void overlap_json(sy_json *j, const sy_subject *s)
{
    sy_json_begin(j, '[');
    for (int l = 0; l < s->of_routes.layers; l++) {
        const sy_layer_stats *x = &s->of_routes.layer[l];
        const sy_overlap *o = &s->overlap[l];
        sy_json_begin(j, '{');
        sy_json_key(j, "layer"), sy_json_int(j, s->of_routes.number[l]);
        sy_json_key(j, "frequent"), sy_json_int(j, (long long)o->frequent);
        sy_json_key(j, "overlap"), sy_json_real(j, o->overlap);
        sy_json_key(j, "overlap_chance"), sy_json_real(j, o->overlap_chance);
        sy_json_key(j, "same"), sy_json_real(j, o->same);
        sy_json_key(j, "same_chance"), sy_json_real(j, o->same_chance);
        sy_json_key(j, "u_token"), sy_json_real(j, x->by[SY_BY_ID].info / x->entropy);
        sy_json_key(j, "u_token_noise"), sy_json_real(j, x->by[SY_BY_ID].noise / x->entropy);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
}

/* Of the checkpoints of a run the last one, and what the others have in common with it. */
static void subject_json(sy_json *j, const job *w, const sy_subject *s)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "name"), sy_json_text(j, w->arg->checkpoints ? w->arg->checkpoints : s->name);
    if (s->has_routes) sy_analysis_json(j, &s->of_routes, s->tok);
    if (w->arg->checkpoints) {
        sy_json_key(j, "learning"), sy_json_begin(j, '[');
        for (int i = 0; i < w->n; i++) {
            sy_json_begin(j, '{');
            sy_json_key(j, "step"), sy_json_int(j, (long long)w->s[i].step);
            sy_json_key(j, "layers"), overlap_json(j, &w->s[i]);
            sy_json_end(j, '}');
        }
        sy_json_end(j, ']');
    } else if (s->overlap) {
        sy_json_key(j, "compared_with"), sy_json_text(j, s->overlap_with);
        sy_json_key(j, "overlap"), overlap_json(j, s);
    }
    if (s->has_languages) {
        sy_json_key(j, "languages"), sy_json_begin(j, '{');
        sy_languages_json(j, &s->languages, &s->parallel);
        sy_json_key(j, "routes"), sy_json_begin(j, '{');
        sy_analysis_json(j, &s->of_spoken, s->tok);
        sy_json_end(j, '}');
        sy_json_end(j, '}');
    }
    sy_json_end(j, '}');
}

static const sy_subject *first_shown(const job *w) { return &w->s[w->arg->checkpoints ? w->n - 1 : 0]; }
static int shown(const job *w) { return w->arg->checkpoints ? 1 : w->n; }

static sy_status print_json(const job *w, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 1);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "models"), sy_json_begin(&j, '[');
    for (int i = 0; i < shown(w); i++) subject_json(&j, w, first_shown(w) + i);
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : puts(b.data) < 0 || fflush(stdout) ? sy_fail(err, SY_EIO, "cannot write to standard output") : SY_OK;
    sy_buf_free(&b);
    return st;
}

/* One model's object in one line, as a file of its folder and for the page. */
static sy_status one_json(const job *w, const sy_subject *s, sy_buf *b, sy_err *err)
{
    sy_json j;
    sy_json_open(&j, b, 0);
    subject_json(&j, w, s);
    sy_buf_put(b, "\n", 1);
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static sy_status save(const job *w, sy_err *err)
{
    for (int i = 0; i < shown(w); i++) {
        char path[1024];
        sy_buf b = { 0 };
        const sy_subject *s = first_shown(w) + i;
        const char *dir = w->arg->checkpoints ? w->arg->checkpoints : s->place;
        if (!sy_is_dir(dir)) return sy_fail(err, SY_EARG, "%s is no folder that --save could write to", dir);
        SY_TRY(sy_path(path, sizeof path, dir, "analysis.json", err));
        sy_status st = one_json(w, s, &b, err);
        if (st == SY_OK) st = sy_file_write(path, b.data, b.n, err);
        sy_buf_free(&b);
        SY_TRY(st);
        sy_log_info(&w->cli->log, "%s is written; switchyard report %s shows it", path, dir);
    }
    return SY_OK;
}

static sy_status page(const job *w, sy_err *err)
{
    sy_record record[SY_REPORT_RUNS];
    sy_buf html = { 0 };
    int n = 0;
    sy_status st = SY_OK;
    for (; n < shown(w) && st == SY_OK; n += st == SY_OK) {
        sy_buf b = { 0 };
        const sy_subject *s = first_shown(w) + n;
        st = one_json(w, s, &b, err);
        if (st == SY_OK) st = sy_record_of_analysis(&record[n], w->arg->checkpoints ? w->arg->checkpoints : s->place, b.data, b.n, err);
        sy_buf_free(&b);
    }
    if (st == SY_OK) st = sy_report_html(record, n, &html, err);
    if (st == SY_OK) st = sy_file_write(w->arg->page, html.data, html.n, err);
    if (st == SY_OK) sy_log_info(&w->cli->log, "%s (%.0f kB) holds the whole page; open it in a browser", w->arg->page, (double)html.n / 1e3);
    while (n--) sy_record_free(&record[n]);
    sy_buf_free(&html);
    return st;
}

static sy_status tell(const job *w, sy_err *err)
{
    if (w->cli->json) SY_TRY(print_json(w, err));
    for (int i = 0; i < shown(w) && !w->cli->json; i++) {
        if (i) putchar('\n');
        sy_print_subject(stdout, first_shown(w) + i);
    }
    if (w->arg->checkpoints && !w->cli->json) sy_print_learning(stdout, w->s, w->n);
    if (w->arg->save) SY_TRY(save(w, err));
    return w->arg->page ? page(w, err) : SY_OK;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    job w = { .cli = cli, .arg = a };
    SY_TRY(check(w.arg, n, err));
    sy_opt_defaults(sy_analysis_opts, &w.o);
    for (int i = 0; i < w.arg->set.n; i++) SY_TRY(sy_opt_parse(sy_analysis_opts, &w.o, w.arg->set.v[i], &cli->arena, NULL, err));
    SY_TRY(w.arg->checkpoints ? find_checkpoints(&w, err) : find_models(&w, words, n, err));
    SY_TRY(sy_cli_engine(cli, err));
    sy_status st = all(&w, err);
    if (st == SY_OK) st = tell(&w, err);
    for (int i = 0; i < w.n; i++) {
        sy_analysis_close(&w.s[i].routes);
        sy_analysis_close(&w.s[i].spoken);
        sy_tokenizer_close(w.s[i].tok);
    }
    return st;
}

const sy_command sy_cmd_analyse = {
    .name = "analyse", .summary = "what the experts of a model do: who uses which, by token, position, domain and language", .usage = "(MODEL... | TRACE... | --checkpoints RUN) --data SOURCE ...",
    .text = "MODEL is the folder of a model or of a run, or a GGUF file; TRACE a file that --trace wrote, here or with generate (.safetensors). The text runs in\n"
            "windows, and what every token chose is counted: how much of an expert's uncertainty the token's id, its position and its domain take away, each beside what\n"
            "shuffled labels give, so that a number can be trusted; balance, pairs of experts, what a capacity would drop towards the end of documents. Several models\n"
            "are compared with the first, token by token. --checkpoints shows when routing was learned, --parallel how differently languages are routed on the same\n"
            "sentences. docs/analyse.md explains every number. --json prints all of it, --page draws it, --save keeps it for report.",
    .example = "switchyard analyse run --data corpus\n  switchyard analyse OLMoE-1B-7B --data corpus --tokens 4096 --page olmoe.html\n"
               "  switchyard analyse run --parallel en=en.txt --parallel de=de.txt\n  switchyard analyse --checkpoints run --data corpus",
    .flags = flags, .size = sizeof(args), .min_words = 0, .max_words = -1, .run = run,
};
