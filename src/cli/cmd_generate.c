/* cli/cmd_generate.c - switchyard generate: text after a prompt. */
#include <string.h>

#include "cli/open.h"
#include "core/clock.h"
#include "core/json.h"
#include "infer/generate.h"

typedef struct args { const char *prompt; sy_list stop, set; int context; bool greedy; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, prompt, "prompt", 'p', SY_FLAG_TEXT, "TEXT", "what the text begins with"),
    SY_FLAG(args, greedy, "greedy", 0, SY_FLAG_ON, NULL, "always the most likely token"),
    SY_FLAG_SET(args, set, "max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, ignore_eos", sy_generate_opts),
    SY_FLAG(args, stop, "stop", 0, SY_FLAG_LIST, "TEXT", "end before this text appears"),
    SY_FLAG(args, context, "context", 0, SY_FLAG_INT, "N", "positions; default: what the model takes"),
    { 0 }
};

static bool print(void *arg, const char *text, size_t n)
{
    const sy_cli *cli = arg;
    if (!cli->json) {
        sy_put_text(stdout, text, n);
        fflush(stdout);
    }
    return !*cli->stop && !ferror(stdout);
}

static const char *const why[] = { "", "end of the document", "stop text", "max_new_tokens", "context full", "stopped" };

static sy_status print_json(const char *prompt, const sy_generation *x, const sy_buf *text, double seconds, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "prompt"), sy_json_text(&j, prompt);
    sy_json_key(&j, "text"), sy_json_bytes(&j, text->data ? text->data : "", text->n);
    sy_json_key(&j, "tokens"), sy_json_int(&j, x->tokens);
    sy_json_key(&j, "ended"), sy_json_text(&j, why[x->ended]);
    sy_json_key(&j, "tokens_per_s"), sy_json_real(&j, x->tokens / seconds);
    sy_json_end(&j, '}');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static sy_status generate(sy_cli *cli, const args *a, sy_generator *g, const sy_generate_options *o, sy_err *err)
{
    size_t n = 0, before, bytes = strlen(a->prompt), most = sy_tokenizer_most(g->tok, bytes);
    const int32_t *first = sy_tokenizer_before(g->tok, &before);
    int *id = sy_arena_array(&cli->arena, before + most + 1, sizeof *id);
    if (!id) return sy_fail(err, SY_ENOMEM, "no memory for the prompt");
    if (before) memcpy(id, first, before * sizeof *id);
    SY_TRY(sy_tokenizer_encode(g->tok, a->prompt, bytes, id + before, &n, err));
    n += before;
    if (!n && sy_tokenizer_eot(g->tok) >= 0) id[n++] = sy_tokenizer_eot(g->tok);      /* a document begins */
    if (!n) return sy_fail(err, SY_EARG, "the prompt is empty; give --prompt TEXT");
    if (n > (size_t)g->room) return sy_fail(err, SY_ESHAPE, "the prompt has %zu tokens, the context %d positions", n, g->room);
    SY_TRY(sy_generator_feed(g, id, (int)n, NULL, err));
    sy_generation x = { .stop = a->stop.v, .n_stop = a->stop.n, .text = print, .arg = cli };
    sy_buf text = { 0 };
    double began = sy_now();
    if (!cli->json) sy_put_text(stdout, a->prompt, bytes);
    sy_status st = sy_generate(g, o, &x, cli->json ? &text : NULL, err);
    double seconds = sy_now() - began;
    if (!cli->json) putchar('\n');
    else if (st == SY_OK) st = print_json(a->prompt, &x, &text, seconds, err);
    sy_buf_free(&text);
    if (st == SY_OK) sy_log_info(&cli->log, "%d tokens, %.1f tokens/s (%s)", x.tokens, x.tokens / seconds, why[x.ended]);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *arg = a;
    sy_generate_options o;
    sy_model *m = NULL;
    sy_tokenizer *tok = NULL;
    sy_generator g = { 0 };
    if (!arg->prompt) return sy_fail(err, SY_EARG, "give --prompt TEXT");
    sy_opt_defaults(sy_generate_opts, &o);
    if (arg->greedy) o.sample.do_sample = false;
    for (int i = 0; i < arg->set.n; i++) SY_TRY(sy_opt_parse(sy_generate_opts, &o, arg->set.v[i], &cli->arena, NULL, err));
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(sy_open_model(cli, words[0], &m, &tok, err));
    sy_status st = sy_generator_open(&g, m, tok, arg->context ? arg->context : m->spec.max_position_embeddings, err);
    if (st == SY_OK) {
        st = generate(cli, arg, &g, &o, err);
        sy_generator_close(&g);
    }
    sy_tokenizer_close(tok);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_generate = {
    .name = "generate", .summary = "text after a prompt", .usage = "DIR --prompt TEXT",
    .text = "DIR is the folder of a model or of a run. Text streams as it is made. Sampling follows transformers: repetition penalty,\n"
            "temperature, top-k, top-p, min-p, in this order; --greedy takes the most likely token.",
    .example = "switchyard generate run -p \"To be, or not\" --set temperature=0.8,top_p=0.95", .flags = flags, .size = sizeof(args),
    .min_words = 1, .max_words = 1, .run = run,
};
