/* cli/cmd_bench.c - switchyard bench: what this machine can do, and how much of it a step, a prompt and a token use.
 *
 * Every row has the work counted as 2 operations a multiply-add: 6 x active weights + 7 L D c a token in training (attention backward with
 * recomputed scores), 2 x active weights + 2 L D c forward; recomputation for its own sake is not counted. Peaks are probed in the same run. */
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "cli/cli.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/random.h"
#include "infer/generate.h"
#include "kernels/peak.h"
#include "train/step.h"

typedef struct args { sy_list set; int repeat, batch, length; double seconds; bool csv, bf16; } args;

static const sy_flag flags[] = {
    SY_FLAG_SET(args, set, "keys of the model (switchyard help config)", sy_spec_opts),
    SY_FLAG(args, repeat, "repeat", 'r', SY_FLAG_INT, "N", "measurements after two that warm up; default 5"),
    SY_FLAG(args, batch, "batch", 'b', SY_FLAG_INT, "N", "train: rows of a step; default 8"),
    SY_FLAG(args, length, "length", 'l', SY_FLAG_INT, "N", "tokens of a row or prompt; default 512"),
    SY_FLAG(args, bf16, "bf16", 0, SY_FLAG_ON, NULL, "train, peak: products in bfloat16, as dtype=bfloat16 trains; the peak is that of its instructions where there are some"),
    SY_FLAG(args, seconds, "seconds", 0, SY_FLAG_REAL, "S", "of each probe of a peak; default 0.3"),
    SY_FLAG(args, csv, "csv", 0, SY_FLAG_ON, NULL, "one row of comma-separated values, with a header"),
    { 0 }
};

/* The config of the throughput bench: 90 M weights, 20 M of them used by a token. */
static const char *const shape[] = { "vocab_size=8192", "hidden_size=512", "num_hidden_layers=6", "num_attention_heads=8", "max_position_embeddings=2048", "layers=sparse",
                                     "num_experts=16", "moe_intermediate_size=512", "router=topk:top_k=2,norm_topk_prob=true", "balance=switch:coef=0.01" };

typedef struct row { const char *name; double tokens, seconds, best, flops; /* operations a token */ } row;

/* --- peaks ------------------------------------------------------------------------------------------------------------------------ */

typedef struct probe { const sy_kernels *k; bool bf16; char *buffer; size_t bytes; double seconds, fma[256], read[256]; } probe;

static void run_fma(void *arg, int task, int worker) { (void)worker; probe *p = arg; p->fma[task] = (p->bf16 ? sy_peak_bf16 : sy_peak_fma)(p->k, p->seconds); }
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
static void peaks(sy_cli *cli, probe *p, double *flops, double *bytes)
{
    int n = cli->eng.threads;
    double f = 0, b = 0;
    sy_pool_run(cli->eng.pool, n, run_fma, p);
    sy_pool_run(cli->eng.pool, n, run_read, p);
    for (int i = 0; i < n; i++) f += 2 * p->fma[i], b += p->read[i];
    if (f > *flops) *flops = f;
    if (b > *bytes) *bytes = b;
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
    sy_stepper step = { .model = m, .optim = &o, .seed = 1, .batch_size = rows, .bf16 = a->bf16, .steps = n + WARM_UP };
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

/* prefill: `length` tokens at once; decode: one token behind `length` others. */
static sy_status bench_serve(sy_cli *cli, const args *a, bool decode, row *r, sy_err *err)
{
    sy_spec s;
    sy_model *m = NULL;
    sy_generator g;
    sy_batch b;
    double t[MOST];
    int length = a->length ? a->length : decode ? 64 : 512, n = a->repeat ? a->repeat : decode ? 32 : 5;
    SY_TRY(model_of(cli, a, &s, err));
    SY_TRY(batch_of(&cli->arena, 1, length, s.vocab_size, &b, err));
    SY_TRY(sy_model_new(&m, &cli->eng, &s, 0, 1, err));
    sy_status st = sy_model_learn(m, NULL, err);
    if (st == SY_OK) st = sy_generator_open(&g, m, NULL, s.max_position_embeddings, err);
    if (st != SY_OK) { sy_model_free(m); return st; }
    if (decode) st = sy_generator_feed(&g, b.id, length, NULL, err);
    int i = -WARM_UP;
    for (; i < n && st == SY_OK && !*cli->stop; i++) {
        if (!decode) sy_generator_rewind(&g, 0);
        double began = sy_now();
        st = sy_generator_feed(&g, decode ? &b.id[(i + WARM_UP) % length] : b.id, decode ? 1 : length, NULL, err);
        if (i >= 0) t[i] = sy_now() - began;
    }
    *r = (row){ .name = decode ? "decode" : "prefill", .tokens = decode ? 1 : length, .flops = flops_of(m, decode ? length : length / 2.0, false) };
    st = median(t, n, i, st, r, err);
    sy_generator_close(&g);
    sy_model_free(m);
    return st;
}

/* --- output --------------------------------------------------------------------------------------------------------------------------- */

static const char *peak_of(const sy_cli *cli, const args *a) { return a->bf16 && cli->eng.k->spin16 ? "bfloat16" : "float32 FMA"; }

static sy_status print(sy_cli *cli, const args *a, const row *r, double flops, double bytes, sy_err *err)
{
    double per_s = r->tokens ? r->tokens / r->seconds : 0, share = per_s * r->flops / flops;
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
        sy_json_key(&j, "peak_flops"), sy_json_real(&j, flops);
        sy_json_key(&j, "peak_of"), sy_json_text(&j, peak_of(cli, a));
        sy_json_key(&j, "peak_read"), sy_json_real(&j, bytes);
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
        puts("bench,tokens_per_s,seconds,fastest,flops_per_token,share_of_flops,peak_of,peak_flops,peak_read,threads,kernels,commit,compiler");
        printf("%s,%.6g,%.6g,%.6g,%.6g,%.4f,%s,%.6g,%.6g,%d,%s,%s,%s\n", r->name, per_s, r->seconds, r->best, r->flops, share, peak_of(cli, a), flops, bytes, cli->eng.threads, cli->eng.k->name, SY_COMMIT, SY_COMPILER);
        return SY_OK;
    }
    printf("peak     %.1f GFLOP/s %s, %.1f GB/s read, %d threads, kernels %s\n", flops / 1e9, peak_of(cli, a), bytes / 1e9, cli->eng.threads, cli->eng.k->name);
    if (r->tokens) printf("%-8s %.1f tokens/s (median %.4f s, fastest %.4f s), %.1f MFLOP a token: %.1f GFLOP/s, %.1f %% of the peak\n", r->name, per_s, r->seconds, r->best, r->flops / 1e6,
                          per_s * r->flops / 1e9, 100 * share);
    return SY_OK;
}

static sy_status bench_prefill(sy_cli *cli, const args *a, row *r, sy_err *err) { return bench_serve(cli, a, false, r, err); }
static sy_status bench_decode(sy_cli *cli, const args *a, row *r, sy_err *err) { return bench_serve(cli, a, true, r, err); }
static sy_status bench_peak(sy_cli *cli, const args *a, row *r, sy_err *err) { (void)cli, (void)a, (void)err; *r = (row){ .name = "peak" }; return SY_OK; }

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    static const struct { const char *name; sy_status (*run)(sy_cli *, const args *, row *, sy_err *); } benches[] = {
        { "peak", bench_peak }, { "train", bench_train }, { "prefill", bench_prefill }, { "decode", bench_decode } };
    const args *arg = a;
    row r = { 0 };
    sy_spec s;
    probe p = { 0 };
    double flops = 0, bytes = 0, seconds = arg->seconds ? arg->seconds : 0.3;
    size_t which = 0;
    (void)n;
    while (which < SY_COUNT(benches) && strcmp(words[0], benches[which].name)) which++;
    if (which == SY_COUNT(benches)) return sy_fail(err, SY_EARG, "no bench is called '%.40s'; there are peak, train, prefill, decode", words[0]);
    if (!(seconds >= 1e-3 && seconds <= 60)) return sy_fail(err, SY_EARG, "--seconds %g is outside 0.001 .. 60", seconds);
    if (arg->repeat >= MOST) return sy_fail(err, SY_EARG, "--repeat %d; at most %d", arg->repeat, MOST - 1);
    int rows = arg->batch ? arg->batch : 8, length = arg->length ? arg->length : 512;
    if (rows > INT32_MAX / length) return sy_fail(err, SY_EARG, "a batch of %d rows of %d tokens is too large", rows, length);
    SY_TRY(model_of(cli, arg, &s, err));
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(probe_open(cli, &p, arg, seconds, err));
    peaks(cli, &p, &flops, &bytes);
    sy_status st = benches[which].run(cli, arg, &r, err);
    if (st == SY_OK) peaks(cli, &p, &flops, &bytes);
    sy_free(p.buffer);
    return st == SY_OK ? print(cli, arg, &r, flops, bytes, err) : st;
}

const sy_command sy_cmd_bench = {
    .name = "bench", .summary = "measure this machine, and a step, a prompt, a token on it", .usage = "peak | train | prefill | decode",
    .text = "peak probes float32 FMA (with --bf16 bfloat16) and read bandwidth. The others run the bench model (90 M weights, 20 M used by a token; --set changes it) on random\n"
            "tokens and print tokens per second, FLOPs per token and the share of the peak that was probed before and after.",
    .example = "switchyard bench train", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
