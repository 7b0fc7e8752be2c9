/* cli/cmd_steer.c - switchyard steer: which experts serve a task, as the text of an edit. */
#include <string.h>

#include "cli/open.h"
#include "core/json.h"
#include "infer/steering.h"

typedef struct args { sy_list task, general, set; int rows; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, task, "task", 0, SY_FLAG_LIST, "SOURCE", "text of the task, in a language that the model knows well: file or folder"),
    SY_FLAG(args, general, "general", 0, SY_FLAG_LIST, "SOURCE", "other text of that language"),
    SY_FLAG_SET(args, set, "tau, count, first_layer, last_layer, down", sy_steering_opts),
    SY_FLAG(args, rows, "rows", 0, SY_FLAG_INT, "N", "windows at once; default 16"),
    { 0 }
};

static bool stopping(void *arg) { return *((sy_cli *)arg)->stop; }

static sy_status open_text(sy_cli *cli, const sy_list *l, const sy_model *m, const sy_tokenizer *tok, sy_data **out, sy_err *err)
{
    sy_config c;
    sy_config_defaults(&c);
    SY_TRY(sy_set_sources(cli, l, &c.corpus.eval_data, err));
    c.data.seq_len = m->spec.max_position_embeddings;
    return sy_open_data(cli, &c, tok, NULL, out, err);
}

static void frequencies_json(sy_json *j, const sy_steering *s, const char *experts)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "experts"), sy_json_text(j, experts);
    sy_json_key(j, "layers"), sy_json_begin(j, '[');
    for (int l = 0; l < s->layers; l++) {
        const double *f[] = { s->task + (size_t)l * s->cols, s->general + (size_t)l * s->cols };
        static const char *const name[] = { "task", "general" };
        sy_json_begin(j, '{');
        sy_json_key(j, "layer"), sy_json_int(j, s->layer[l]);
        for (int side = 0; side < 2; side++) {
            sy_json_key(j, name[side]), sy_json_begin(j, '[');
            for (int e = 0; e < s->cols; e++) sy_json_real(j, f[side][e]);
            sy_json_end(j, ']');
        }
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static sy_status print(sy_cli *cli, const sy_steering *s, const char *experts, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    if (!cli->json) {
        if (*experts) printf("steer:experts=%s\n", experts);
        return *experts ? SY_OK : sy_fail(err, SY_ENOENT, "no expert of these layers is used so much more on the task; set a smaller tau, or count");
    }
    sy_json_open(&j, &b, 2);
    frequencies_json(&j, s, experts);
    if (!b.failed) puts(b.data);
    bool failed = b.failed;
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static sy_status options(sy_cli *cli, const args *a, sy_steering_options *o, sy_err *err)
{
    sy_opt_defaults(sy_steering_opts, o);
    for (int i = 0; i < a->set.n; i++) SY_TRY(sy_within(err, sy_opt_parse(sy_steering_opts, o, a->set.v[i], &cli->arena, NULL, err), "--set"));
    return SY_OK;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *arg = a;
    sy_steering_options o;
    sy_steering s;
    sy_model *m = NULL;
    sy_tokenizer *tok = NULL;
    sy_data *task = NULL, *general = NULL;
    sy_buf experts = { 0 };
    if (!arg->task.n || !arg->general.n) return sy_fail(err, SY_EARG, "give --task TEXT and --general TEXT: what is compared is how often an expert is used on each");
    SY_TRY(options(cli, arg, &o, err));
    SY_TRY(sy_cli_engine(cli, err));
    sy_status st = sy_open_model(cli, words[0], &m, &tok, err);
    if (st == SY_OK) st = open_text(cli, &arg->task, m, tok, &task, err);
    if (st == SY_OK) st = open_text(cli, &arg->general, m, tok, &general, err);
    if (st == SY_OK) st = sy_steering_measure(&s, m, task, general, arg->rows ? arg->rows : 16, stopping, cli, &cli->arena, err);
    if (st == SY_OK) st = sy_steering_choose(&s, &o, (int)sy_model_nominal_k(m), &experts, err);
    if (st == SY_OK) st = print(cli, &s, experts.data, err);
    sy_buf_free(&experts);
    sy_data_close(task);
    sy_data_close(general);
    sy_tokenizer_close(tok);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_steer = {
    .name = "steer", .summary = "the experts that serve a task, as an edit for generate and eval", .usage = "DIR --task SOURCE ... --general SOURCE ...",
    .text = "Counts how often each expert is used on both texts, and prints the experts of the middle layers that are used more on the task by tau, or the\n"
            "count of them that gain most, as the text of an edit. --json prints the shares of tokens of all layers, too.",
    .example = "switchyard steer run --task sums.txt --general stories.txt --set tau=0.2", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
