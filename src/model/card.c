/* model/card.c - config.json by the tables of a family, both ways, and whether a family can say a spec. */
#include "model/family.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/number.h"
#include "core/option_json.h"

enum { MAX_CONFIG = 1 << 22, TEXT = 256 };

/* Keys that say nothing about the computation, in any family. */
static const char *const ignored[] = {
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "switchyard_version", "_name_or_path",
    "attention_dropout", "hidden_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "output_router_logits", "output_attentions", "output_hidden_states", "return_dict", "auto_map", "id2label",
    "label2id", "problem_type", "chunk_size_feed_forward", "tokenizer_class", "task_specific_params", "_attn_implementation", "pretraining_tp", "_commit_hash", "torchscript", "is_decoder",
    "use_mamba_kernels", "is_causal", "per_layer_config", "_attn_implementation_autoset", "gradient_checkpointing", "sep_token_id", "cls_token_id", "decoder_start_token_id", "prefix", "finetuning_task", NULL };

/* Families that are known and not read yet. */
static const char *const later[] = { "gemma", "gemma2", "gemma3", "gemma3_text", "qwen3_next", "llama4", "llama4_text", "switch_transformers", "t5", "jetmoe", "jamba", "nemotron_h", "phi3",
                                     "granitemoeshared", "dbrx", "minimax", "ernie4_5_moe", NULL };

static bool listed(const char *const *list, const char *key)
{
    for (; list && *list; list++) if (!strcmp(*list, key)) return true;
    return false;
}

/* --- words and numbers ----------------------------------------------------------------------------------------------------- */

/* One of blank-separated words; false past the last. */
static bool word(const char **list, char *buf, size_t size)
{
    size_t n = strcspn(*list += strspn(*list, " "), " ");
    snprintf(buf, size, "%.*s", (int)n, *list);
    *list += n;
    return n > 0;
}

/* Looks a value up in "file=field file=field"; from the file's side, or from the field's (then the first). */
static bool translate(const char *words, const char *value, bool from_file, char *buf, size_t size)
{
    char pair[TEXT];
    while (word(&words, pair, sizeof pair)) {
        char *eq = strchr(pair, '=');
        *eq++ = 0;
        if (strcmp(from_file ? pair : eq, value)) continue;
        snprintf(buf, size, "%s", from_file ? eq : pair);
        return true;
    }
    return false;
}

/* Texts of two numbers or words; numbers within what a conversion and back may lose. */
static bool same_value(const char *a, const char *b)
{
    char *ea, *eb;
    if (!strcmp(a, b)) return true;
    double x = sy_real_read(a, &ea), y = sy_real_read(b, &eb);
    return ea != a && eb != b && !*ea && !*eb && fabs(x - y) <= 1e-12 * fmax(fabs(x), fabs(y));
}

const char *sy__pattern(sy_arena *a, const bool *yes, int n, const char *word_no, const char *word_yes)
{
    sy_buf b = { 0 };
    int round = 1;
    for (; round < n; round++) {
        int i = n % round ? n - 1 : 0;
        while (i < n && !(n % round) && yes[i] == yes[i % round]) i++;
        if (i == n) break;
    }
    for (int i = 0, count; i < round; i += count) {
        for (count = 1; i + count < round && yes[i + count] == yes[i]; count++) { }
        sy_buf_printf(&b, "%s%s", i ? "," : "", yes[i] ? word_yes : word_no);
        if (count > 1 || round > 1) sy_buf_printf(&b, "*%d", count);
    }
    const char *text = b.failed ? NULL : sy_arena_strdup(a, b.data ? b.data : "");
    sy_buf_free(&b);
    return text;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

sy_status sy__note(sy_config_reading *r, sy_err *err, const char *name, const char *fmt, ...)
{
    char text[TEXT];
    va_list args;
    if (!r->l) return SY_OK;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return sy_ledger_add(r->l, SY_L_NOTE, name, text, 0, err);
}

sy_status sy__set(sy_config_reading *r, const char *field, const char *value, sy_err *err)
{
    sy_buf *b = !strncmp(field, "router.", 7) ? &r->router : !strncmp(field, "expert.", 7) ? &r->expert : NULL;
    if (!b) return sy_opt_set(sy_spec_opts, &r->c->spec, field, value, r->a, NULL, err);
    sy_buf_printf(b, "%s%s=%s", b->n ? "," : "", field + 7, value);
    return b->failed ? sy_fail(err, SY_ENOMEM, "no memory for %s", field) : SY_OK;
}

/* The value under the first of a row's spellings that is there. */
static const json_t *look_up(const json_t *root, const char *spellings, char *key, size_t size)
{
    const char *p = spellings;
    char first[TEXT];
    word(&p, first, sizeof first);
    for (p = spellings; word(&p, key, size); ) {
        const json_t *v = json_object_get(root, key);
        if (v) return v;
    }
    snprintf(key, size, "%s", first);
    return NULL;
}

static sy_status read_key(sy_config_reading *r, const sy_family_key *k, sy_err *err)
{
    char key[TEXT], mapped[TEXT];
    const json_t *v = look_up(r->root, k->key, key, sizeof key);
    const char *value;
    if (v && json_is_null(v) && k->none) value = k->none;
    else if (!v || json_is_null(v)) {
        if (!k->field) return SY_OK;
        if (!k->def) return sy_fail(err, SY_EFORMAT, "%s says nothing of '%s', without which a model of family %s cannot be built", r->path, key, r->c->family->name);
        if (!v) SY_TRY(sy__note(r, err, key, "not in config.json: %s, as the family has it by default", *k->def ? k->def : "none"));
        value = k->def;
    } else {
        SY_TRY(sy_opt_json_text((json_t *)v, r->path, key, r->a, &value, err));
        if (k->words) {
            if (!translate(k->words, value, true, mapped, sizeof mapped))
                return sy_fail(err, SY_EUNSUP, "%s: %s '%.60s' is not computed for family %s; known are %s (file=engine)", r->path, key, value, r->c->family->name, k->words);
            value = mapped;
        }
        if (k->none && json_is_number(v) && same_value(value, k->none)) return sy_fail(err, SY_EUNSUP, "%s: %s is %s; null says that there is none", r->path, key, value);
        if (!k->field && !same_value(value, k->def))
            return sy_fail(err, SY_EUNSUP, "%s: %s is '%.60s'; family %s is computed with %s only", r->path, key, value, r->c->family->name, k->def);
    }
    return k->field ? sy_within(err, sy__set(r, k->field, value, err), "%s: %s", r->path, key) : SY_OK;
}

static bool has_spelling(const char *spellings, const char *key)
{
    char one[TEXT];
    while (word(&spellings, one, sizeof one)) if (!strcmp(one, key)) return true;
    return false;
}

static bool understood(const sy_family *f, const char *key)
{
    for (const sy_family_key *k = f->keys; k->key; k++) if (has_spelling(k->key, key)) return true;
    for (const sy_family_group *const *g = f->groups; g && *g; g++) if (listed((*g)->keys, key)) return true;
    return listed(f->ignored, key) || listed(ignored, key);
}

static sy_status name_others(sy_config_reading *r, sy_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)r->root, key, v) {
        if (understood(r->c->family, key) || !strcmp(key, "quantization_config") || !r->l) continue;
        char note[80];
        size_t n = json_dumpb(v, note, 70, JSON_ENCODE_ANY | JSON_COMPACT);
        snprintf(note + (n < 70 ? n : 70), 8, "%s", n > 70 ? "..." : "");
        SY_TRY(sy_ledger_add(r->l, SY_L_KEY, key, note, 0, err));
    }
    return SY_OK;
}

/* Keys that transformers obeys in every family and that are computed in none. */
static sy_status everywhere(const sy_config_reading *r, sy_err *err)
{
    const json_t *each = json_object_get(r->root, "per_layer_config");
    bool causal = true;
    if (each && !json_is_null(each)) return sy_fail(err, SY_EUNSUP, "%s: per_layer_config gives layers keys of their own; family %s is computed with one config for all", r->path, r->c->family->name);
    SY_TRY(sy_json_get_bool(r->root, r->path, "is_causal", false, &causal, err));
    if (!causal && r->c->spec.causal) return sy_fail(err, SY_EUNSUP, "%s: is_causal is false; a model of family %s sees earlier tokens only", r->path, r->c->family->name);
    return SY_OK;
}

/* How weights are packed: what is not read is refused before any of them is taken for plain numbers. */
static sy_status quantization(sy_config_reading *r, sy_err *err)
{
    const sy_family *f = r->c->family;
    const json_t *q = json_object_get(r->root, "quantization_config"), *block = json_object_get(q, "weight_block_size");
    const char *method = "(none)", *fmt = "e4m3";
    r->c->fp8_block[0] = r->c->fp8_block[1] = 128;
    if (!q || json_is_null(q)) return SY_OK;
    SY_TRY(sy_json_get_text(q, r->path, "quant_method", true, &method, err));
    if (f->mxfp4 && !strcmp(method, "mxfp4")) return SY_OK;
    if (!f->fp8 || strcmp(method, "fp8"))
        return sy_fail(err, SY_EUNSUP, "%s: quantization_config has the method '%.40s'; family %s is read %s", r->path, method, f->name,
                       f->fp8 ? "plain or with the method fp8" : f->mxfp4 ? "plain or with the method mxfp4" : "from plain numbers only");
    SY_TRY(sy_json_get_text(q, r->path, "fmt", false, &fmt, err));
    if (strcmp(fmt, "e4m3")) return sy_fail(err, SY_EUNSUP, "%s: quantization_config has the format '%.40s'; fp8 weights are read as e4m3", r->path, fmt);
    for (int i = 0; i < 2 && json_array_size(block) == 2; i++) {
        long long n = json_integer_value(json_array_get(block, (size_t)i));
        if (n < 1 || n > 1 << 20) return sy_fail(err, SY_EFORMAT, "%s: weight_block_size must be two whole numbers of 1 or more", r->path);
        r->c->fp8_block[i] = (int)n;
    }
    if (block && json_array_size(block) != 2) return sy_fail(err, SY_EFORMAT, "%s: weight_block_size must be two whole numbers", r->path);
    return SY_OK;
}

/* "topk:norm_topk_prob=true" and the options that were read. */
static const char *method_text(sy_config_reading *r, const char *base, const sy_buf *given)
{
    const char *sep = !given->n ? "" : strchr(base, ':') ? "," : ":";
    return sy_arena_printf(r->a, "%s%s%s", base, sep, given->n ? given->data : "");
}

static sy_status read_family(sy_config_reading *r, sy_err *err)
{
    const sy_family *f = r->c->family;
    sy_spec *s = &r->c->spec;
    sy_status st = f->base ? sy_opt_parse(sy_spec_opts, s, f->base, r->a, NULL, err) : SY_OK;
    if (st == SY_OK) st = everywhere(r, err);
    for (const sy_family_key *k = f->keys; k->key && st == SY_OK; k++) st = read_key(r, k, err);
    for (const sy_family_group *const *g = f->groups; g && *g && st == SY_OK; g++) st = (*g)->read(r, err);
    SY_TRY(st);
    SY_TRY(quantization(r, err));
    if (f->router) {
        s->router = method_text(r, f->router, &r->router);
        s->expert = method_text(r, f->expert, &r->expert);
        if (!s->router || !s->expert) return sy_fail(err, SY_ENOMEM, "%s: no memory for the router", r->path);
    }
    return name_others(r, err);
}

static sy_status read_own(sy_config_reading *r, sy_err *err)
{
    const char *key, *text;
    json_t *v;
    json_object_foreach((json_t *)r->root, key, v) {
        if (listed(ignored, key) || json_is_null(v)) continue;
        SY_TRY(sy_opt_json_text(v, r->path, key, r->a, &text, err));
        SY_TRY(sy_within(err, sy_opt_set(sy_spec_opts, &r->c->spec, key, text, r->a, NULL, err), "%s", r->path));
    }
    return SY_OK;
}

static sy_status no_family(const char *type, const char *path, sy_err *err)
{
    sy_buf b = { 0 };
    for (const sy_family *const *f = sy_families; *f; f++) sy_buf_printf(&b, ", %s", (*f)->name);
    if (listed(later, type)) sy_fail(err, SY_EUNSUP, "%s: models of type '%s' are not read yet; a later version will", path, type);
    else sy_fail(err, SY_EUNSUP, "%s: model_type is '%.60s'; this version opens switchyard%s", path, type, b.data ? b.data : "");
    sy_buf_free(&b);
    return SY_EUNSUP;
}

static sy_status read_root(sy_card *c, const json_t *root, const char *path, sy_arena *a, sy_ledger *l, sy_err *err)
{
    const char *type = json_string_value(json_object_get(root, "model_type"));
    sy_config_reading r = { .root = root, .path = path, .c = c, .a = a, .l = l };
    if (!json_is_object(root)) return sy_fail(err, SY_EFORMAT, "%s is not a JSON object", path);
    if (!type) type = "(none)";
    *c = (sy_card){ .family = sy_family_find(type) };
    sy_spec_defaults(&c->spec);
    if (!c->family && strcmp(type, "switchyard")) return no_family(type, path, err);
    sy_status st = c->family ? read_family(&r, err) : read_own(&r, err);
    sy_buf_free(&r.router);
    sy_buf_free(&r.expert);
    return st == SY_OK ? sy_within(err, sy_spec_check(&c->spec, err), "%s", path) : st;
}

sy_status sy_card_read(sy_card *c, const char *path, sy_arena *a, sy_ledger *l, sy_err *err)
{
    json_t *root;
    SY_TRY(sy_json_read(&root, path, MAX_CONFIG, err));
    sy_status st = read_root(c, root, path, a, l, err);
    json_decref(root);
    return st;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

/* A value from its text, typed as its option is. */
static void put(sy_json *j, sy_opt_type type, const char *text)
{
    char *end;
    if (type == SY_OPT_INT) sy_json_int(j, strtoll(text, NULL, 10));
    else if (type == SY_OPT_REAL) sy_json_real(j, sy_real_read(text, &end));
    else if (!strcmp(text, "true") || !strcmp(text, "false")) sy_json_bool(j, *text == 't');
    else sy_json_text(j, text);
}

/* What a constant's text looks like. */
static sy_opt_type type_of(const char *text)
{
    char *end;
    sy_real_read(text, &end);
    return end == text || *end ? SY_OPT_TEXT : strpbrk(text, ".e") ? SY_OPT_REAL : SY_OPT_INT;
}

static void write_row(sy_config_writing *w, const sy_family_key *k, const char *name)
{
    char text[TEXT], mapped[TEXT];
    const sy_opt *row = NULL;
    const void *s = w->s;
    size_t at = 0;
    if (k->field && !strncmp(k->field, "router.", 7)) { row = w->router_m && w->router_m->opts ? sy_opt_find(w->router_m->opts, k->field + 7, &at, NULL) : NULL; s = w->router_s; }
    else if (k->field && !strncmp(k->field, "expert.", 7)) { row = w->expert_m && w->expert_m->opts ? sy_opt_find(w->expert_m->opts, k->field + 7, &at, NULL) : NULL; s = w->expert_s; }
    else if (k->field) row = sy_opt_find(sy_spec_opts, k->field, &at, NULL);
    sy_json_key(&w->j, name);
    if (row) sy_opt_print(row, s, at, text, sizeof text);
    else if (k->def) snprintf(text, sizeof text, "%s", k->def);           /* a constant, or an option that this spec's method has not */
    else { sy_json_null(&w->j); return; }
    if (k->none && strcmp(text, "false") && same_value(text, k->none)) { sy_json_null(&w->j); return; }
    if (k->words && translate(k->words, text, false, mapped, sizeof mapped)) put(&w->j, SY_OPT_TEXT, mapped);
    else put(&w->j, row ? row->type : type_of(text), text);
}

static sy_status write_family(sy_config_writing *w, sy_err *err)
{
    (void)err;
    for (const sy_family_key *k = w->f->keys; k->key; k++) {
        char name[TEXT], earlier[TEXT];
        const char *p = k->key;
        bool twice = false;
        word(&p, name, sizeof name);
        for (const sy_family_key *e = w->f->keys; e < k && !twice; e++) {
            p = e->key;
            word(&p, earlier, sizeof earlier);
            twice = !strcmp(name, earlier);
        }
        if (!twice && !k->read_only) write_row(w, k, name);
    }
    for (const sy_family_group *const *g = w->f->groups; g && *g; g++) (*g)->write(w);
    return SY_OK;
}

sy_status sy_card_write(const sy_spec *s, const sy_family *f, const sy_methods *methods, int eos, sy_buf *out, sy_err *err)
{
    sy_config_writing w = { .s = s, .f = f, .methods = methods };
    sy_arena a = { 0 };
    void *router = NULL, *expert = NULL;
    sy_status st = SY_OK;
    if (f && sy_spec_n_sparse(s)) {
        st = sy_method_make(methods, SY_ROUTER, s->router, &a, &w.router_m, &router, err);
        if (st == SY_OK) st = sy_method_make(methods, SY_EXPERT, s->expert, &a, &w.expert_m, &expert, err);
    }
    w.router_s = router;
    w.expert_s = expert;
    sy_json_open(&w.j, out, 2);
    sy_json_begin(&w.j, '{');
    sy_json_key(&w.j, "architectures"), sy_json_begin(&w.j, '['), sy_json_text(&w.j, f ? f->architecture : "SwitchyardForCausalLM"), sy_json_end(&w.j, ']');
    sy_json_key(&w.j, "model_type"), sy_json_text(&w.j, f ? f->name : "switchyard");
    sy_json_key(&w.j, "torch_dtype"), sy_json_text(&w.j, SY_REAL_NAME);
    if (f) {
        sy_json_key(&w.j, "bos_token_id"), sy_json_null(&w.j);
        sy_json_key(&w.j, "eos_token_id");
        if (eos >= 0) sy_json_int(&w.j, eos);
        else sy_json_null(&w.j);
        sy_json_key(&w.j, "pad_token_id"), sy_json_null(&w.j);
        if (st == SY_OK) st = write_family(&w, err);
    } else sy_opt_json_write(sy_spec_opts, s, &w.j);
    sy_json_end(&w.j, '}');
    sy_buf_put(out, "\n", 1);
    sy_arena_free(&a);
    return st == SY_OK && out->failed ? sy_fail(err, SY_ENOMEM, "no memory to write config.json") : st;
}

/* --- whether a family can say a spec --------------------------------------------------------------------------------------- */

/* Fields that say nothing for this spec get one value, so that two specs of one model are equal. */
static void settle(sy_spec *s)
{
    sy_spec d;
    int sparse = sy_spec_n_sparse(s);
    sy_spec_defaults(&d);
    if (!sparse) {
        s->num_experts = d.num_experts, s->zero_experts = 0, s->moe_intermediate_size = 0, s->shared_expert_intermediate_size = 0, s->shared_expert_gate = s->shared_expert_bias = false;
        s->routed_scaling_factor = 1, s->router = d.router, s->expert = d.expert, s->balance = s->edit = "";
    }
    if (!s->zero_experts) s->zero_expert = d.zero_expert;
    if (sparse == s->num_hidden_layers) s->intermediate_size = d.intermediate_size, s->mlp_bias = false, s->swiglu_alpha = s->swiglu_limit = 0;
    if (sparse == s->num_hidden_layers && !s->shared_expert_intermediate_size) s->hidden_act = d.hidden_act;
    bool slides = false;
    for (int l = 0; l < s->num_hidden_layers; l++) slides |= sy_spec_sliding(s, l);
    if (!slides) s->sliding_window = 0, s->window_layers = d.window_layers;
    if (s->attention != SY_MLA) s->q_lora_rank = 0, s->kv_lora_rank = d.kv_lora_rank, s->qk_nope_head_dim = d.qk_nope_head_dim, s->qk_rope_head_dim = d.qk_rope_head_dim,
                                s->v_head_dim = d.v_head_dim, s->lora_norm_eps = d.lora_norm_eps;
    else s->head_dim = 0, s->num_key_value_heads = 0;
    if (s->attention_multiplier > 0 && s->attention_multiplier == 1 / sqrt((double)sy_spec_qk_dim(s))) s->attention_multiplier = 0;
    bool scaled = s->rope_type == SY_ROPE_LLAMA3 || s->rope_type == SY_ROPE_YARN || s->rope_type == SY_ROPE_LONGROPE, yarn = s->rope_type == SY_ROPE_YARN;
    if (!scaled || !s->original_max_position_embeddings) s->original_max_position_embeddings = s->max_position_embeddings;
    if (s->attention != SY_MLA) s->partial_rotary_factor = sy_spec_share(sy_spec_turns(s), s->head_dim);
    if (s->rope_type == SY_ROPE_NONE) s->rope_theta = d.rope_theta, s->partial_rotary_factor = 1, s->rope_interleaved = false, s->rope_layers = d.rope_layers;
    if (s->rope_type == SY_ROPE_NONE || s->rope_type == SY_ROPE_DEFAULT) s->rope_factor = 1;
    if (s->rope_type != SY_ROPE_LLAMA3) s->rope_low_freq_factor = d.rope_low_freq_factor, s->rope_high_freq_factor = d.rope_high_freq_factor;
    if (!yarn) s->rope_beta_fast = d.rope_beta_fast, s->rope_beta_slow = d.rope_beta_slow, s->rope_truncate = true, s->rope_mscale = 0;
    if (!yarn && (s->attention != SY_MLA || !(s->rope_factor > 1))) s->rope_mscale_all_dim = 0;
    if (!yarn && s->rope_type != SY_ROPE_LONGROPE) s->rope_attention_factor = 0;
    if (s->rope_type != SY_ROPE_LONGROPE) s->rope_short_mscale = s->rope_long_mscale = 0, s->rope_short_factor = s->rope_long_factor = "";
}

/* Every method of a list with all its options; NULL when one cannot be made. */
static const char *spelled_out(const sy_methods *m, sy_kind kind, const char *texts, sy_arena *a)
{
    const char *out = "";
    char one[1024];
    for (const char *p = texts; word(&p, one, sizeof one); ) {
        const sy_method *method;
        void *state;
        sy_err err;
        sy_status st = sy_method_make(m, kind, one, a, &method, &state, &err);
        const char *text = st == SY_OK ? sy_method_text(method, state, true, a) : NULL;
        a->failed |= st == SY_ENOMEM || (st == SY_OK && !text);                  /* heap that is not the arena's: no memory is not another model */
        if (!text || !(out = sy_arena_printf(a, "%s %s", out, text))) return NULL;
    }
    return out;
}

/* Two of those, number by number. */
static bool same_methods(const char *a, const char *b)
{
    char x[TEXT], y[TEXT];
    if (!a || !b) return false;
    while (*a && *b) {
        size_t n = strcspn(a, " ,=:"), k = strcspn(b, " ,=:");
        snprintf(x, sizeof x, "%.*s", (int)n, a);
        snprintf(y, sizeof y, "%.*s", (int)k, b);
        if (!same_value(x, y) || a[n] != b[k]) return false;
        a += n + (a[n] != 0), b += k + (b[k] != 0);
    }
    return *a == *b;
}

/* Lists of divisors, which are tensors of floats in some files. */
static bool same_floats(const char *a, const char *b)
{
    for (;;) {
        char *x, *y;
        a += strspn(a, " "), b += strspn(b, " ");
        float v = (float)sy_real_read(a, &x), w = (float)sy_real_read(b, &y);
        if (x == a || y == b) return !*a && !*b;
        if (v != w) return false;
        a = x, b = y;
    }
}

struct comparing { const sy_spec *want, *got; const sy_methods *methods; const char *who; bool lenient; sy_status status; sy_arena *a; sy_err *why; };

static bool same_pattern(const struct comparing *c, bool (*says)(const sy_spec *, int))
{
    for (int l = 0; l < c->want->num_hidden_layers; l++) if (says(c->want, l) != says(c->got, l)) return false;
    return true;
}

static void compare(const sy_opt *row, size_t at, int index, void *arg)
{
    struct comparing *c = arg;
    char a[64], b[64];
    (void)index;
    if (c->status != SY_OK) return;
    const char *x = sy_opt_print(row, c->want, at, a, sizeof a), *y = sy_opt_print(row, c->got, at, b, sizeof b);
    bool same = same_value(x, y);
    sy_kind kind = !strcmp(row->name, "router") ? SY_ROUTER : !strcmp(row->name, "balance") ? SY_BALANCE : !strcmp(row->name, "edit") ? SY_EDIT : SY_EXPERT;
    if (c->lenient && (!strcmp(row->name, "balance") || !strcmp(row->name, "initializer_range"))) return;
    if (row->type == SY_OPT_TEXT) {
        x = *(const char *const *)((const char *)c->want + at), y = *(const char *const *)((const char *)c->got + at);
        if (!strcmp(row->name, "layers")) same = c->want->num_hidden_layers == c->got->num_hidden_layers && same_pattern(c, sy_spec_sparse);
        else if (!strcmp(row->name, "window_layers")) same = same_pattern(c, sy_spec_sliding);
        else if (!strcmp(row->name, "rope_layers")) same = same_pattern(c, sy_spec_rotates);
        else if (!strncmp(row->name, "rope_", 5)) same = same_floats(x, y);
        else same = same_methods(spelled_out(c->methods, kind, x, c->a), spelled_out(c->methods, kind, y, c->a));
    }
    if (c->a->failed) c->status = sy_fail(c->why, SY_ENOMEM, "no memory to compare two models");
    else if (!same) c->status = sy_fail(c->why, SY_EUNSUP, "%s cannot say %s = '%.200s'", c->who, row->name, x);
}

sy_status sy_spec_same(const sy_spec *want, const sy_spec *got, const sy_methods *methods, bool lenient, const char *who, sy_err *why)
{
    sy_spec a = *want, b = *got;
    sy_arena arena = { 0 };
    settle(&a);
    settle(&b);
    struct comparing c = { &a, &b, methods, who, lenient, SY_OK, &arena, why };
    sy_opt_each(sy_spec_opts, compare, &c);
    sy_arena_free(&arena);
    return c.status;
}

sy_status sy_family_accepts(const sy_family *f, const sy_spec *s, const sy_methods *methods, bool lenient, sy_err *why)
{
    sy_buf b = { 0 };
    sy_arena a = { 0 };
    sy_card back = { 0 };
    json_t *root = NULL;
    char who[96];
    sy_err local;
    if (!why) why = &local;
    if (f->router && !sy_spec_n_sparse(s)) return sy_fail(why, SY_EUNSUP, "a model of family %s has sparse layers, this one has none", f->name);
    if (!f->router && sy_spec_n_sparse(s)) return sy_fail(why, SY_EUNSUP, "a model of family %s has no sparse layers, this one has %d", f->name, sy_spec_n_sparse(s));
    sy_status st = sy_card_write(s, f, methods, -1, &b, why);
    if (st == SY_OK) st = sy_json_parse(&root, b.data, b.n, "config.json", why);
    if (st == SY_OK) st = read_root(&back, root, "config.json", &a, NULL, why);
    if (st == SY_OK) {
        snprintf(who, sizeof who, "a config.json of family %s", f->name);
        st = sy_spec_same(s, &back.spec, methods, lenient, who, why);
    }
    json_decref(root);
    sy_buf_free(&b);
    sy_arena_free(&a);
    return st == SY_OK || st == SY_ENOMEM ? st : SY_EUNSUP;
}
