/* cli/cmd_generate.c - switchyard generate: text after a prompt. */
#include <string.h>

#include "cli/open.h"
#include "cli/prompt.h"
#include "cli/routes.h"
#include "core/clock.h"
#include "core/json.h"
#include "infer/decode.h"
#include "infer/trace.h"

typedef struct args { const char *prompt, *messages, *system, *trace, *decode, *override; sy_list stop, set, edit; int context; bool greedy, chat, routes, exact; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, prompt, "prompt", 'p', SY_FLAG_TEXT, "TEXT", "what the text begins with"),
    SY_FLAG(args, chat, "chat", 0, SY_FLAG_ON, NULL, "the prompt is a user's message; the model answers"),
    SY_FLAG(args, system, "system", 0, SY_FLAG_TEXT, "TEXT", "with --chat: what is said to the model before"),
    SY_FLAG(args, messages, "messages", 0, SY_FLAG_TEXT, "FILE", "a conversation to answer: JSON, a list of messages or {messages, tools, documents, ...}"),
    SY_FLAG(args, greedy, "greedy", 0, SY_FLAG_ON, NULL, "always the most likely token"),
    SY_FLAG_SET(args, set, "max_new_tokens, temperature, top_k, top_p, min_p, typical_p, repetition_penalty, seed, ignore_eos", sy_generate_opts),
    SY_FLAG(args, stop, "stop", 0, SY_FLAG_LIST, "TEXT", "end before this text appears"),
    SY_FLAG(args, context, "context", 0, SY_FLAG_INT, "N", "positions; default: what the model takes"),
    SY_FLAG(args, exact, "exact", 0, SY_FLAG_ON, NULL, "stored weights meet float32 activations, not activations rounded to eight bits: slower, and the numbers of switchyard logits"),
    SY_FLAG(args, routes, "routes", 0, SY_FLAG_ON, NULL, "show the experts of every token, layer by layer"),
    SY_FLAG(args, trace, "trace", 0, SY_FLAG_TEXT, "FILE", "write the experts and weights of every token as a trace (safetensors)"),
    SY_FLAG(args, decode, "decode", 0, SY_FLAG_TEXT, "KEY:OPTIONS", "decoding method, e.g. scmoe:cd_beta=0.5; --set still says how ids are drawn from its scores"),
    SY_FLAG(args, override, "override", 0, SY_FLAG_TEXT, "k=N", "another number of experts a token than the model's own, or threshold=P for routers that go by one"),
    SY_FLAG(args, edit, "edit", 0, SY_FLAG_LIST, "KEY:OPTIONS", "a route edit on top of the model's own, e.g. steer:experts=1.3"),
    { 0 }
};

typedef struct job {
    sy_cli       *cli;
    const args   *arg;
    sy_generator  g;
    sy_prompter   prompter;
    sy_settings   settings;
    sy_generate_options o;
    sy_trace      trace;
    sy_override   over;
    const char   *place;                /* of the model */
    int           told, n_prompt;       /* positions whose routes were shown; those of the prompt */
    sy_status     st;                   /* of the trace, while text is made */
    sy_err       *err;
} job;

static bool wants_routes(const job *w) { return w->arg->routes || w->arg->trace; }

static bool print(void *arg, const char *text, size_t n)
{
    const job *w = arg;
    if (!w->cli->json && !w->arg->routes) {
        sy_put_text(stdout, text, n);
        fflush(stdout);
    }
    return !*w->cli->stop && !ferror(stdout);
}

static const char *const why[] = { "", "end of the document", "stop text", "max_new_tokens", "context full", "stopped" };

static sy_status print_json(const char *prompt, const sy_generation *x, const sy_buf *text, double seconds, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "prompt"), sy_json_text(&j, prompt);         /* null: a conversation */
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

/* --- what the model reads -------------------------------------------------------------------------------------------------- */

static sy_status text_ids(job *w, int **id, size_t *n, sy_err *err)
{
    const sy_tokenizer *tok = w->g.tok;
    size_t bytes = strlen(w->arg->prompt);
    if (!(*id = sy_arena_array(&w->cli->arena, sy_tokenizer_most(tok, bytes) + sy_tokenizer_front(tok), sizeof **id))) return sy_fail(err, SY_ENOMEM, "no memory for the prompt");
    SY_TRY(sy_tokenizer_prompt(tok, w->arg->prompt, bytes, *id, n, err));
    return *n ? SY_OK : sy_fail(err, SY_EARG, "the prompt is empty; give --prompt TEXT");
}

/* A list of messages, or an object whose other members are names for the template. */
static sy_status conversation(json_t *root, const char *file, sy_conversation *q, json_t *extra, sy_err *err)
{
    const char *key;
    json_t *v;
    q->messages = json_is_array(root) ? root : json_object_get(root, "messages");
    if (!json_is_array(q->messages)) return sy_fail(err, SY_EFORMAT, "%s is neither a list of messages nor an object with 'messages'", file);
    json_object_foreach(root, key, v) {
        if (!strcmp(key, "messages")) continue;
        if (!strcmp(key, "tools")) q->tools = json_is_null(v) ? NULL : v;
        else if (!strcmp(key, "documents")) q->documents = json_is_null(v) ? NULL : v;
        else if (!strcmp(key, "add_generation_prompt")) q->answer = json_is_true(v);
        else if (json_object_set(extra, key, v)) return sy_fail(err, SY_ENOMEM, "no memory for %s", file);
    }
    return SY_OK;
}

static sy_status chat_ids(job *w, int **id, size_t *n, sy_err *err)
{
    const args *a = w->arg;
    sy_conversation q = { .answer = true };
    json_t *root = NULL, *extra = sy_json_object();
    sy_status st = extra ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the conversation");
    if (st == SY_OK && a->messages) st = sy_json_read(&root, a->messages, (size_t)1 << 28, err);
    else if (st == SY_OK) {
        root = sy_json_array();
        int bad = !root || (a->system && json_array_append_new(root, json_pack("{s:s, s:s}", "role", "system", "content", a->system))) ||
                  json_array_append_new(root, json_pack("{s:s, s:s}", "role", "user", "content", a->prompt));
        if (bad) st = sy_fail(err, SY_EARG, "the prompt is not UTF-8");
    }
    if (st == SY_OK) st = conversation(root, a->messages ? a->messages : "the prompt", &q, extra, err);
    q.extra = extra;
    if (st == SY_OK) st = sy_prompter_open(&w->prompter, w->place, w->g.tok, err);
    if (st == SY_OK) st = sy_prompter_ids(&w->prompter, &q, &w->cli->arena, id, n, err);
    sy_prompter_close(&w->prompter);
    json_decref(root);
    json_decref(extra);
    return st;
}

/* --- routes as they are made ------------------------------------------------------------------------------------------------ */

static void show_routes_json(const job *w, int id, int pos, int row, bool prompt)
{
    sy_buf b = { 0 };
    sy_json j;
    size_t n = 0;
    const char *text = sy_tokenizer_piece(w->g.tok, id, &n);
    sy_json_open(&j, &b, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "pos"), sy_json_int(&j, pos);
    sy_json_key(&j, "id"), sy_json_int(&j, id);
    sy_json_key(&j, "text"), sy_json_bytes(&j, text, n);
    sy_json_key(&j, "prompt"), sy_json_bool(&j, prompt);
    sy_json_key(&j, "layers"), sy_json_begin(&j, '[');
    for (int l = 0; l < w->g.model->n_sparse; l++) {
        const sy_route *r = w->g.routes[l];
        sy_json_begin(&j, '{');
        sy_json_key(&j, "experts"), sy_json_begin(&j, '[');
        for (int s = r ? r->first_slot[row] : 0; r && s < r->first_slot[row + 1]; s++) if (r->expert[s] >= 0) sy_json_int(&j, r->expert[s]);
        sy_json_end(&j, ']');
        sy_json_key(&j, "weights"), sy_json_begin(&j, '[');
        for (int s = r ? r->first_slot[row] : 0; r && s < r->first_slot[row + 1]; s++) if (r->expert[s] >= 0) sy_json_real(&j, (double)r->weight->x[s]);
        sy_json_end(&j, ']');
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    if (!b.failed) puts(b.data);
    sy_buf_free(&b);
}

/* The T tokens that were fed last; their routes stand on the tape. */
static sy_status saw(job *w, const int *id, int T, bool prompt, sy_err *err)
{
    int pos0 = w->g.n - T;
    if (!wants_routes(w)) return SY_OK;
    for (int i = 0; i < T && w->arg->routes; i++) {
        if (w->cli->json) show_routes_json(w, id[i], pos0 + i, i, prompt);
        else sy_routes_line(stdout, w->g.model, w->g.routes, i, w->g.tok, id[i], prompt);
    }
    fflush(stdout);
    return w->arg->trace ? sy_trace_add(&w->trace, w->g.routes, 0, id, T, pos0, 0, 0, err) : SY_OK;
}

/* Called before an id is fed: the routes are of the id before it, which was told when it was fed; so the last fed one is told here. */
static bool on_token(void *arg, const sy_generator *g, int id)
{
    job *w = arg;
    (void)id;
    if (g->n > w->told) {
        w->st = saw(w, g->id + w->told, g->n - w->told, w->told < w->n_prompt, w->err);
        w->told = g->n;
    }
    return w->st == SY_OK;
}

/* --- the run ----------------------------------------------------------------------------------------------------------------- */

static sy_status generate(job *w, sy_err *err)
{
    const args *a = w->arg;
    size_t n = 0;
    int *id = NULL;
    SY_TRY(a->chat || a->messages ? chat_ids(w, &id, &n, err) : text_ids(w, &id, &n, err));
    if (!n || n > (size_t)w->g.room) return sy_fail(err, SY_ESHAPE, "the prompt has %zu tokens, the context %d positions", n, w->g.room);
    const sy_override *over = a->override ? &w->over : NULL;
    SY_TRY(sy_generator_feed(&w->g, id, (int)n, over, err));
    w->n_prompt = (int)n;
    sy_generation x = { .stop = a->stop.v, .n_stop = a->stop.n, .eos = w->settings.eos, .n_eos = w->settings.n_eos, .text = print, .token = wants_routes(w) ? on_token : NULL, .arg = w, .over = over };
    sy_buf text = { 0 };
    double began = sy_now();
    if (a->routes && !w->cli->json) sy_routes_head(stdout, w->g.model);
    if (!w->cli->json && !a->routes && !a->chat && !a->messages) sy_put_text(stdout, a->prompt, strlen(a->prompt));
    sy_status st = sy_generate(&w->g, &w->o, &x, w->cli->json ? &text : NULL, err);
    double seconds = sy_now() - began;
    if (st == SY_OK) st = w->st;
    if (st == SY_OK && wants_routes(w) && w->g.n > w->told) st = saw(w, w->g.id + w->told, w->g.n - w->told, w->told < w->n_prompt, err);
    if (!w->cli->json && !a->routes) putchar('\n');
    if (w->cli->json && st == SY_OK && !a->routes) st = print_json(a->prompt, &x, &text, seconds, err);
    sy_buf_free(&text);
    if (st == SY_OK && a->trace) st = sy_trace_write(&w->trace, a->trace, err);
    const sy_decode_hooks *h = w->g.decode ? w->g.decode->hooks : NULL;
    if (st == SY_OK && h && h->tell) {
        char line[256];
        h->tell(w->g.decoder, line, sizeof line);
        sy_log_info(&w->cli->log, "decode %s: %s", w->g.decode->name, line);
    }
    if (st == SY_OK) sy_log_info(&w->cli->log, "%d tokens, %.1f tokens/s (%s)", x.tokens, x.tokens / seconds, why[x.ended]);
    return st;
}

static sy_status check(const args *a, sy_err *err)
{
    if (a->prompt && a->messages) return sy_fail(err, SY_EARG, "--prompt and --messages are two ways to ask; give one of them");
    if (!a->prompt && !a->messages) return sy_fail(err, SY_EARG, "give --prompt TEXT or --messages FILE");
    if (a->system && !a->chat) return sy_fail(err, SY_EARG, "--system belongs to a conversation; give --chat, too");
    return SY_OK;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    job w = { .cli = cli, .arg = a, .place = words[0], .err = err };
    sy_model *m = NULL;
    sy_tokenizer *tok = NULL;
    SY_TRY(check(w.arg, err));
    if (w.arg->override) SY_TRY(sy_override_of(w.arg->override, &w.over, err));
    SY_TRY(sy_open_settings(cli, words[0], &w.arg->set, w.arg->greedy, &w.o, &w.settings, err));
    SY_TRY(sy_cli_engine(cli, err));
    cli->eng.int8 = !w.arg->exact;
    SY_TRY(sy_open_model(cli, words[0], &m, &tok, err));
    sy_status st = SY_OK;
    for (int i = 0; st == SY_OK && i < w.arg->edit.n; i++) st = sy_model_attach(m, w.arg->edit.v[i], err);
    if (st == SY_OK) st = sy_trace_open(&w.trace, m, err);
    if (st == SY_OK) st = sy_generator_open(&w.g, m, tok, w.arg->context ? w.arg->context : sy_spec_positions(&m->spec), err);
    if (st == SY_OK && w.arg->decode) st = sy_generator_decode(&w.g, w.arg->decode, err);
    if (st == SY_OK && wants_routes(&w) && !m->n_sparse) st = sy_fail(err, SY_EUNSUP, "this model is dense: its tokens choose no experts");
    if (st == SY_OK) st = generate(&w, err);
    sy_generator_close(&w.g);
    sy_trace_close(&w.trace);
    sy_tokenizer_close(tok);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_generate = {
    .name = "generate", .summary = "text after a prompt", .usage = "DIR (--prompt TEXT | --messages FILE)",
    .text = "DIR is the folder of a model or of a run. Text streams as it is made. Sampling follows transformers: repetition penalty,\n"
            "temperature, top-k, top-p, min-p, typical, in this order; --greedy takes the most likely token. generation_config.json sets what --set does\n"
            "not. With --chat or --messages the model's chat template writes the conversation, and special tokens inside messages are plain text.\n"
            "--routes prints a line for every token instead of the text, as it is made: > and the token (those of the prompt without >), then for each\n"
            "sparse layer the experts that it used, best first, - where it used none; on a terminal lines are broken between layers. With --json\n"
            "a line {\"pos\", \"id\", \"text\", \"prompt\", \"layers\": [{\"experts\", \"weights\"}]}.",
    .example = "switchyard generate run -p \"To be, or not\" --set temperature=0.8,top_p=0.95\n  switchyard generate run -p \"To be\" --routes --trace routes.safetensors", .flags = flags, .size = sizeof(args),
    .min_words = 1, .max_words = 1, .run = run,
};
