/* cli/cmd_bench.c - switchyard bench: what this machine can do, and how much of it a step, a prompt and a token use.
 *
 * Every row has the work counted as 2 operations a multiply-add: 6 x active weights + 7 L D c a token in training (attention backward with
 * recomputed scores), 2 x active weights + 2 L D c forward, the head for the last token of a prompt alone; recomputation for its own sake is not
 * counted. Bytes are those that a token needs from memory: weights of its own experts and of what every token uses, the head's, one row of
 * the embedding, keys and values; tokens of a prompt or batch share what they have in common, by the experts that so many independent tokens
 * choose. Peaks are probed in the same run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "cli/open.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/random.h"
#include "infer/generate.h"
#include "kernels/peak.h"
#include "train/step.h"

typedef struct args { sy_list set; int repeat, batch, length; double seconds; bool csv, bf16, exact, recompute; const char *model; } args;

static const sy_flag flags[] = {
    SY_FLAG_SET(args, set, "keys of the model (switchyard help config)", sy_spec_opts),
    SY_FLAG(args, repeat, "repeat", 'r', SY_FLAG_INT, "N", "measurements after two that warm up; default 5"),
    SY_FLAG(args, batch, "batch", 'b', SY_FLAG_INT, "N", "train: rows of a step; batch: requests side by side; default 8"),
    SY_FLAG(args, length, "length", 'l', SY_FLAG_INT, "N", "tokens of a row or prompt, default 512; decode, batch: tokens of the context, default 64"),
    SY_FLAG(args, exact, "exact", 0, SY_FLAG_ON, NULL, "prefill, decode, batch: stored weights meet float32 activations, not activations rounded to eight bits"),
    SY_FLAG(args, bf16, "bf16", 0, SY_FLAG_ON, NULL, "train, peak: products in bfloat16, as dtype=bfloat16 trains; the peak is that of its instructions where there are some"),
    SY_FLAG(args, recompute, "recompute", 0, SY_FLAG_ON, NULL, "train: layers are made again in backward, as recompute=layers trains"),
    SY_FLAG(args, seconds, "seconds", 0, SY_FLAG_REAL, "S", "of each probe of a peak; default 0.3"),
    SY_FLAG(args, csv, "csv", 0, SY_FLAG_ON, NULL, "one row of comma-separated values, with a header"),
    { 0 }
};

/* The config of the throughput bench: 90 M weights, 20 M of them used by a token. */
static const char *const shape[] = { "vocab_size=8192", "hidden_size=512", "num_hidden_layers=6", "num_attention_heads=8", "max_position_embeddings=2048", "layers=sparse",
                                     "num_experts=16", "moe_intermediate_size=512", "router=topk:top_k=2,norm_topk_prob=true", "balance=switch:coef=0.01" };

typedef struct row { const char *name; double tokens, seconds, best, flops, bytes; /* operations and bytes a token; bytes 0: not counted */ } row;
typedef struct peak { double flops, int8, read; } peak;

/* --- peaks ------------------------------------------------------------------------------------------------------------------------ */

typedef struct probe { const sy_kernels *k; bool bf16; char *buffer; size_t bytes; double seconds, fma[256], int8[256], read[256]; } probe;

static void run_fma(void *arg, int task, int worker) { (void)worker; probe *p = arg; p->fma[task] = (p->bf16 ? sy_peak_bf16 : sy_peak_fma)(p->k, p->seconds); }
static void run_int8(void *arg, int task, int worker) { (void)worker; probe *p = arg; p->int8[task] = sy_peak_int8(sy_int8_for(p->k), p->seconds); }
static void run_read(void *arg, int task, int worker)
{
    (void)worker;
    probe *p = arg;
    p->read[task] = sy_peak_read(p->k, p->buffer + (size_t)task * p->bytes, p->bytes, p->seconds);
}

/* The buffers are taken once: on a virtual machine clearing them costs more than probing. */
static sy_status probe_open(sy_cli *cli, probe *p, const args *a, double seconds, sy_err *err)
{
    size_t n = (size_t)cli->eng.threads;
    *p = (probe){ .k = cli->eng.k, .bf16 = a->bf16 && cli->eng.k->spin16, .bytes = (size_t)256 << 20, .seconds = seconds };
    if (!(p->buffer = sy_aligned(4096, p->bytes * n))) return sy_fail(err, SY_ENOMEM, "no memory to measure the memory (%zu bytes)", p->bytes * n);
    memset(p->buffer, 1, p->bytes * n);
    return SY_OK;
}

/* A neighbour may come or go: the largest of all probes is the machine's. */
static void peaks(sy_cli *cli, probe *p, peak *most)
{
    int n = cli->eng.threads;
    peak all = { 0 };
    sy_pool_run(cli->eng.pool, n, run_fma, p);
    sy_pool_run(cli->eng.pool, n, run_int8, p);
    sy_pool_run(cli->eng.pool, n, run_read, p);
    for (int i = 0; i < n; i++) all.flops += 2 * p->fma[i], all.int8 += 2 * p->int8[i], all.read += p->read[i];
    if (all.flops > most->flops) most->flops = all.flops;
    if (all.int8 > most->int8) most->int8 = all.int8;
    if (all.read > most->read) most->read = all.read;
}

/* --- rows --------------------------------------------------------------------------------------------------------------------------- */

static sy_status model_of(sy_cli *cli, const args *a, sy_spec *s, sy_err *err)
{
    sy_spec_defaults(s);
    for (size_t i = 0; i < SY_COUNT(shape) + (size_t)a->set.n; i++) {
        const char *kv = i < SY_COUNT(shape) ? shape[i] : a->set.v[i - SY_COUNT(shape)], *eq = strchr(kv, '=');
        char key[64];
        if (!eq) return sy_fail(err, SY_EARG, "--set %s: write KEY=VALUE", kv);
        snprintf(key, sizeof key, "%.*s", (int)(eq - kv), kv);
        SY_TRY(sy_opt_set(sy_spec_opts, s, key, eq + 1, &cli->arena, NULL, err));
    }
    sy_spec whole = *s;
    return sy_cli_own_sizes(sy_spec_check(&whole, err), err);
}

static double flops_of(const sy_model *m, double context, bool train)
{
    double active, k = sy_model_nominal_k(m), madds;
    sy_spec_size(&m->spec, k ? k : m->spec.num_experts, NULL, &active, &madds);
    double attn = (double)m->spec.num_hidden_layers * m->spec.num_attention_heads * m->spec.head_dim * context;
    return train ? 6 * madds + 7 * attn : 2 * madds + 2 * attn;
}

/* Bytes that `tokens` independent tokens of one pass need, `heads` of them logits, with `context` positions of cache each. */
static double bytes_of(sy_model *m, double tokens, double context)
{
    const sy_spec *s = &m->spec;
    double sum = 0, k = sy_model_nominal_k(m), used = k > 0 && s->num_experts > 0 ? 1 - pow(1 - k / s->num_experts, tokens) : 1;
    for (int i = 0; i < m->params.n; i++) {
        const sy_param *p = m->params.p[i];
        double all = (double)(p->w.type == SY_W_REAL ? p->n * sizeof(sy_real) : sy_wtype_bytes(p->w.type, p->n));
        bool looked_up = p == m->positions || p == m->types || (p == m->embed && &p->w != sy_model_head(m));
        sum += looked_up ? all / p->w.dim[0] * tokens : strstr(p->name, ".experts.{e}.") ? all * used : all;
    }
    return sum + tokens * context * s->num_hidden_layers * (s->attention == SY_MLA ? s->kv_lora_rank + s->qk_rope_head_dim : 2.0 * s->num_key_value_heads * s->head_dim) * sizeof(sy_real);
}

/* Rows of random ids, each one document. */
static sy_status batch_of(sy_arena *a, int rows, int length, int vocab, sy_batch *b, sy_err *err)
{
    int T = rows * length, *id = sy_arena_array(a, (size_t)T, sizeof *id), *label = sy_arena_array(a, (size_t)T, sizeof *label), *pos = sy_arena_array(a, (size_t)T, sizeof *pos);
    int *seq = sy_arena_array(a, (size_t)T, sizeof *seq);
    sy_segment *seg = sy_arena_array(a, (size_t)rows, sizeof *seg);
    uint64_t *no = sy_arena_array(a, (size_t)rows, sizeof *no), key = sy_key(1, SY_FOR_DATA, 0, 0, 0);
    if (!id || !label || !pos || !seq || !seg || !no) return sy_fail(err, SY_ENOMEM, "no memory for a batch of %d tokens", T);
    for (int i = 0; i < T; i++) {
        id[i] = (int)sy_draw_below(key, (uint64_t)i, 0, (uint64_t)vocab);
        label[i] = (int)sy_draw_below(key, (uint64_t)i + 1, 0, (uint64_t)vocab);
        pos[i] = i % length;
        seq[i] = i / length;
    }
    for (int r = 0; r < rows; r++) seg[r] = (sy_segment){ .row = r * length, .n = length }, no[r] = (uint64_t)r;
    *b = (sy_batch){ .T = T, .n_seg = rows, .id = id, .label = label, .pos = pos, .seq = seq, .seg = seg, .seq_no = no };
    return SY_OK;
}

static int by_value(const void *a, const void *b) { double x = *(const double *)a, y = *(const double *)b; return (x > y) - (x < y); }

/* The median of n measurements; fewer than that were made when the user stopped or a step failed. */
static sy_status median(double *t, int n, int made, sy_status st, row *r, sy_err *err)
{
    if (st != SY_OK) return st;
    if (made < n) return sy_fail(err, SY_ESTOP, "stopped behind %d of %d measurements", made < 0 ? 0 : made, n);
    qsort(t, (size_t)n, sizeof *t, by_value);
    r->seconds = n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
    r->best = t[0];
    return SY_OK;
}

enum { MOST = 101, WARM_UP = 2 };      /* the first step finds the high-water mark, the second touches the one block that holds it */

static sy_status bench_train(sy_cli *cli, const args *a, row *r, sy_err *err)
{
    sy_spec s;
    sy_model *m = NULL;
    sy_batch b;
    sy_optim o;
    double t[MOST];
    int rows = a->batch ? a->batch : 8, length = a->length ? a->length : 512, n = a->repeat ? a->repeat : 5;
    SY_TRY(model_of(cli, a, &s, err));
    SY_TRY(batch_of(&cli->arena, rows, length, s.vocab_size, &b, err));
    SY_TRY(sy_model_new(&m, &cli->eng, &s, SY_MODEL_TRAIN, 1, err));
    sy_opt_defaults(sy_optim_opts, &o);
    sy_stepper step = { .model = m, .optim = &o, .seed = 1, .batch_size = rows, .bf16 = a->bf16, .recompute = a->recompute, .steps = n + WARM_UP };
    sy_step_result res;
    sy_tape_init(&step.tape, &cli->eng, true);
    sy_status st = sy_stepper_learn(&step, err);
    int i = -WARM_UP;
    for (; i < n && st == SY_OK && !*cli->stop; i++) {
        double began = sy_now();
        st = sy_stepper_batches(&step, &b, 1, &res, err);
        if (i >= 0) t[i] = sy_now() - began;
        sy_log_info(&cli->log, "step %d: %.3f s", i + WARM_UP, sy_now() - began);
    }
    *r = (row){ .name = "train", .tokens = b.T, .flops = flops_of(m, length, true) };
    st = median(t, n, i, st, r, err);
    sy_stepper_close(&step);
    sy_model_free(m);
    return st;
}

/* The model of the command line, or the bench model with random weights. */
static sy_status open_served(sy_cli *cli, const args *a, sy_model **m, sy_err *err)
{
    sy_spec s;
    cli->eng.int8 = !a->exact;
    if (a->model) return sy_open_model(cli, a->model, m, NULL, err);
    SY_TRY(model_of(cli, a, &s, err));
    SY_TRY(sy_model_new(m, &cli->eng, &s, 0, 1, err));
    sy_status st = sy_model_learn(*m, NULL, err);
    if (st != SY_OK) sy_model_free(*m);
    return st;
}

/* prefill: `length` tokens at once; decode: one token behind `length` others. */
static sy_status serve(sy_cli *cli, const args *a, bool decode, sy_model *m, row *r, sy_err *err)
{
    sy_generator g;
    sy_batch b;
    double t[MOST];
    int length = a->length ? a->length : decode ? 64 : 512, n = a->repeat ? a->repeat : decode ? 32 : 5, room = length + (decode ? n + WARM_UP : 0);
    SY_TRY(batch_of(&cli->arena, 1, length, m->spec.vocab_size, &b, err));
    if (room > m->spec.max_position_embeddings) return sy_fail(err, SY_EARG, "%d tokens: this model takes %d positions; give a smaller --length", room, m->spec.max_position_embeddings);
    SY_TRY(sy_generator_open(&g, m, NULL, room, err));
    sy_status st = decode ? sy_generator_feed(&g, b.id, length, NULL, err) : SY_OK;
    int i = -WARM_UP;
    for (; i < n && st == SY_OK && !*cli->stop; i++) {
        if (!decode) sy_generator_rewind(&g, 0);
        double began = sy_now();
        st = sy_generator_feed(&g, decode ? &b.id[(i + WARM_UP) % length] : b.id, decode ? 1 : length, NULL, err);
        if (i >= 0) t[i] = sy_now() - began;
    }
    double context = decode ? length + WARM_UP + n / 2.0 : length / 2.0, head = 2.0 * m->spec.vocab_size * m->spec.hidden_size;
    *r = (row){ .name = decode ? "decode" : "prefill", .tokens = decode ? 1 : length, .flops = flops_of(m, context, false) - (decode ? 0 : head * (length - 1) / length),
                .bytes = decode ? bytes_of(m, 1, context) : bytes_of(m, length, 0) / length };
    st = median(t, n, i, st, r, err);
    sy_generator_close(&g);
    return st;
}

/* One token of each of `rows` requests, all in one pass, behind `length` others of its own. */
static sy_status serve_batch(sy_cli *cli, const args *a, sy_model *m, row *r, sy_err *err)
{
    double t[MOST];
    int length = a->length ? a->length : 64, rows = a->batch ? a->batch : 8, n = a->repeat ? a->repeat : 32, room = length + n + WARM_UP, open = 0;
    sy_kv *kv = sy_arena_array(&cli->arena, (size_t)rows, sizeof *kv), **each = sy_arena_array(&cli->arena, (size_t)rows, sizeof *each);
    int *row_of = sy_arena_array(&cli->arena, (size_t)rows, sizeof *row_of);
    sy_batch first, b;
    sy_tape tape;
    if (room > m->spec.max_position_embeddings) return sy_fail(err, SY_EARG, "%d tokens: this model takes %d positions; give a smaller --length", room, m->spec.max_position_embeddings);
    if (!kv || !each || !row_of) return sy_fail(err, SY_ENOMEM, "no memory for %d requests", rows);
    SY_TRY(batch_of(&cli->arena, rows, length, m->spec.vocab_size, &first, err));
    SY_TRY(batch_of(&cli->arena, rows, 1, m->spec.vocab_size, &b, err));
    sy_status st = SY_OK;
    for (; open < rows && st == SY_OK; open++) {
        st = sy_kv_open(&kv[open], &m->spec, room, err);
        each[open] = &kv[open], row_of[open] = open;
    }
    sy_tape_init(&tape, &cli->eng, false);
    sy_run run = { .mode = SY_SERVE, .kv = each };
    if (st == SY_OK) sy_model_hidden(m, &tape, &first, &run), st = sy_tape_status(&tape, err);
    int i = -WARM_UP;
    for (; i < n && st == SY_OK && !*cli->stop; i++) {
        for (int s = 0; s < rows; s++) {
            int at = kv[s].n;
            ((int *)b.id)[s] = first.id[s * length + at % length];
            ((int *)b.pos)[s] = at;
            ((sy_segment *)b.seg)[s].pos0 = at;
        }
        double began = sy_now();
        sy_tape_reset(&tape);
        sy_model_logits(m, &tape, sy_model_hidden(m, &tape, &b, &run), row_of, rows);
        st = sy_tape_status(&tape, err);
        if (i >= 0) t[i] = sy_now() - began;
    }
    double context = length + WARM_UP + n / 2.0;
    *r = (row){ .name = "batch", .tokens = rows, .flops = flops_of(m, context, false), .bytes = bytes_of(m, rows, context) / rows };
    st = median(t, n, i, st, r, err);
    sy_tape_free(&tape);
    for (int s = 0; s < open; s++) sy_kv_close(&kv[s]);
    return st;
}

/* --- output --------------------------------------------------------------------------------------------------------------------------- */

static const char *peak_of(const sy_cli *cli, const args *a) { return a->bf16 && cli->eng.k->spin16 ? "bfloat16" : "float32 FMA"; }

static sy_status print(sy_cli *cli, const args *a, const row *r, const peak *p, sy_err *err)
{
    double per_s = r->tokens ? r->tokens / r->seconds : 0, share = per_s * r->flops / p->flops, of_int8 = per_s * r->flops / p->int8, of_read = per_s * r->bytes / p->read;
    if (cli->json) {
        sy_buf b = { 0 };
        sy_json j;
        sy_json_open(&j, &b, 0);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "bench"), sy_json_text(&j, r->name);
        if (r->tokens) {
            sy_json_key(&j, "tokens_per_s"), sy_json_real(&j, per_s);
            sy_json_key(&j, "seconds"), sy_json_real(&j, r->seconds);
            sy_json_key(&j, "fastest"), sy_json_real(&j, r->best);
            sy_json_key(&j, "flops_per_token"), sy_json_real(&j, r->flops);
            sy_json_key(&j, "share_of_flops"), sy_json_real(&j, share);
        }
        if (r->bytes) {
            sy_json_key(&j, "bytes_per_token"), sy_json_real(&j, r->bytes);
            sy_json_key(&j, "share_of_read"), sy_json_real(&j, of_read);
            sy_json_key(&j, "share_of_int8"), sy_json_real(&j, of_int8);
        }
        if (a->model) sy_json_key(&j, "model"), sy_json_text(&j, a->model);
        sy_json_key(&j, "peak_flops"), sy_json_real(&j, p->flops);
        sy_json_key(&j, "peak_of"), sy_json_text(&j, peak_of(cli, a));
        sy_json_key(&j, "peak_int8"), sy_json_real(&j, p->int8);
        sy_json_key(&j, "peak_read"), sy_json_real(&j, p->read);
        sy_json_key(&j, "threads"), sy_json_int(&j, cli->eng.threads);
        sy_json_key(&j, "kernels"), sy_json_text(&j, cli->eng.k->name);
        sy_json_key(&j, "commit"), sy_json_text(&j, SY_COMMIT);
        sy_json_end(&j, '}');
        bool failed = b.failed;
        if (!failed) puts(b.data);
        sy_buf_free(&b);
        return failed ? sy_fail(err, SY_ENOMEM, "no memory for the row") : SY_OK;
    }
    if (a->csv) {
        puts("bench,tokens_per_s,seconds,fastest,flops_per_token,share_of_flops,bytes_per_token,share_of_read,share_of_int8,peak_of,peak_flops,peak_int8,peak_read,threads,kernels,commit,compiler");
        printf("%s,%.6g,%.6g,%.6g,%.6g,%.4f,%.6g,%.4f,%.4f,%s,%.6g,%.6g,%.6g,%d,%s,%s,%s\n", r->name, per_s, r->seconds, r->best, r->flops, share, r->bytes, of_read, of_int8, peak_of(cli, a), p->flops,
               p->int8, p->read, cli->eng.threads, cli->eng.k->name, SY_COMMIT, SY_COMPILER);
        return SY_OK;
    }
    printf("peak     %.1f GFLOP/s %s, %.1f GOP/s int8, %.1f GB/s read, %d threads, kernels %s\n", p->flops / 1e9, peak_of(cli, a), p->int8 / 1e9, p->read / 1e9, cli->eng.threads, cli->eng.k->name);
    if (r->tokens) printf("%-8s %.1f tokens/s (median %.4f s, fastest %.4f s), %.1f MFLOP a token: %.1f GFLOP/s, %.1f %% of the peak\n", r->name, per_s, r->seconds, r->best, r->flops / 1e6,
                          per_s * r->flops / 1e9, 100 * share);
    if (r->bytes) printf("         %.1f %% of the int8 peak; %.1f MB a token: %.1f GB/s, %.1f %% of what reading gives\n", 100 * of_int8, r->bytes / 1e6, per_s * r->bytes / 1e9, 100 * of_read);
    return SY_OK;
}

typedef enum { PREFILL, DECODE, BATCH } serving;

static sy_status bench_serve(sy_cli *cli, const args *a, serving what, row *r, sy_err *err)
{
    sy_model *m = NULL;
    SY_TRY(open_served(cli, a, &m, err));
    sy_status st = what == BATCH ? serve_batch(cli, a, m, r, err) : serve(cli, a, what == DECODE, m, r, err);
    sy_model_free(m);
    return st;
}

static sy_status bench_prefill(sy_cli *cli, const args *a, row *r, sy_err *err) { return bench_serve(cli, a, PREFILL, r, err); }
static sy_status bench_decode(sy_cli *cli, const args *a, row *r, sy_err *err) { return bench_serve(cli, a, DECODE, r, err); }
static sy_status bench_batch(sy_cli *cli, const args *a, row *r, sy_err *err) { return bench_serve(cli, a, BATCH, r, err); }
static sy_status bench_peak(sy_cli *cli, const args *a, row *r, sy_err *err) { (void)cli, (void)a, (void)err; *r = (row){ .name = "peak" }; return SY_OK; }

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    static const struct { const char *name; sy_status (*run)(sy_cli *, const args *, row *, sy_err *); } benches[] = {
        { "peak", bench_peak }, { "train", bench_train }, { "prefill", bench_prefill }, { "decode", bench_decode }, { "batch", bench_batch } };
    args *arg = a;
    row r = { 0 };
    sy_spec s;
    probe p = { 0 };
    peak most = { 0 };
    double seconds = arg->seconds ? arg->seconds : 0.3;
    size_t which = 0;
    while (which < SY_COUNT(benches) && strcmp(words[0], benches[which].name)) which++;
    if (which == SY_COUNT(benches)) return sy_fail(err, SY_EARG, "no bench is called '%.40s'; there are peak, train, prefill, decode, batch", words[0]);
    arg->model = n > 1 ? words[1] : NULL;
    if (arg->model && which < 2) return sy_fail(err, SY_EARG, "bench %s takes no model; prefill, decode and batch do", words[0]);
    if (arg->model && arg->set.n) return sy_fail(err, SY_EARG, "--set changes the bench model; %s is as it is", arg->model);
    if (!(seconds >= 1e-3 && seconds <= 60)) return sy_fail(err, SY_EARG, "--seconds %g is outside 0.001 .. 60", seconds);
    if (arg->repeat >= MOST) return sy_fail(err, SY_EARG, "--repeat %d; at most %d", arg->repeat, MOST - 1);
    int rows = arg->batch ? arg->batch : 8, length = arg->length ? arg->length : 512;
    if (rows > INT32_MAX / length) return sy_fail(err, SY_EARG, "a batch of %d rows of %d tokens is too large", rows, length);
    SY_TRY(model_of(cli, arg, &s, err));
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(probe_open(cli, &p, arg, seconds, err));
    peaks(cli, &p, &most);
    sy_status st = benches[which].run(cli, arg, &r, err);
    if (st == SY_OK) peaks(cli, &p, &most);
    sy_free(p.buffer);
    return st == SY_OK ? print(cli, arg, &r, &most, err) : st;
}

const sy_command sy_cmd_bench = {
    .name = "bench", .summary = "measure this machine, and a step, a prompt, a token on it", .usage = "peak | train | prefill [MODEL] | decode [MODEL] | batch [MODEL]",
    .text = "peak probes float32 FMA (with --bf16 bfloat16), products of bytes, and read bandwidth. The others run the bench model (90 M weights, 20 M used by a token; --set\n"
            "changes it) or a model of yours on random tokens and print tokens per second, operations and bytes per token and their shares of the peaks that were probed\n"
            "before and after. prefill reads a prompt, decode makes one token after the other, batch makes one for each of --batch requests at a time.",
    .example = "switchyard bench decode model.gguf\n  switchyard bench train", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 2, .run = run,
};
