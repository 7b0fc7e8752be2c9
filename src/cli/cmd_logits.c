/* cli/cmd_logits.c - switchyard logits: the numbers behind the text, for scripts and exact checks. */
#include <string.h>

#include "cli/open.h"
#include "core/alloc.h"
#include "infer/logits.h"
#include "model/safetensors.h"

typedef struct args { const char *ids, *out, *dump; int prefill; bool routes, int8; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, ids, "ids", 0, SY_FLAG_TEXT, "FILE", "token ids, whole numbers with blanks or commas between them"),
    SY_FLAG(args, out, "out", 'o', SY_FLAG_TEXT, "FILE", "the safetensors file to write"),
    SY_FLAG(args, prefill, "prefill", 0, SY_FLAG_INT, "N", "the first N ids in one pass, the rest one by one through the cache; default: all in one pass"),
    SY_FLAG(args, int8, "int8", 0, SY_FLAG_ON, NULL, "stored weights meet activations rounded to eight bits, as in generate and chat; routers stay exact"),
    SY_FLAG(args, routes, "routes", 0, SY_FLAG_ON, NULL, "the experts and weights of every token, too"),
    SY_FLAG(args, dump, "dump", 0, SY_FLAG_TEXT, "PATTERN:FILE", "write inner tensors whose names match, as in 'model.layers.3.*:inner.safetensors'"),
    { 0 }
};

typedef struct watch { sy_cli *cli; sy_progress bar; } watch;

static bool on_id(void *arg, int done)
{
    watch *w = arg;
    sy_progress_at(&w->bar, done, NULL);
    return !*w->cli->stop;
}

/* logits [T,V]; with routes experts int32, -1 = none, and weights float32, both [layers,T,K]. */
static sy_status write_logits(const sy_logits_job *j, float *logits, const char *path, sy_err *err)
{
    size_t n = j->trace ? (size_t)j->trace->layers * j->trace->n * (size_t)j->trace->K : 0;
    int32_t *experts = sy_malloc((n + 1) * sizeof *experts);
    float *weights = sy_malloc((n + 1) * sizeof *weights);
    sy_st_out out[3] = { { .name = "logits", .type = SY_DT_F32, .nd = 2, .dim = { j->T, j->model->spec.vocab_size }, .data = logits } };
    sy_status st = experts && weights ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory for the routes of %d ids", j->T);
    if (st == SY_OK && j->trace) {
        sy_trace_experts(j->trace, -1, experts);
        sy_trace_weights(j->trace, weights);
        out[1] = (sy_st_out){ .name = "experts", .type = SY_DT_I32, .nd = 3, .dim = { j->trace->layers, j->T, j->trace->K }, .data = experts };
        out[2] = (sy_st_out){ .name = "weights", .type = SY_DT_F32, .nd = 3, .dim = { j->trace->layers, j->T, j->trace->K }, .data = weights };
    }
    if (st == SY_OK) st = sy_st_write(path, out, j->trace ? 3 : 1, NULL, err);
    sy_free(experts);
    sy_free(weights);
    return st;
}

static sy_status with_model(sy_cli *cli, const args *a, sy_model *m, const char *pattern, const char *file, sy_err *err)
{
    sy_dumper dump;
    sy_trace trace;
    watch w = { .cli = cli };
    sy_logits_job j = { .model = m, .dump = pattern ? &dump : NULL, .trace = a->routes ? &trace : NULL, .seen = on_id, .arg = &w };
    int *id = NULL;
    if (a->routes && !m->n_sparse) return sy_fail(err, SY_EUNSUP, "this model is dense: its tokens choose no experts");
    SY_TRY(sy_ids_read(a->ids, m->spec.vocab_size, &cli->arena, &id, &j.T, err));
    j.id = id;
    j.prefill = a->prefill ? a->prefill : j.T;
    bool head = m->spec.lm_head;
    if (!head && a->out) return sy_fail(err, SY_EUNSUP, "this model has no head that gives logits: it is an encoder; --dump writes its inner tensors, switchyard embed its vectors");
    float *logits = head ? sy_malloc(sy_mul_size((size_t)j.T * (size_t)m->spec.vocab_size, sizeof *logits)) : NULL;
    if (head && !logits) return sy_fail(err, SY_ENOMEM, "no memory for %d x %d logits; give fewer ids", j.T, m->spec.vocab_size);
    sy_dumper_open(&dump, m, pattern ? pattern : "");
    sy_status st = sy_trace_open(&trace, m, err);
    sy_progress_open(&w.bar, stderr, "ids", j.T, cli->progress);
    if (st == SY_OK) st = sy_logits_run(&j, logits, err);
    sy_progress_close(&w.bar, NULL);
    if (st == SY_OK && a->out) st = write_logits(&j, logits, a->out, err);
    if (st == SY_OK && pattern) st = sy_dumper_write(&dump, file, err);
    sy_trace_close(&trace);
    sy_dumper_close(&dump);
    sy_free(logits);
    return st;
}

static sy_status run(sy_cli *cli, void *arg, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *a = arg;
    char line[512], dir[1024], *pattern = NULL;
    const char *file = a->dump ? strrchr(a->dump, ':') : NULL;
    sy_model *m = NULL;
    sy_ledger ledger = { 0 };
    if (!a->ids) return sy_fail(err, SY_EARG, "which ids? give --ids FILE");
    if (!a->out && !a->dump) return sy_fail(err, SY_EARG, "where to? give -o FILE, or --dump PATTERN:FILE");
    if (a->dump && (!file || file == a->dump || !file[1])) return sy_fail(err, SY_EARG, "--dump is a pattern, a colon and a file: 'model.layers.3.*:inner.safetensors'");
    if (a->dump && !(pattern = sy_arena_printf(&cli->arena, "%.*s", (int)(file - a->dump), a->dump))) return sy_fail(err, SY_ENOMEM, "no memory for the pattern");
    SY_TRY(sy_cli_engine(cli, err));
    cli->eng.int8 = a->int8;
    SY_TRY(sy_checkpoint_find(words[0], dir, sizeof dir, err));
    sy_status st = sy_model_load(&m, &cli->eng, dir, 0, &ledger, err);
    if (st == SY_OK) sy_log_info(&cli->log, "%s", sy_ledger_summary(&ledger, line, sizeof line));
    sy_ledger_free(&ledger);
    if (st == SY_OK) st = with_model(cli, a, m, pattern, file ? file + 1 : NULL, err);
    sy_model_free(m);
    return st;
}

const sy_command sy_cmd_logits = {
    .name = "logits", .summary = "logits of given token ids, and inner tensors", .usage = "DIR --ids FILE -o FILE",
    .text = "Writes float32 `logits` [ids, vocabulary]: the first --prefill ids in one pass, the rest one by one through the cache. --routes adds `experts`\n"
            "int32 (-1 = none) and `weights` float32, both [sparse layers, ids, slots]. --dump writes what modules give, under the names that they have in\n"
            "transformers' code of the model's family: model.layers.0.self_attn.q_proj, model.layers.0.mlp.gate, transformer.h.0.attn.c_attn, lm_head, ...;\n"
            "rows are ids. `kv_b_proj` is of these ids alone, also behind a cache. switchyard cmp compares two such files. docs/models.md has the names.",
    .example = "switchyard logits run --ids ids.txt -o logits.safetensors --prefill 64 --routes", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
