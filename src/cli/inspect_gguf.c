/* cli/inspect_gguf.c - a GGUF file, looked at: nothing is loaded, so the file may be larger than the memory. */
#include "cli/inspect_gguf.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/utf8.h"
#include "model/gguf_files.h"

/* What a tensor is, by its name; the first pattern that is found decides. */
static const struct { const char *pattern, *kind; } kinds[] = {
    { "norm", "norms" }, { "token_embd", "embedding" }, { "output.weight", "head" }, { "_shexp", "shared experts" }, { "_exps", "experts" }, { "ffn_gate_inp", "routers" }, { "exp_probs", "routers" },
    { "attn_", "attention" }, { "ffn_", "dense FFN" }, { "", "other" },
};
enum { KINDS = SY_COUNT(kinds), TYPES = 64 };

typedef struct share { int tensors; double values, bytes; } share;

typedef struct found {
    sy_gguf_files files;
    sy_arena      a;
    share         all, kind[KINDS], type[TYPES];
    sy_gguf_card  card;
    sy_err        unknown;              /* why it is no model that this version opens, or an empty text */
    double        k, total, active, madds;
    sy_ledger     ledger;
} found;

static int kind_of(const char *name)
{
    int k = 0;
    if (!strncmp(name, "blk.", 4) || strcmp(name, "output.weight")) {      /* blk.N.attn_output.weight is no head */
        while (!strstr(name, kinds[k].pattern) || !strcmp(kinds[k].kind, "head")) k++;
        if (!strncmp(kinds[k].kind, "routers", 7)) return 5;
        return k;
    }
    return 2;
}

static void count(share *s, const sy_gguf_tensor *t)
{
    s->tensors++;
    s->values += (double)t->n;
    s->bytes += (double)t->bytes;
}

/* The account of the tensors against the spec, without taking a number of them. */
static sy_status settle(sy_cli *cli, found *f, sy_err *err)
{
    sy_model *m = NULL;
    SY_TRY(sy_cli_engine(cli, err));
    SY_TRY(sy_model_new(&m, &cli->eng, &f->card.spec, SY_MODEL_BARE, 0, err));
    f->k = sy_model_nominal_k(m);
    sy_status st = SY_OK;
    for (int i = 0; i < m->params.n && st == SY_OK; i++)
        for (int e = 0; e < sy_param_pieces(m->params.p[i]) && st == SY_OK; e++) {
            sy_place at;
            sy_gguf_source from;
            st = sy_gguf_piece(&f->files, &f->card, m->params.p[i], e, &at, &from, err);
            if (st == SY_OK && !from.t) st = sy_ledger_add(&f->ledger, SY_L_MISSING, at.name, NULL, 0, err);
            if (!from.t && at.nd == m->params.p[i]->w.nd) break;     /* a stack: the same tensor for every piece */
        }
    if (st == SY_OK) st = sy_gguf_rest(&f->files, &f->card, &f->ledger, err);
    sy_model_free(m);
    sy_spec_size(&f->card.spec, f->k ? f->k : f->card.spec.num_experts, &f->total, &f->active, &f->madds);
    return st;
}

static void look(found *f)
{
    for (int i = 0; i < f->files.n; i++)
        for (int k = 0; k < f->files.g[i].n; k++) {
            const sy_gguf_tensor *t = &f->files.g[i].t[k];
            count(&f->all, t);
            count(&f->kind[kind_of(t->name)], t);
            count(&f->type[t->id < TYPES ? t->id : TYPES - 1], t);
        }
    if (f->files.all.n && sy_gguf_files_card(&f->files, &f->card, &f->a, NULL, &f->unknown) == SY_OK) f->unknown.text[0] = 0;
}

/* --- as text ---------------------------------------------------------------------------------------------------------------------- */

static void show_share(const char *name, const share *s)
{
    if (s->tensors) printf("  %-16s %8d tensors %12.6g M values %12.6g MB\n", name, s->tensors, s->values / 1e6, s->bytes / 1e6);
}

static void show_text(const char *p, size_t n)       /* control characters and malformed bytes as '?', and not without end */
{
    size_t i = 0;
    while (i < n && i < 100) {
        uint32_t cp;
        int k = sy_utf8_next(p + i, n - i, &cp);
        if (k < 0 || cp < 32 || (cp >= 127 && cp < 160)) putchar('?');
        else fwrite(p + i, 1, (size_t)k, stdout);
        i += (size_t)(k < 0 ? -k : k);
    }
    if (i < n) printf("... (%zu bytes)", n);
}

static void show_key(const sy_gguf_key *k)
{
    const uint8_t *at = k->data;
    size_t n;
    int64_t whole;
    double real;
    printf("  %-44s ", k->key);
    if (k->type == SY_GGUF_ARRAY) printf("%llu x %s: ", (unsigned long long)k->n, sy_gguf_type_name(k->elem));
    for (uint64_t i = 0; i < k->n && i < 6; i++) {
        if (i) printf(", ");
        if (k->elem == SY_GGUF_TEXT) { const char *p = sy_gguf_next_text(&at, &n); show_text(p, n); }
        else if (k->elem == SY_GGUF_BOOL) printf("%s", k->data[i] ? "true" : "false");
        else if (sy_gguf_elem_int(k, i, &whole)) printf("%lld", (long long)whole);
        else if (sy_gguf_elem_real(k, i, &real)) printf("%.8g", real);
        else printf("(above 2^63)");
    }
    printf(k->n > 6 ? ", ...\n" : "\n");
}

static void show_names(const found *f, sy_ledger_kind kind, const char *what)
{
    int shown = 0;
    if (!f->ledger.count[kind]) return;
    printf("%-12s", what);
    for (int i = 0; i < f->ledger.n && shown < 8; i++) if (f->ledger.line[i].kind == kind) printf("%s%s", shown++ ? ", " : "", f->ledger.line[i].name);
    printf(shown < f->ledger.count[kind] ? " and %d more\n" : "\n", f->ledger.count[kind] - shown);
}

static void show_model(const found *f)
{
    const sy_spec *s = &f->card.spec;
    printf("architecture %s, family %s\n", f->card.arch->arch, f->card.arch->family);
    printf("parameters  %.6g M, of which a token uses %.6g M; %.4g MFLOP a token\n", f->total / 1e6, f->active / 1e6, 2 * f->madds / 1e6);
    printf("layers      %d, %d of them sparse\n", s->num_hidden_layers, sy_spec_n_sparse(s));
    printf("width       %d, %d heads over %d KV heads of %d, FFN %d, %d positions, %d ids\n", s->hidden_size, s->num_attention_heads, s->num_key_value_heads, s->head_dim,
           s->intermediate_size, s->max_position_embeddings, s->vocab_size);
    if (sy_spec_n_sparse(s)) printf("experts     %d, width %d, shared width %d; router %s\n", s->num_experts, s->moe_intermediate_size, s->shared_expert_intermediate_size, s->router);
    show_names(f, SY_L_MISSING, "missing");
    show_names(f, SY_L_UNKNOWN, "unknown");
    show_names(f, SY_L_SKIPPED, "left out");
}

static void show(const found *f, bool tensors)
{
    const sy_gguf *g = &f->files.g[0];
    printf("gguf        %s, version %u, %d file%s\n", g->file, g->version, f->files.n, f->files.n > 1 ? "s" : "");
    if (*f->unknown.text) printf("model       not opened: %s\n", f->unknown.text);
    else if (g->n) show_model(f);
    printf("tensors     %d, %.6g M values, %.6g MB\n", f->all.tensors, f->all.values / 1e6, f->all.bytes / 1e6);
    for (int k = 0; k < (int)KINDS; k++) show_share(kinds[k].kind, &f->kind[k]);
    for (int t = 0; t < TYPES; t++) show_share(sy_gguf_tensor_type((uint32_t)t), &f->type[t]);
    printf("metadata    %d keys\n", g->keys);
    for (int i = 0; i < g->keys; i++) show_key(&g->key[i]);
    for (int i = 0; i < f->files.n && tensors; i++)
        for (int k = 0; k < f->files.g[i].n; k++) {
            const sy_gguf_tensor *t = &f->files.g[i].t[k];
            printf("  %-64s %-8s ", t->name, sy_gguf_tensor_type(t->id));
            for (int d = 0; d < t->nd; d++) printf("%s%lld", d ? " x " : "", (long long)t->dim[d]);
            printf("\n");
        }
}

/* --- as JSON ---------------------------------------------------------------------------------------------------------------------- */

static void json_share(sy_json *j, const char *name, const share *s)
{
    if (!s->tensors) return;
    sy_json_key(j, name);
    sy_json_begin(j, '{');
    sy_json_key(j, "tensors"), sy_json_int(j, s->tensors);
    sy_json_key(j, "values"), sy_json_real(j, s->values);
    sy_json_key(j, "bytes"), sy_json_real(j, s->bytes);
    sy_json_end(j, '}');
}

static void json_names(sy_json *j, const found *f, sy_ledger_kind kind, const char *key)
{
    sy_json_key(j, key);
    sy_json_begin(j, '[');
    for (int i = 0; i < f->ledger.n; i++) if (f->ledger.line[i].kind == kind) sy_json_text(j, f->ledger.line[i].name);
    sy_json_end(j, ']');
}

static void json_key(sy_json *j, const sy_gguf_key *k)
{
    const uint8_t *at = k->data;
    int64_t whole;
    double real = 0;
    size_t n;
    sy_json_key(j, k->key);
    if (k->type == SY_GGUF_ARRAY) {                  /* vocabularies are long: what they are, not all of them */
        sy_json_begin(j, '{');
        sy_json_key(j, "elements"), sy_json_int(j, (long long)k->n);
        sy_json_key(j, "type"), sy_json_text(j, sy_gguf_type_name(k->elem));
        sy_json_end(j, '}');
    } else if (k->elem == SY_GGUF_TEXT) { const char *p = sy_gguf_next_text(&at, &n); sy_json_bytes(j, p, n); }
    else if (k->elem == SY_GGUF_BOOL) sy_json_bool(j, k->data[0]);
    else if (sy_gguf_elem_int(k, 0, &whole)) sy_json_int(j, whole);
    else { sy_gguf_elem_real(k, 0, &real); sy_json_real(j, real); }
}

static sy_status show_json(const found *f, sy_err *err)
{
    const sy_gguf *g = &f->files.g[0];
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 2);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "kind"), sy_json_text(&j, "gguf");
    sy_json_key(&j, "path"), sy_json_text(&j, g->file);
    sy_json_key(&j, "files"), sy_json_int(&j, f->files.n);
    if (*f->unknown.text) sy_json_key(&j, "not_opened"), sy_json_text(&j, f->unknown.text);
    else if (g->n) {
        sy_json_key(&j, "architecture"), sy_json_text(&j, f->card.arch->arch);
        sy_json_key(&j, "family"), sy_json_text(&j, f->card.arch->family);
        sy_json_key(&j, "parameters"), sy_json_real(&j, f->total);
        sy_json_key(&j, "active_parameters"), sy_json_real(&j, f->active);
        sy_json_key(&j, "num_hidden_layers"), sy_json_int(&j, f->card.spec.num_hidden_layers);
        sy_json_key(&j, "num_experts"), sy_json_int(&j, sy_spec_n_sparse(&f->card.spec) ? f->card.spec.num_experts : 0);
        json_names(&j, f, SY_L_MISSING, "missing");
        json_names(&j, f, SY_L_UNKNOWN, "unknown");
    }
    json_share(&j, "all", &f->all);
    sy_json_key(&j, "by_kind"), sy_json_begin(&j, '{');
    for (int k = 0; k < (int)KINDS; k++) json_share(&j, kinds[k].kind, &f->kind[k]);
    sy_json_end(&j, '}');
    sy_json_key(&j, "by_type"), sy_json_begin(&j, '{');
    for (int t = 0; t < TYPES; t++) json_share(&j, sy_gguf_tensor_type((uint32_t)t), &f->type[t]);
    sy_json_end(&j, '}');
    sy_json_key(&j, "metadata"), sy_json_begin(&j, '{');
    for (int i = 0; i < g->keys; i++) json_key(&j, &g->key[i]);
    sy_json_end(&j, '}');
    sy_json_end(&j, '}');
    bool failed = b.failed;
    if (!failed) puts(b.data);
    sy_buf_free(&b);
    return failed ? sy_fail(err, SY_ENOMEM, "no memory for the results") : SY_OK;
}

sy_status sy_inspect_gguf(sy_cli *cli, const char *path, bool tensors, sy_err *err)
{
    found *f = sy_arena_zalloc(&cli->arena, sizeof *f);
    if (!f) return sy_fail(err, SY_ENOMEM, "no memory to look at %s", path);
    sy_ledger_open(&f->ledger, "inspect", path);
    sy_status st = sy_gguf_files_open(&f->files, path, false, err);
    if (st == SY_OK) {
        look(f);
        st = sy_gguf_files_status(&f->files, SY_OK, err);
    }
    if (st == SY_OK && f->files.all.n && !*f->unknown.text) st = settle(cli, f, err);
    if (st == SY_OK && cli->json) st = show_json(f, err);
    else if (st == SY_OK) show(f, tensors);
    if (st == SY_OK) st = sy_ledger_settle(&f->ledger, err);         /* an incomplete model was shown, and is a failure */
    sy_gguf_files_close(&f->files);
    sy_ledger_free(&f->ledger);
    sy_arena_free(&f->a);
    return st;
}
