/* cli/cmd_eval.c - switchyard eval: loss of a model over held-out text, by domain; or its answers to questions with given choices. */
#include <math.h>
#include <string.h>

#include "cli/eval_decoded.h"
#include "cli/eval_text.h"
#include "cli/open.h"
#include "core/json.h"
#include "infer/choices.h"
#include "model/checkpoint.h"

typedef struct args { sy_list data, edit; const char *choices, *against, *decode, *override; int seq_len, rows, ctx, chunks, prefix, windows; const char *bos; bool perplexity, int8; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "text to evaluate: file or folder, name=path"),
    SY_FLAG(args, choices, "choices", 0, SY_FLAG_TEXT, "FILE", "questions instead: JSON lines with prompt, choices [..] and answer (an index from 0)"),
    SY_FLAG(args, seq_len, "seq-len", 0, SY_FLAG_INT, "N", "window; default: the model's max_position_embeddings"),
    SY_FLAG(args, rows, "rows", 0, SY_FLAG_INT, "N", "windows at once; default 16"),
    SY_FLAG(args, perplexity, "perplexity", 0, SY_FLAG_ON, NULL, "perplexity as llama.cpp defines it: chunks of the whole text, the second half of each counts"),
    SY_FLAG(args, ctx, "ctx", 0, SY_FLAG_INT, "N", "with --perplexity: ids of a chunk; default 512"),
    SY_FLAG(args, chunks, "chunks", 0, SY_FLAG_INT, "N", "with --perplexity: only the first N chunks"),
    SY_FLAG(args, bos, "bos", 0, SY_FLAG_TEXT, "ID", "with --perplexity: each chunk begins with this id instead of its own first one"),
    SY_FLAG(args, int8, "int8", 0, SY_FLAG_ON, NULL, "stored weights meet activations rounded to eight bits, as in generate and chat; routers stay exact"),
    SY_FLAG(args, against, "against", 0, SY_FLAG_TEXT, "DIR", "with --perplexity: KL divergence from this model, and how often both find the same id most likely"),
    SY_FLAG(args, decode, "decode", 0, SY_FLAG_TEXT, "KEY:OPTIONS", "with --data: the text token by token, by the model alone and by this decoding method"),
    SY_FLAG(args, prefix, "prefix", 0, SY_FLAG_INT, "N", "with --decode: ids at the beginning of each window that are read as a prompt and not counted; default: half of it"),
    SY_FLAG(args, windows, "windows", 0, SY_FLAG_INT, "N", "with --decode: at most so many windows of each domain"),
    SY_FLAG(args, override, "override", 0, SY_FLAG_TEXT, "k=N", "with --data: another number of experts a token than the model's own, or threshold=P for routers that go by one"),
    SY_FLAG(args, edit, "edit", 0, SY_FLAG_LIST, "KEY:OPTIONS", "a route edit on top of the model's own, e.g. steer:experts=1.3"),
    { 0 }
};

static bool stopping(void *arg) { return *((sy_cli *)arg)->stop; }

static sy_status print_json(const sy_evaluation *e, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    for (int i = 0; i < e->lines; i++) {
        const sy_eval_line *l = &e->line[i];
        sy_json_key(&j, l->name);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "tokens"), sy_json_int(&j, l->tokens);
        sy_json_key(&j, "bytes"), sy_json_int(&j, l->bytes);
        sy_json_key(&j, "nats_per_byte"), sy_json_real(&j, sy_eval_per_byte(l));
        sy_json_key(&j, "nats_per_token"), sy_json_real(&j, sy_eval_per_token(l));
        sy_json_key(&j, "perplexity"), sy_json_real(&j, exp(sy_eval_per_token(l)));
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, '}');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the results") : SY_OK;
}

/* --- questions -------------------------------------------------------------------------------------------------------------- */

typedef struct watch { sy_cli *cli; sy_progress bar; } watch;

static bool on_question(void *arg, int done)
{
    watch *w = arg;
    sy_progress_at(&w->bar, done, NULL);
    return !*w->cli->stop;
}

static sy_status print_choices(sy_cli *cli, const sy_choices_result *r, sy_err *err)
{
    double n = r->n, plain = r->right / n, per_byte = r->right_per_byte / n, se = sqrt(plain * (1 - plain) / n), se_b = sqrt(per_byte * (1 - per_byte) / n);
    sy_buf b = { 0 };
    sy_json j;
    if (!cli->json) {
        printf("%d questions\n", r->n);
        printf("%-24s %8.4f +- %.4f\n%-24s %8.4f +- %.4f\n", "accuracy", plain, se, "accuracy by ln p/byte", per_byte, se_b);
        printf("%-24s %8.4f\n%-24s %8.4f\n", "by guessing", r->chance, "nats of right answers", r->nats);
        return SY_OK;
    }
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "questions"), sy_json_int(&j, r->n);
    sy_json_key(&j, "accuracy"), sy_json_real(&j, plain);
    sy_json_key(&j, "accuracy_stderr"), sy_json_real(&j, se);
    sy_json_key(&j, "accuracy_per_byte"), sy_json_real(&j, per_byte);
    sy_json_key(&j, "accuracy_per_byte_stderr"), sy_json_real(&j, se_b);
    sy_json_key(&j, "chance"), sy_json_real(&j, r->chance);
    sy_json_key(&j, "nats_of_right_answers"), sy_json_real(&j, r->nats);
    sy_json_end(&j, '}');
    if (!b.failed) puts(b.data);
    bool failed = b.failed;
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the results") : SY_OK;
}

static sy_status choices(sy_cli *cli, sy_model *m, const sy_tokenizer *tok, const sy_questions *all, sy_err *err)
{
    sy_choices_result r;
    watch w = { .cli = cli };
    sy_progress_open(&w.bar, stderr, "questions", all->n, cli->progress);
    sy_status st = sy_choices_run(m, tok, all, on_question, &w, &r, err);
    sy_progress_close(&w.bar, NULL);
    return st == SY_OK ? print_choices(cli, &r, err) : st;
}

/* --- both ------------------------------------------------------------------------------------------------------------------- */

static sy_status text(sy_cli *cli, const args *arg, sy_model *m, const sy_tokenizer *tok, sy_config *c, sy_err *err)
{
    sy_data *data = NULL;
    sy_evaluation e;
    sy_override over = { 0 };
    if (arg->override) SY_TRY(sy_override_of(arg->override, &over, err));
    c->data.seq_len = arg->seq_len ? arg->seq_len : m->spec.max_position_embeddings;
    if (c->data.seq_len > m->spec.max_position_embeddings)
        return sy_fail(err, SY_EARG, "--seq-len %d: the model takes at most %d positions", c->data.seq_len, m->spec.max_position_embeddings);
    sy_status st = sy_open_data(cli, c, tok, NULL, &data, err);
    if (st == SY_OK && arg->decode) {
        sy_decoded_job j = { .model = m, .data = data, .method = arg->decode, .seq_len = c->data.seq_len, .prefix = arg->prefix ? arg->prefix : c->data.seq_len / 2, .windows = arg->windows };
        st = sy_eval_decoded(cli, &j, err);
        sy_data_close(data);
        return st;
    }
    if (st == SY_OK) st = sy_evaluate(m, data, arg->rows ? arg->rows : 16, &(sy_eval_hooks){ .stop = stopping, .arg = cli, .over = arg->override ? &over : NULL }, &e, &cli->arena, err);
    if (st == SY_OK) {
        if (cli->json) st = print_json(&e, err);
        else sy_print_eval(stdout, &e);
    }
    sy_data_close(data);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *arg = a;
    sy_config c;
    sy_model *m = NULL;
    sy_tokenizer *tok = NULL;
    sy_questions all = { 0 };
    if (!arg->data.n && !arg->choices) return sy_fail(err, SY_EARG, "evaluate on what? give --data FILE-OR-FOLDER or --choices FILE");
    if (!arg->perplexity && (arg->against || arg->ctx || arg->chunks || arg->bos)) return sy_fail(err, SY_EARG, "--against, --ctx, --chunks and --bos belong to --perplexity; give that, too");
    if (arg->perplexity && (!arg->data.n || arg->seq_len || arg->rows)) return sy_fail(err, SY_EARG, "--perplexity reads --data FILE in chunks of --ctx; it has no --seq-len and no --rows");
    if (arg->decode && (!arg->data.n || arg->perplexity || arg->rows)) return sy_fail(err, SY_EARG, "--decode reads --data token by token; it has no --rows, and goes with neither --choices nor --perplexity");
    if (arg->override && (!arg->data.n || arg->perplexity || arg->decode)) return sy_fail(err, SY_EARG, "--override is for --data alone: leave --choices, --perplexity and --decode away");
    if (!arg->decode && (arg->prefix || arg->windows)) return sy_fail(err, SY_EARG, "--prefix and --windows belong to --decode; give that, too");
    if (arg->prefix < 0 || arg->windows < 0) return sy_fail(err, SY_EARG, "--prefix %d, --windows %d: they are counted from 1", arg->prefix, arg->windows);
    if (arg->data.n && arg->choices) return sy_fail(err, SY_EARG, "--data and --choices are two evaluations; give one of them");
    sy_config_defaults(&c);
    SY_TRY(sy_set_sources(cli, &arg->data, &c.corpus.eval_data, err));
    if (arg->choices) SY_TRY(sy_choices_read(&all, arg->choices, &cli->arena, err));
    SY_TRY(sy_cli_engine(cli, err));
    cli->eng.int8 = arg->int8;
    sy_status st = sy_open_model(cli, words[0], &m, &tok, err);
    for (int i = 0; st == SY_OK && i < arg->edit.n; i++) st = sy_model_attach(m, arg->edit.v[i], err);
    sy_text_job job = { .model = m, .tok = tok, .files = &arg->data, .against = arg->against, .bos = arg->bos, .ctx = arg->ctx ? arg->ctx : 512, .chunks = arg->chunks };
    if (st == SY_OK && arg->perplexity) st = sy_eval_text(cli, &job, err);
    else if (st == SY_OK) st = arg->choices ? choices(cli, m, tok, &all, err) : text(cli, arg, m, tok, &c, err);
    sy_tokenizer_close(tok);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_eval = {
    .name = "eval", .summary = "loss and perplexity of a model, by domain; accuracy on questions", .usage = "DIR (--data SOURCE ... | --choices FILE | --perplexity --data FILE)",
    .text = "DIR is the folder of a model or of a run. All of the text is evaluated, in windows without overlap; the table has nats and bits\n"
            "per byte, nats per token and perplexity for each domain and for all. With --choices each answer is scored by the sum of ln p of its\n"
            "tokens after the prompt, and by the same per byte; the largest is the model's answer. --perplexity reads text files whole, cuts their ids\n"
            "into chunks of --ctx and counts the second half of each, which has the first as context; --against adds the KL divergence from another model\n"
            "of the same vocabulary: mean, median, 90 %, 99 % and largest, in nats, and the share of places where both find the same id most likely.\n"
            "With --decode each window is read up to --prefix, then id by id: nats, accuracy and cost of the model alone and of the method. Ids that a method\n"
            "excludes have no nats; their share is told.",
    .example = "switchyard eval run --data news=articles.txt\n  switchyard eval run --data articles.txt --decode scmoe:beta=0.5 --windows 20\n  switchyard eval run --choices questions.jsonl --json\n"
               "  switchyard eval small --perplexity --ctx 512 --data wiki.test.raw --against original", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
