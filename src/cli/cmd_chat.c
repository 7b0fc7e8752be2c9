/* cli/cmd_chat.c - switchyard chat: a conversation, line by line, on a terminal or through pipes. */
#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/open.h"
#include "cli/prompt.h"
#include "core/json.h"

typedef struct args { const char *system; sy_list set; int context; bool greedy, exact; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, system, "system", 0, SY_FLAG_TEXT, "TEXT", "what is said to the model before the conversation"),
    SY_FLAG(args, greedy, "greedy", 0, SY_FLAG_ON, NULL, "always the most likely token"),
    SY_FLAG_SET(args, set, "max_new_tokens, temperature, top_k, top_p, min_p, typical_p, repetition_penalty, seed, ignore_eos", sy_generate_opts),
    SY_FLAG(args, context, "context", 0, SY_FLAG_INT, "N", "positions; default: what the model takes"),
    SY_FLAG(args, exact, "exact", 0, SY_FLAG_ON, NULL, "stored weights meet float32 activations, not activations rounded to eight bits: slower, and the numbers of switchyard logits"),
    { 0 }
};

static const char commands[] =
    "/help            this text\n"
    "/reset           forget the conversation\n"
    "/set             show the settings\n"
    "/set KEY=VALUE   change one: max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, ...\n"
    "/quit            end (Ctrl-D, too)\n"
    "Ctrl-C stops an answer. A message that begins with a slash is written with two.\n";

typedef struct message { const char *role, *text; } message;

typedef struct chat {
    sy_cli             *cli;
    const args         *arg;
    sy_generator        g;
    sy_prompter         prompter;
    sy_generate_options o;
    sy_settings         settings;
    sy_arena            said, turn;     /* life of the conversation; of one answer */
    message            *m;
    int                 n, room;
    EditLine           *el;             /* NULL: lines come from a pipe */
    History            *history;
} chat;

/* Ctrl-C means the answer, not the program. SIGTERM still sets cli->stop. */
static volatile sig_atomic_t interrupted;
static void on_interrupt(int sig) { (void)sig; interrupted = 1; }

/* --- lines ------------------------------------------------------------------------------------------------------------------ */

static char *prompt(EditLine *el) { (void)el; return "> "; }

/* The terminal hands Ctrl-C over as a key while a line is edited: the line is dropped. */
static unsigned char drop_line(EditLine *el, int key) { (void)el, (void)key; interrupted = 1; return CC_EOF; }

static sy_status open_lines(chat *c, sy_err *err)
{
    HistEvent ev;
    if (!isatty(STDIN_FILENO) || c->cli->json) return SY_OK;
    setlocale(LC_CTYPE, "");                         /* so that a line is edited by characters */
    c->el = el_init("switchyard", stdin, stdout, stderr);
    c->history = history_init();
    if (!c->el || !c->history) return sy_fail(err, SY_ENOMEM, "no memory to edit lines");
    history(c->history, &ev, H_SETSIZE, 500);
    history(c->history, &ev, H_SETUNIQUE, 1);
    el_set(c->el, EL_PROMPT, prompt);
    el_set(c->el, EL_EDITOR, "emacs");
    el_set(c->el, EL_HIST, history, c->history);
    el_set(c->el, EL_ADDFN, "drop-line", "forget what was typed", drop_line);
    el_set(c->el, EL_SETTY, "-d", "-isig", NULL);
    el_source(c->el, NULL);                          /* ~/.editrc */
    el_set(c->el, EL_BIND, "^C", "drop-line", NULL);
    return SY_OK;
}

static void close_lines(chat *c)
{
    if (c->el) el_end(c->el);
    if (c->history) history_end(c->history);
}

/* One line without its end; NULL: no more. *line belongs to getline, or is borrowed from libedit. */
static const char *read_line(chat *c, char **line, size_t *room)
{
    static const char nothing[] = "";
    int n = 0;
    const char *text = NULL;
    interrupted = 0;
    if (!c->el) {
        ssize_t k = getline(line, room, stdin);
        if (k < 0) return NULL;
        if (k && (*line)[k - 1] == '\n') (*line)[k - 1] = 0;
        return *line;
    }
    text = el_gets(c->el, &n);
    if (interrupted) {
        putchar('\n');
        return nothing;
    }
    if (!text || n <= 0) {
        putchar('\n');
        return NULL;
    }
    HistEvent ev;
    if (*text != '\n') history(c->history, &ev, H_ENTER, text);
    char *copy = sy_arena_printf(&c->turn, "%.*s", n - (text[n - 1] == '\n'), text);
    return copy ? copy : nothing;
}

/* --- the conversation ------------------------------------------------------------------------------------------------------- */

static sy_status say(chat *c, const char *role, const char *text, sy_err *err)
{
    if (c->n == c->room) {
        int room = c->room ? 2 * c->room : 16;
        message *m = sy_arena_array(&c->said, (size_t)room, sizeof *m);
        if (!m) return sy_fail(err, SY_ENOMEM, "no memory for the conversation");
        if (c->n) memcpy(m, c->m, (size_t)c->n * sizeof *m);
        c->m = m;
        c->room = room;
    }
    c->m[c->n] = (message){ role, sy_arena_strdup(&c->said, text) };
    if (!c->m[c->n].text) return sy_fail(err, SY_ENOMEM, "no memory for the conversation");
    c->n++;
    return SY_OK;
}

static sy_status begin(chat *c, sy_err *err)
{
    sy_arena_reset(&c->said);
    c->m = NULL;
    c->n = c->room = 0;
    return c->arg->system ? say(c, "system", c->arg->system, err) : SY_OK;
}

/* The ids of messages from `first` on (a system message always), then the head of an answer. */
static sy_status ids_of(chat *c, int first, int **id, size_t *n, sy_err *err)
{
    json_t *list = sy_json_array();
    sy_status st = list ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the conversation");
    for (int i = 0; i < c->n && st == SY_OK; i++) {
        if (i < first && strcmp(c->m[i].role, "system")) continue;
        json_t *m = sy_prompter_message(&c->prompter, c->m[i].role, c->m[i].text);
        if (json_array_append_new(list, m)) st = sy_fail(err, SY_ENOMEM, "no memory for the conversation");
    }
    if (st == SY_OK) st = sy_prompter_ids(&c->prompter, &(sy_conversation){ .messages = list, .answer = true }, &c->turn, id, n, err);
    json_decref(list);
    return st;
}

/* Reads what the model has not read yet. The oldest messages are left out when the context has no room for an answer; SY_ESHAPE when even
 * the last message alone leaves none. */
static sy_status catch_up(chat *c, sy_err *err)
{
    int *id, first = 0, reserve = c->o.max_new_tokens < c->g.room / 4 ? c->o.max_new_tokens : c->g.room / 4;
    size_t n = 0;
    if (reserve < 1) reserve = 1;
    for (;; first += 2) {
        SY_TRY(ids_of(c, first, &id, &n, err));
        if (n + (size_t)reserve <= (size_t)c->g.room) break;
        if (first + 2 >= c->n) return sy_fail(err, SY_ESHAPE, "this message makes %zu tokens; with an answer the context of %d positions is full: write less", n, c->g.room);
    }
    if (first) sy_log_info(&c->cli->log, "the context is full: the first %d messages are left out from here on", first);
    int same = 0;
    while (same < c->g.n && (size_t)same + 1 < n && c->g.id[same] == id[same]) same++;     /* at least one id is read: its logits are wanted */
    sy_generator_rewind(&c->g, same);
    return sy_generator_feed(&c->g, id + same, (int)n - same, NULL, err);
}

static bool stream(void *arg, const char *text, size_t n)
{
    chat *c = arg;
    if (!c->cli->json) {
        sy_put_text(stdout, text, n);
        fflush(stdout);
    }
    return !interrupted && !*c->cli->stop && !ferror(stdout);
}

static sy_status answer_json(const sy_buf *text, const sy_generation *x, sy_err *err)
{
    static const char *const why[] = { "", "end", "end", "max_new_tokens", "context full", "stopped" };
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 0);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "role"), sy_json_text(&j, "assistant");
    sy_json_key(&j, "content"), sy_json_bytes(&j, text->data ? text->data : "", text->n);
    sy_json_key(&j, "tokens"), sy_json_int(&j, x->tokens);
    sy_json_key(&j, "ended"), sy_json_text(&j, why[x->ended]);
    sy_json_end(&j, '}');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the answer") : SY_OK;
}

static sy_status answer(chat *c, const char *line, sy_err *err)
{
    static const char *const stop[] = { "\n<|" };    /* the head of the next message */
    sy_generation x = { .stop = stop, .n_stop = !c->prompter.chat, .eos = c->settings.eos, .n_eos = c->settings.n_eos, .text = stream, .arg = c };
    sy_buf text = { 0 };
    SY_TRY(say(c, "user", line, err));
    sy_status st = catch_up(c, err);
    if (st == SY_ESHAPE) c->n--;
    if (st == SY_OK) st = sy_generate(&c->g, &c->o, &x, &text, err);
    if (st == SY_OK) {
        while (text.n && text.data[text.n - 1] == '\n') text.data[--text.n] = 0;         /* the template has one of its own */
        st = say(c, "assistant", text.data ? text.data : "", err);
    }
    if (st == SY_OK && c->cli->json) st = answer_json(&text, &x, err);
    else if (st == SY_OK) puts(x.ended == SY_STOP_ASKED ? " ..." : x.ended == SY_STOP_FULL ? " ... (the context is full)" : "");
    fflush(stdout);
    if (st == SY_OK && ferror(stdout)) st = sy_fail(err, SY_EIO, "standard output cannot be written");
    sy_buf_free(&text);
    return st;
}

/* --- commands --------------------------------------------------------------------------------------------------------------- */

static void set(chat *c, const char *list)
{
    sy_generate_options o = c->o;
    sy_err err = { 0 };
    if (!*list) {
        const char *all = sy_opt_list(sy_generate_opts, &c->o, true, &c->turn);
        fprintf(stderr, "%s\n", all ? all : "");
    } else if (sy_opt_parse(sy_generate_opts, &o, list, &c->turn, NULL, &err) == SY_OK) c->o = o;
    else fprintf(stderr, "%s\n", err.text);
}

/* A line that begins with one slash. *quit: it ends the conversation. */
static sy_status command(chat *c, const char *line, bool *quit, sy_err *err)
{
    static const char *const names[] = { "/help", "/reset", "/set", "/quit", NULL };
    size_t n = strcspn(line, " \t");
    const char *rest = line + n + strspn(line + n, " \t");
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)(n < 31 ? n : 31), line);
    if (!strcmp(word, "/quit") || !strcmp(word, "/exit")) *quit = true;
    else if (!strcmp(word, "/help")) fputs(commands, stderr);
    else if (!strcmp(word, "/set")) set(c, rest);
    else if (!strcmp(word, "/reset")) return begin(c, err);
    else {
        const char *near = sy_nearest(word, names);
        fprintf(stderr, "no command is called %s%s%s\n", word, near ? "; did you mean " : "; /help lists them", near ? near : "");
    }
    return SY_OK;
}

static sy_status talk(chat *c, sy_err *err)
{
    char *line = NULL;
    size_t room = 0;
    sy_status st = begin(c, err);
    for (bool quit = false; st == SY_OK && !quit && !*c->cli->stop; ) {
        sy_arena_reset(&c->turn);
        const char *text = read_line(c, &line, &room);
        if (!text) break;
        text += strspn(text, " \t\r");
        if (!*text) continue;
        if (text[0] == '/' && text[1] != '/') st = command(c, text, &quit, err);
        else st = answer(c, text + (text[0] == '/'), err);
        if (st == SY_ESHAPE) {                       /* one message was too long: said, and the conversation goes on */
            fprintf(stderr, "%s\n", err->text);
            st = SY_OK;
        }
    }
    free(line);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    chat c = { .cli = cli, .arg = a };
    sy_model *m = NULL;
    sy_tokenizer *tok = NULL;
    struct sigaction old, own = { .sa_handler = on_interrupt };      /* without SA_RESTART: reading a pipe ends */
    SY_TRY(sy_open_settings(cli, words[0], &c.arg->set, c.arg->greedy, &c.o, &c.settings, err));
    SY_TRY(sy_cli_engine(cli, err));
    cli->eng.int8 = !c.arg->exact;
    SY_TRY(sy_open_model(cli, words[0], &m, &tok, err));
    sy_status st = sy_prompter_open(&c.prompter, words[0], tok, err);
    if (st == SY_OK) st = sy_generator_open(&c.g, m, tok, c.arg->context ? c.arg->context : sy_spec_positions(&m->spec), err);
    if (st == SY_OK) {
        sigaction(SIGINT, &own, &old);
        st = open_lines(&c, err);
        if (c.el && !cli->quiet) fprintf(stderr, "/help lists the commands; Ctrl-D ends\n");
        if (st == SY_OK) st = talk(&c, err);
        close_lines(&c);
        sigaction(SIGINT, &old, NULL);
        sy_generator_close(&c.g);
    }
    sy_arena_free(&c.said);
    sy_arena_free(&c.turn);
    sy_prompter_close(&c.prompter);
    sy_tokenizer_close(tok);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_chat = {
    .name = "chat", .summary = "a conversation with a model", .usage = "DIR",
    .text = "Every line is a message; the model answers, having read all that was said. /help lists the commands of a conversation. Messages are\n"
            "written by the model's own chat template (chat_template.jinja, tokenizer_config.json, GGUF); without one as in training on `messages`:\n"
            "<|user|>, a line break, the text, a line break; the answer follows <|assistant|> and ends where the next head begins. Special tokens\n"
            "in what you write are plain text. generation_config.json sets what --set does not. Without a terminal each line of standard input is\n"
            "a message; with --json each answer is a line {\"role\", \"content\", \"tokens\", \"ended\"}.",
    .example = "switchyard chat run --set temperature=0.7\n  echo \"Who are you?\" | switchyard chat run --greedy", .flags = flags, .size = sizeof(args),
    .min_words = 1, .max_words = 1, .run = run,
};
