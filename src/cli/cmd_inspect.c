/* cli/cmd_inspect.c - switchyard inspect: what a model folder, a run folder, a safetensors file or a tokenizer.json holds. */
#include <stdlib.h>
#include <string.h>

#include "cli/inspect_gguf.h"
#include "cli/open.h"
#include "core/file.h"
#include "core/json.h"
#include "model/checkpoint.h"
#include "model/family.h"
#include "model/gguf_files.h"
#include "model/safetensors.h"

typedef struct args { bool tensors; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, tensors, "tensors", 0, SY_FLAG_ON, NULL, "every tensor with type and shape"),
    { 0 }
};

/* What a tensor is, by its name; the first pattern that is found decides. */
static const struct { const char *pattern, *kind; } kinds[] = {
    { "norm", "norms" }, { "LayerNorm", "norms" }, { ".ln_", "norms" }, { "embed_out", "head" }, { "lm_head", "head" }, { "embed", "embedding" }, { "wte.", "embedding" }, { "wpe.", "embedding" },
    { ".self_attn.", "attention" }, { ".attention.", "attention" }, { ".attn.", "attention" }, { "shared_expert", "shared experts" }, { ".experts.", "experts" },
    { "moe.input_linear", "experts" }, { "moe.output_linear", "experts" }, { ".gate.", "routers" }, { ".router", "routers" }, { ".mlp.", "dense FFN" }, { ".feed_forward.", "dense FFN" },
    { ".intermediate.", "dense FFN" }, { ".output.dense.", "dense FFN" }, { "", "other" },
};
enum { KINDS = SY_COUNT(kinds), SHARDS = 4096 };

typedef struct share { int tensors; uint64_t values, bytes; } share;

typedef struct shard { const char *path; sy_map map; sy_st st; } shard;

typedef struct found {                  /* all that is known of a path */
    const char   *path, *what;          /* "model", "run", "safetensors", "tokenizer" */
    sy_arena      arena;
    shard        *shard; int n_shards;
    share         all, kind[KINDS], type[SY_DTYPES];
    const char   *model_type;           /* of config.json; NULL without one */
    bool          opens;                /* a model that this version opens: card is valid */
    const char   *closed;               /* why it does not, or NULL */
    sy_card       card;
    double        total, active, madds;
    sy_ledger     ledger;
    sy_tokenizer *tok;
    json_t       *run;                  /* run.json, or NULL */
    char          checkpoint[1024];     /* the folder that the tensors come from */
} found;

static void found_free(found *f)
{
    for (int i = 0; i < f->n_shards; i++) sy_map_close(&f->shard[i].map);
    sy_ledger_free(&f->ledger);
    sy_tokenizer_close(f->tok);
    json_decref(f->run);
    sy_arena_free(&f->arena);
}

/* --- looking ---------------------------------------------------------------------------------------------------------------- */

static int kind_of(const char *name)
{
    int k = 0;
    while (!strstr(name, kinds[k].pattern)) k++;
    for (int i = 0; i < k; i++) if (!strcmp(kinds[i].kind, kinds[k].kind)) return i;     /* one line for one kind */
    return k;
}

static void count(share *s, const sy_st_tensor *t)
{
    s->tensors++;
    s->values += t->n;
    s->bytes += t->bytes;
}

static sy_status look_at_file(found *f, const char *path, sy_err *err)
{
    shard *s = &f->shard[f->n_shards];
    if (f->n_shards == SHARDS) return sy_fail(err, SY_EUNSUP, "%s: more than %d files of tensors", f->path, SHARDS);
    if (!(s->path = sy_arena_strdup(&f->arena, path))) return sy_fail(err, SY_ENOMEM, "no memory to look at %s", path);
    SY_TRY(sy_map_open_windows(&s->map, path, err));
    f->n_shards++;
    SY_TRY(sy_st_open(&s->st, &s->map, s->path, &f->arena, err));
    for (int i = 0; i < s->st.n; i++) {
        const sy_st_tensor *t = &s->st.t[i];
        count(&f->all, t);
        count(&f->kind[kind_of(t->name)], t);
        count(&f->type[t->type], t);
    }
    return SY_OK;
}

static sy_status look_at_tensors(found *f, const char *dir, sy_err *err)
{
    const char **name;
    char path[1024];
    int n;
    SY_TRY(sy_dir_list(dir, &f->arena, &name, &n, err));
    for (int i = 0; i < n; i++) {
        size_t len = strlen(name[i]);
        if (len < 12 || strcmp(name[i] + len - 12, ".safetensors") || !strcmp(name[i], "training_state.safetensors")) continue;
        SY_TRY(sy_path(path, sizeof path, dir, name[i], err));
        SY_TRY(look_at_file(f, path, err));
    }
    return SY_OK;
}

/* Every parameter is looked for in the files, none is read: a model may be larger than the memory. */
static sy_status find_pieces(const sy_model *m, sy_pieces *p, sy_err *err)
{
    for (int i = 0; i < m->params.n; i++)
        for (int e = 0, n = sy_param_pieces(m->params.p[i]); e < n; e++) {
            sy_place at;
            sy_source from;
            SY_TRY(sy_pieces_find(p, m->params.p[i], e, &at, &from, err));
            if (from.t) SY_TRY(sy_place_check(&at, &from, err));
        }
    return sy_pieces_settle(p, err);
}

/* Parameters in all, and those that a token uses: of experts only so many as the router sends it to. */
static void count_parameters(found *f, const sy_model *m)
{
    double k = sy_model_nominal_k(m), E = f->card.spec.num_experts;
    for (int i = 0; i < m->params.n; i++) {
        const sy_param *p = m->params.p[i];
        bool expert = strstr(p->name, ".experts.{e}.") && k > 0 && k < E;
        f->total += (double)p->n;
        f->active += expert ? (double)p->n * k / E : (double)p->n;
    }
    sy_spec_size(&f->card.spec, k > 0 ? k : E, NULL, NULL, &f->madds);
}

/* A ledger that does not settle is a finding, not a failure to look. */
static sy_status look_at_model(sy_cli *cli, found *f, const char *dir, sy_err *err)
{
    sy_model *m = NULL;
    sy_pieces *p = NULL;
    char path[1024];
    sy_ledger_open(&f->ledger, "load", dir);
    f->ledger.strict = cli->strict;
    SY_TRY(sy_path(path, sizeof path, dir, "config.json", err));
    sy_status st = sy_card_read(&f->card, path, &f->arena, &f->ledger, err);
    if (st == SY_EUNSUP) return (f->closed = sy_arena_strdup(&f->arena, err->text)) ? SY_OK : sy_fail(err, SY_ENOMEM, "no memory to look at %s", path);
    SY_TRY(st);
    f->opens = true;
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(sy_model_new(&m, &cli->eng, &f->card.spec, SY_MODEL_BARE, 0, err));
    count_parameters(f, m);
    st = sy_pieces_open(&p, dir, &f->card, m, &f->ledger, err);
    if (st == SY_OK) st = find_pieces(m, p, err);
    sy_pieces_close(p);
    sy_model_free(m);
    return st == SY_ELEDGER ? SY_OK : st;
}

static sy_status look_at_folder(sy_cli *cli, found *f, sy_err *err)
{
    char path[1024];
    json_t *config = NULL;
    SY_TRY(sy_checkpoint_find(f->path, f->checkpoint, sizeof f->checkpoint, err));
    SY_TRY(sy_path(path, sizeof path, f->path, "run.json", err));
    f->what = "model";
    if (sy_file_exists(path)) {
        f->what = "run";
        SY_TRY(sy_json_read(&f->run, path, 1 << 22, err));
    }
    SY_TRY(sy_path(path, sizeof path, f->checkpoint, "config.json", err));
    SY_TRY(sy_json_read(&config, path, 1 << 22, err));
    const char *type = json_string_value(json_object_get(config, "model_type"));
    f->model_type = sy_arena_strdup(&f->arena, type ? type : "(none)");
    json_decref(config);
    if (!f->model_type) return sy_fail(err, SY_ENOMEM, "no memory to look at %s", path);
    SY_TRY(look_at_tensors(f, f->checkpoint, err));
    SY_TRY(look_at_model(cli, f, f->checkpoint, err));
    SY_TRY(sy_path(path, sizeof path, f->checkpoint, "tokenizer.json", err));
    return sy_file_exists(path) ? sy_tokenizer_load(&f->tok, path, err) : SY_OK;
}

static sy_status look(sy_cli *cli, found *f, sy_err *err)
{
    size_t n = strlen(f->path);
    if (!(f->shard = sy_arena_array(&f->arena, SHARDS, sizeof *f->shard))) return sy_fail(err, SY_ENOMEM, "no memory to look at %s", f->path);
    if (sy_is_dir(f->path)) return look_at_folder(cli, f, err);
    if (!sy_file_exists(f->path)) return sy_fail(err, SY_ENOENT, "%s does not exist", f->path);
    if (n > 5 && !strcmp(f->path + n - 5, ".json")) {
        f->what = "tokenizer";
        return sy_tokenizer_load(&f->tok, f->path, err);
    }
    f->what = "safetensors";
    return look_at_file(f, f->path, err);
}

/* --- showing ---------------------------------------------------------------------------------------------------------------- */

static char *layers_of(const sy_spec *s, char *buf, size_t size)     /* "dssss" */
{
    size_t n = 0;
    for (int l = 0; l < s->num_hidden_layers && n + 1 < size; l++) buf[n++] = sy_spec_sparse(s, l) ? 's' : 'd';
    buf[n] = 0;
    return buf;
}

static char *shape_of(const sy_st_tensor *t, char *buf, size_t size)
{
    size_t n = 0;
    *buf = 0;
    for (int d = 0; d < t->nd && n < size; d++) n += (size_t)snprintf(buf + n, size - n, "%s%lld", d ? " x " : "", (long long)t->dim[d]);
    return buf;
}

static void show_share(const char *name, const share *s)
{
    if (s->tensors) printf("  %-16s %8d tensors %12.6g M values %12.6g MB\n", name, s->tensors, (double)s->values / 1e6, (double)s->bytes / 1e6);
}

static void show_names(const found *f, sy_ledger_kind kind, const char *what)
{
    int shown = 0;
    if (!f->ledger.count[kind]) return;
    printf("%-12s", what);
    for (int i = 0; i < f->ledger.n && shown < 8; i++)
        if (f->ledger.line[i].kind == kind) printf("%s%s", shown++ ? ", " : "", f->ledger.line[i].name);
    printf(shown < f->ledger.count[kind] ? " and %d more\n" : "\n", f->ledger.count[kind] - shown);
}

static void show_notes(const found *f)
{
    for (int i = 0; i < f->ledger.n; i++) {
        const sy_ledger_line *l = &f->ledger.line[i];
        if (l->kind == SY_L_NOTE) printf("note        %s: %s\n", l->name, l->note);
    }
}

static void show_model(const found *f)
{
    char line[512], layers[1100];
    const sy_spec *s = &f->card.spec;
    printf("parameters  %.6g M, of which a token uses %.6g M; %.4g MFLOP a token\n", f->total / 1e6, f->active / 1e6, 2 * f->madds / 1e6);
    printf("layers      %d: %s (d dense, s sparse); pattern %s\n", s->num_hidden_layers, layers_of(s, layers, sizeof layers), s->layers);
    printf("width       %d, %d heads over %d KV heads of %d, FFN %d, %d positions, %d ids\n", s->hidden_size, s->num_attention_heads, s->num_key_value_heads, s->head_dim,
           s->intermediate_size, s->max_position_embeddings, s->vocab_size);
    if (sy_spec_n_sparse(s)) {
        printf("experts     %d of kind %s, width %d", s->num_experts, s->expert, s->moe_intermediate_size);
        if (s->zero_experts) printf(", %d of kind %s", s->zero_experts, s->zero_expert);
        if (s->shared_expert_intermediate_size) printf(", shared width %d", s->shared_expert_intermediate_size);
        printf("\nrouter      %s%s%s\n", s->router, *s->balance ? "; balance " : "", s->balance);
    }
    printf("ledger      %s\n", sy_ledger_summary(&f->ledger, line, sizeof line));
    show_names(f, SY_L_MISSING, "missing");
    show_names(f, SY_L_UNKNOWN, "unknown");
    show_names(f, SY_L_SKIPPED, "left out");
    show_names(f, SY_L_KEY, "keys unknown");
    show_notes(f);
}

static void show(const found *f, bool tensors)
{
    char shape[256];
    printf("%-12s%s\n", f->run ? "path" : f->what, f->path);
    if (f->run) {
        const json_t *steps = json_object_get(json_object_get(f->run, "derived"), "steps");
        printf("run         %lld steps; shown is %s\n", (long long)json_integer_value(steps), f->checkpoint);
    }
    if (f->model_type) printf("model_type  %s%s\n", f->model_type, f->opens ? "" : " (not opened; its tensors are listed only)");
    if (f->closed) printf("because     %s\n", f->closed);
    if (f->opens) show_model(f);
    if (f->tok) {
        char end[32] = "no end-of-document token";
        if (sy_tokenizer_eot(f->tok) >= 0) snprintf(end, sizeof end, "end of document %d", sy_tokenizer_eot(f->tok));
        printf("tokenizer   %d ids, %s, %.16s\n", sy_tokenizer_vocab(f->tok), end, sy_tokenizer_id(f->tok));
    }
    if (!f->n_shards) return;
    printf("tensors     %d in %d file%s, %.6g M values, %.6g MB\n", f->all.tensors, f->n_shards, f->n_shards > 1 ? "s" : "", (double)f->all.values / 1e6, (double)f->all.bytes / 1e6);
    for (int k = 0; k < (int)KINDS; k++) show_share(kinds[k].kind, &f->kind[k]);
    for (int t = 0; t < SY_DTYPES; t++) show_share(sy_dtype_name((sy_dtype)t), &f->type[t]);
    for (int i = 0; i < f->n_shards; i++) {
        const sy_st *st = &f->shard[i].st;
        for (int m = 0; st->meta && st->meta[m]; m += 2) printf("  metadata %s: %s\n", st->meta[m], st->meta[m + 1]);
        for (int t = 0; t < st->n && tensors; t++) printf("  %-64s %-8s %s\n", st->t[t].name, sy_dtype_name(st->t[t].type), shape_of(&st->t[t], shape, sizeof shape));
    }
}

static void json_share(sy_json *j, const char *name, const share *s)
{
    if (!s->tensors) return;
    sy_json_key(j, name);
    sy_json_begin(j, '{');
    sy_json_key(j, "tensors"), sy_json_int(j, s->tensors);
    sy_json_key(j, "values"), sy_json_int(j, (long long)s->values);
    sy_json_key(j, "bytes"), sy_json_int(j, (long long)s->bytes);
    sy_json_end(j, '}');
}

static void json_names(sy_json *j, const found *f, sy_ledger_kind kind, const char *key)
{
    sy_json_key(j, key);
    sy_json_begin(j, '[');
    for (int i = 0; i < f->ledger.n; i++) if (f->ledger.line[i].kind == kind) sy_json_text(j, f->ledger.line[i].name);
    sy_json_end(j, ']');
}

static void json_notes(sy_json *j, const found *f)
{
    char line[512];
    sy_json_key(j, "notes");
    sy_json_begin(j, '[');
    for (int i = 0; i < f->ledger.n; i++) {
        if (f->ledger.line[i].kind != SY_L_NOTE) continue;
        snprintf(line, sizeof line, "%s: %s", f->ledger.line[i].name, f->ledger.line[i].note);
        sy_json_text(j, line);
    }
    sy_json_end(j, ']');
}

static void json_model(sy_json *j, const found *f)
{
    char line[1100];
    const sy_spec *s = &f->card.spec;
    sy_json_key(j, "family"), sy_json_text(j, f->card.family ? f->card.family->name : "switchyard");
    sy_json_key(j, "parameters"), sy_json_real(j, f->total);
    sy_json_key(j, "active_parameters"), sy_json_real(j, f->active);
    sy_json_key(j, "layers"), sy_json_text(j, layers_of(s, line, sizeof line));
    sy_json_key(j, "pattern"), sy_json_text(j, s->layers);
    sy_json_key(j, "hidden_size"), sy_json_int(j, s->hidden_size);
    sy_json_key(j, "vocab_size"), sy_json_int(j, s->vocab_size);
    sy_json_key(j, "max_position_embeddings"), sy_json_int(j, s->max_position_embeddings);
    if (sy_spec_n_sparse(s)) {
        sy_json_key(j, "num_experts"), sy_json_int(j, s->num_experts);
        sy_json_key(j, "zero_experts"), sy_json_int(j, s->zero_experts);
        sy_json_key(j, "router"), sy_json_text(j, s->router);
        sy_json_key(j, "expert"), sy_json_text(j, s->expert);
        sy_json_key(j, "balance"), sy_json_text(j, s->balance);
    }
    sy_json_key(j, "ledger");
    sy_json_begin(j, '{');
    sy_json_key(j, "summary"), sy_json_text(j, sy_ledger_summary(&f->ledger, line, 512));
    json_names(j, f, SY_L_MISSING, "missing");
    json_names(j, f, SY_L_UNKNOWN, "unknown");
    json_names(j, f, SY_L_SKIPPED, "left_out");
    json_names(j, f, SY_L_KEY, "unknown_keys");
    json_notes(j, f);
    sy_json_end(j, '}');
}

static void json_tensors(sy_json *j, const found *f)
{
    sy_json_key(j, "list");
    sy_json_begin(j, '[');
    for (int i = 0; i < f->n_shards; i++)
        for (int t = 0; t < f->shard[i].st.n; t++) {
            const sy_st_tensor *x = &f->shard[i].st.t[t];
            sy_json_begin(j, '{');
            sy_json_key(j, "name"), sy_json_text(j, x->name);
            sy_json_key(j, "type"), sy_json_text(j, sy_dtype_name(x->type));
            sy_json_key(j, "shape"), sy_json_begin(j, '[');
            for (int d = 0; d < x->nd; d++) sy_json_int(j, (long long)x->dim[d]);
            sy_json_end(j, ']');
            sy_json_end(j, '}');
        }
    sy_json_end(j, ']');
}

static sy_status print_json(const found *f, bool tensors, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "what"), sy_json_text(&j, f->what);
    sy_json_key(&j, "path"), sy_json_text(&j, f->path);
    if (f->run) {
        sy_json_key(&j, "steps"), sy_json_int(&j, json_integer_value(json_object_get(json_object_get(f->run, "derived"), "steps")));
        sy_json_key(&j, "shown"), sy_json_text(&j, f->checkpoint);
    }
    if (f->model_type) sy_json_key(&j, "model_type"), sy_json_text(&j, f->model_type);
    if (f->closed) sy_json_key(&j, "not_opened"), sy_json_text(&j, f->closed);
    if (f->opens) json_model(&j, f);
    if (f->tok) {
        sy_json_key(&j, "tokenizer");
        sy_json_begin(&j, '{');
        sy_json_key(&j, "ids"), sy_json_int(&j, sy_tokenizer_vocab(f->tok));
        sy_json_key(&j, "eot"), sy_json_int(&j, sy_tokenizer_eot(f->tok));
        sy_json_key(&j, "id"), sy_json_text(&j, sy_tokenizer_id(f->tok));
        sy_json_end(&j, '}');
    }
    if (f->n_shards) {
        json_share(&j, "tensors", &f->all);
        sy_json_key(&j, "kinds"), sy_json_begin(&j, '{');
        for (int k = 0; k < (int)KINDS; k++) json_share(&j, kinds[k].kind, &f->kind[k]);
        sy_json_end(&j, '}');
        sy_json_key(&j, "types"), sy_json_begin(&j, '{');
        for (int t = 0; t < SY_DTYPES; t++) json_share(&j, sy_dtype_name((sy_dtype)t), &f->type[t]);
        sy_json_end(&j, '}');
        if (tensors) json_tensors(&j, f);
    }
    sy_json_end(&j, '}');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the result") : SY_OK;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    const args *arg = a;
    found f = { .path = words[0] };
    if (sy_is_gguf(words[0]) && !sy_is_dir(words[0])) return sy_inspect_gguf(cli, words[0], arg->tensors, err);
    sy_status st = look(cli, &f, err);
    if (st == SY_OK) {
        if (cli->json) st = print_json(&f, arg->tensors, err);
        else show(&f, arg->tensors);
    }
    if (st == SY_OK && f.opens) st = sy_ledger_settle(&f.ledger, err);
    found_free(&f);
    return st;
}

const sy_command sy_cmd_inspect = {
    .name = "inspect", .summary = "what a model, a run, a GGUF or safetensors file or a tokenizer.json holds", .usage = "PATH",
    .text = "Model type, parameters in all and used by a token, layers, experts, bytes by kind of part and by type, and the ledger: what is missing\n"
            "or unknown. An incomplete model is shown, and the exit code is 1.",
    .example = "switchyard inspect run\n  switchyard inspect model.safetensors --tensors\n  switchyard inspect model.gguf", .flags = flags, .size = sizeof(args), .min_words = 1, .max_words = 1, .run = run,
};
