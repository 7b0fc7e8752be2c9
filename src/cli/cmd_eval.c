/* cli/cmd_eval.c - switchyard eval: loss of a model over held-out text, by domain. */
#include <math.h>
#include <string.h>

#include "cli/open.h"
#include "core/json.h"
#include "model/checkpoint.h"

typedef struct args { sy_list data; int seq_len, rows; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, data, "data", 'd', SY_FLAG_LIST, "SOURCE", "text to evaluate: file or folder, name=path"),
    SY_FLAG(args, seq_len, "seq-len", 0, SY_FLAG_INT, "N", "window; default: the model's max_position_embeddings"),
    SY_FLAG(args, rows, "rows", 0, SY_FLAG_INT, "N", "windows at once; default 16"),
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

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *arg = a;
    sy_config c;
    sy_model *m = NULL;
    sy_tokenizer *tok = NULL;
    sy_data *data = NULL;
    sy_evaluation e;
    char dir[1024], line[512];
    sy_ledger ledger = { 0 };
    sy_config_defaults(&c);
    if (!arg->data.n) return sy_fail(err, SY_EARG, "evaluate on what? give --data FILE-OR-FOLDER");
    SY_TRY(sy_set_sources(cli, &arg->data, &c.corpus.eval_data, err));
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(sy_checkpoint_find(words[0], dir, sizeof dir, err));
    sy_status st = sy_model_load(&m, &cli->eng, dir, 0, &ledger, err);
    if (st == SY_OK) {
        sy_log_info(&cli->log, "%s", sy_ledger_summary(&ledger, line, sizeof line));
        st = sy_tokenizer_load(&tok, dir, err);
    }
    sy_ledger_free(&ledger);
    if (st == SY_OK) {
        c.data.seq_len = arg->seq_len ? arg->seq_len : m->spec.max_position_embeddings;
        if (sy_tokenizer_vocab(tok) > m->spec.vocab_size)
            st = sy_fail(err, SY_ESHAPE, "%s: the tokenizer has %d ids, the model %d", dir, sy_tokenizer_vocab(tok), m->spec.vocab_size);
    }
    if (st == SY_OK) st = sy_open_data(cli, &c, tok, NULL, &data, err);
    if (st == SY_OK) st = sy_evaluate(m, data, arg->rows ? arg->rows : 16, &(sy_eval_hooks){ .stop = stopping, .arg = cli }, &e, &cli->arena, err);
    if (st == SY_OK) {
        if (cli->json) st = print_json(&e, err);
        else sy_print_eval(stdout, &e);
    }
    sy_data_close(data);
    sy_tokenizer_close(tok);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_eval = {
    .name = "eval", .summary = "loss and perplexity of a model, by domain", .usage = "DIR --data SOURCE ...",
    .text = "DIR is the folder of a model or of a run. All of the text is evaluated, in windows without overlap; the table has nats and bits\n"
            "per byte, nats per token and perplexity for each domain and for all.",
    .example = "switchyard eval run --data news=articles.txt", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
