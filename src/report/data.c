/* report/data.c - what report.js draws, as JSON: curves thinned, and what files of a run say of its routing checked entry by entry. */
#include <math.h>

#include "core/json.h"
#include "core/utf8.h"
#include "report/curve.h"
#include "report/sheet.h"

enum {                                  /* sizes that keep a page readable and small */
    MAIN_POINTS = 1000, SIDE_POINTS = 240, MAX_LAYERS = 256, MAX_EXPERTS = 1024, MAX_DOMAINS = 64, MAX_COACTIVE = 64,
    TOP_TOKENS = 8, TOP_BUDGET = 6000, MAX_SENTENCE = 256, MAX_SLOTS = 32, MAX_NEXT = 10, MAX_SAMPLES = 32, SAMPLE_BYTES = 4000,
    TOKEN_BYTES = 64, MAX_CELLS = 500000, CONFIG_BYTES = 256 << 10
};

void sy__real(sy_json *j, double v)
{
    if (isfinite(v) && v == rint(v) && fabs(v) < 9e15) sy_json_int(j, (long long)v);
    else sy_json_real(j, v);
}

void sy__member(sy_json *j, const char *key, double v) { sy_json_key(j, key); sy__real(j, v); }

double sy__at_key(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

double sy__at_index(const json_t *a, size_t i)
{
    const json_t *v = json_array_get(a, i);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

bool sy__text_cut(sy_json *j, const char *text, size_t most)
{
    size_t n = strlen(text), len = n < most ? n : most;
    if (len < n) len -= sy_utf8_tail(text, len);
    sy_json_bytes(j, text, len);
    return len < n;
}

/* {"x": steps, "y": values}, thinned. */
static sy_status series(sy_json *j, const sy_column *c, size_t points, sy_err *err)
{
    size_t keep[MAIN_POINTS], n = sy_curve_thin(c->value, c->n, points, keep);
    sy_json_begin(j, '{');
    sy_json_key(j, "x");
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) sy_json_int(j, c->step[keep[i]]);
    sy_json_end(j, ']');
    sy_json_key(j, "y");
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) sy__real(j, c->value[keep[i]]);
    sy_json_end(j, ']');
    sy_json_end(j, '}');
    return j->b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : SY_OK;
}

/* All columns of one kind as an object by name. */
static sy_status named_columns(sy_json *j, const sy_record *r, sy_column_kind kind, sy_err *err)
{
    sy_json_begin(j, '{');
    for (size_t i = 0; i < r->n_column; i++) {
        if (r->column[i].kind != kind || !r->column[i].n) continue;
        sy_json_key(j, r->column[i].name);
        SY_TRY(series(j, &r->column[i], SIDE_POINTS, err));
    }
    sy_json_end(j, '}');
    return SY_OK;
}

static sy_status curves(sy_json *j, const sy_record *r, sy_err *err)
{
    static const struct { const char *key; sy_column_kind kind; size_t points; } plain[] = {
        { "tokens", SY_COL_TOKENS, SIDE_POINTS }, { "loss", SY_COL_LOSS, MAIN_POINTS }, { "lr", SY_COL_LR, SIDE_POINTS },
        { "grad_norm", SY_COL_GRAD, SIDE_POINTS }, { "tokens_per_s", SY_COL_SPEED, SIDE_POINTS } };
    static const struct { const char *key; sy_column_kind kind; } layered[] = { { "maxvio", SY_COL_MAXVIO }, { "entropy", SY_COL_ENTROPY }, { "dropped", SY_COL_DROPPED } };
    sy_json_key(j, "curves");
    sy_json_begin(j, '{');
    for (size_t i = 0; i < SY_COUNT(plain); i++) {
        const sy_column *c = sy_record_column(r, plain[i].kind, NULL, -1);
        if (!c || !c->n) continue;
        sy_json_key(j, plain[i].key);
        SY_TRY(series(j, c, plain[i].points, err));
    }
    sy_json_end(j, '}');
    sy_json_key(j, "aux");
    SY_TRY(named_columns(j, r, SY_COL_AUX, err));
    sy_json_key(j, "train");
    SY_TRY(named_columns(j, r, SY_COL_TRAIN, err));
    sy_json_key(j, "heldout");
    sy_json_begin(j, '{');
    sy_json_key(j, "byte");
    SY_TRY(named_columns(j, r, SY_COL_BYTE, err));
    sy_json_key(j, "token");
    SY_TRY(named_columns(j, r, SY_COL_TOKEN, err));
    sy_json_end(j, '}');
    sy_json_key(j, "routing");
    sy_json_begin(j, '[');
    bool done[MAX_LAYERS] = { false };
    for (size_t i = 0; i < r->n_column; i++) {
        int layer = r->column[i].layer;
        if (layer < 0 || layer >= MAX_LAYERS || done[layer]) continue;
        done[layer] = true;
        sy_json_begin(j, '{');
        sy__member(j, "layer", layer);
        for (size_t k = 0; k < SY_COUNT(layered); k++) {
            const sy_column *c = sy_record_column(r, layered[k].kind, NULL, layer);
            if (!c) continue;
            sy_json_key(j, layered[k].key);
            SY_TRY(series(j, c, SIDE_POINTS, err));
        }
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    return SY_OK;
}

/* Exactly n numbers; what is missing is null. */
static void row_of(sy_json *j, const json_t *a, size_t n)
{
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) sy__real(j, sy__at_index(a, i));
    sy_json_end(j, ']');
}

static const char *string_or(const json_t *s, const char *other) { return json_is_string(s) ? json_string_value(s) : other; }

static void top_tokens(sy_json *j, const json_t *all, size_t slots, size_t each)
{
    sy_json_begin(j, '[');
    for (size_t e = 0; e < slots && e < json_array_size(all); e++) {
        const json_t *list = json_array_get(all, e);
        sy_json_begin(j, '[');
        for (size_t k = 0; k < each && k < json_array_size(list); k++) {
            const json_t *t = json_array_get(list, k);
            sy_json_begin(j, '[');
            sy__text_cut(j, string_or(json_object_get(t, "token"), ""), TOKEN_BYTES);
            sy__real(j, sy__at_key(t, "share"));
            sy__real(j, sy__at_key(t, "count"));
            sy_json_end(j, ']');
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
}

/* Experts and zero-cost experts that a layer claims; 0 where that is no size. */
static size_t slots_of(const json_t *layer, size_t *zero)
{
    double E = sy__at_key(layer, "experts"), Z = sy__at_key(layer, "zero");
    if (!isfinite(Z)) Z = 0;
    if (!(E >= 1 && E <= MAX_EXPERTS && Z >= 0 && Z <= MAX_EXPERTS)) return 0;
    *zero = (size_t)Z;
    return (size_t)E + (size_t)Z;
}

static void layer_json(sy_json *j, const json_t *l, size_t index, size_t n_domain, size_t n_layer)
{
    static const char *const plain[] = { "entropy", "dropped", "passed", "specialisation", "maxvio" };
    size_t zero = 0, slots = slots_of(l, &zero), each = TOP_BUDGET / (slots * n_layer);
    double number_of = sy__at_key(l, "layer");
    sy_json_begin(j, '{');
    sy__member(j, "layer", number_of >= 0 && number_of < 1e6 ? number_of : (double)index);
    sy__member(j, "experts", (double)(slots - zero));
    sy__member(j, "zero", (double)zero);
    for (size_t i = 0; i < SY_COUNT(plain); i++) sy__member(j, plain[i], sy__at_key(l, plain[i]));
    sy_json_key(j, "load");
    row_of(j, json_object_get(l, "load"), slots);
    sy_json_key(j, "by_domain");
    sy_json_begin(j, '[');
    const json_t *by = json_object_get(l, "by_domain"), *co = json_object_get(l, "coactivation");
    if (slots * n_layer * n_domain > MAX_CELLS) n_domain = 0;            /* sizes that only a hostile file claims */
    for (size_t d = 0; d < n_domain && json_is_array(by); d++) row_of(j, json_array_get(by, d), slots);
    sy_json_end(j, ']');
    sy_json_key(j, "coactivation");
    sy_json_begin(j, '[');
    for (size_t e = 0; e < slots && slots <= MAX_COACTIVE && e < json_array_size(co); e++) row_of(j, json_array_get(co, e), json_array_size(co) < slots ? json_array_size(co) : slots);
    sy_json_end(j, ']');
    sy_json_key(j, "top");
    top_tokens(j, json_object_get(l, "top_tokens"), slots, each < 1 ? 1 : each > TOP_TOKENS ? TOP_TOKENS : each);
    sy_json_end(j, '}');
}

/* Experts and weights of one token in one layer; ids that are no index are left out. */
static void slots_json(sy_json *j, const json_t *t)
{
    const json_t *e = json_object_get(t, "experts"), *w = json_object_get(t, "weights");
    size_t n = json_array_size(e) < MAX_SLOTS ? json_array_size(e) : MAX_SLOTS;
    sy_json_begin(j, '{');
    for (int pass = 0; pass < 2; pass++) {
        sy_json_key(j, pass ? "weights" : "experts");
        sy_json_begin(j, '[');
        for (size_t k = 0; k < n; k++) {
            double id = sy__at_index(e, k);
            if (id >= 0 && id < 2 * MAX_EXPERTS && id == floor(id)) sy__real(j, pass ? sy__at_index(w, k) : id);
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, '}');
}

static void sentence_json(sy_json *j, const json_t *s)
{
    const json_t *tokens = json_object_get(s, "tokens"), *layers = json_object_get(s, "layers"), *next = json_object_get(s, "next");
    size_t n = json_array_size(tokens) < MAX_SENTENCE ? json_array_size(tokens) : MAX_SENTENCE;
    sy_json_begin(j, '{');
    sy_json_key(j, "tokens");
    sy_json_begin(j, '[');
    for (size_t t = 0; t < n; t++) sy__text_cut(j, string_or(json_array_get(tokens, t), ""), TOKEN_BYTES);
    sy_json_end(j, ']');
    sy_json_key(j, "layers");
    sy_json_begin(j, '[');
    for (size_t l = 0; l < json_array_size(layers) && l < MAX_LAYERS; l++) {
        sy_json_begin(j, '[');
        for (size_t t = 0; t < n; t++) slots_json(j, json_array_get(json_array_get(layers, l), t));
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
    sy_json_key(j, "next");
    sy_json_begin(j, '[');
    for (size_t t = 0; t < n; t++) {
        const json_t *list = json_array_get(next, t);
        sy_json_begin(j, '[');
        for (size_t k = 0; k < json_array_size(list) && k < MAX_NEXT; k++) {
            const json_t *c = json_array_get(list, k);
            sy_json_begin(j, '[');
            sy__text_cut(j, string_or(json_object_get(c, "token"), ""), TOKEN_BYTES);
            sy__real(j, sy__at_key(c, "p"));
            sy_json_end(j, ']');
        }
        sy_json_end(j, ']');
    }
    sy_json_end(j, ']');
    sy_json_end(j, '}');
}

static void routing_json(sy_json *j, const json_t *r, bool analysed)
{
    const json_t *domains = json_object_get(r, "domains"), *layers = json_object_get(r, "layers"), *sentence = json_object_get(r, "sentence");
    size_t n_domain = json_array_size(domains) < MAX_DOMAINS ? json_array_size(domains) : MAX_DOMAINS;
    size_t n_layer = json_array_size(layers) < MAX_LAYERS ? json_array_size(layers) : MAX_LAYERS, zero;
    sy_json_begin(j, '{');
    sy_json_key(j, "analysed");
    sy_json_bool(j, analysed);
    sy_json_key(j, "domains");
    sy_json_begin(j, '[');
    for (size_t d = 0; d < n_domain; d++) sy__text_cut(j, string_or(json_array_get(domains, d), "?"), TOKEN_BYTES);
    sy_json_end(j, ']');
    sy_json_key(j, "layers");
    sy_json_begin(j, '[');
    for (size_t l = 0; l < n_layer; l++)
        if (slots_of(json_array_get(layers, l), &zero)) layer_json(j, json_array_get(layers, l), l, n_domain, n_layer);
    sy_json_end(j, ']');
    sy_json_key(j, "sentence");
    if (json_is_object(sentence)) sentence_json(j, sentence);
    else sy_json_null(j);
    sy_json_end(j, '}');
}

static void any_json(sy_json *j, const json_t *v)
{
    const char *key;
    json_t *part, *of = (json_t *)v;
    size_t i;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        sy_json_begin(j, '{');
        json_object_foreach(of, key, part) { sy_json_key(j, key); any_json(j, part); }
        sy_json_end(j, '}');
        break;
    case JSON_ARRAY:
        sy_json_begin(j, '[');
        json_array_foreach(of, i, part) any_json(j, part);
        sy_json_end(j, ']');
        break;
    case JSON_STRING:  sy_json_text(j, json_string_value(v)); break;
    case JSON_INTEGER: sy_json_int(j, (long long)json_integer_value(v)); break;
    case JSON_REAL:    sy_json_real(j, json_real_value(v)); break;
    case JSON_TRUE:    sy_json_bool(j, true); break;
    case JSON_FALSE:   sy_json_bool(j, false); break;
    case JSON_NULL:    sy_json_null(j); break;
    }
}

static void sample_json(sy_json *j, const sy_record_sample *s)
{
    sy_json_begin(j, '{');
    sy_json_key(j, "step");
    sy_json_int(j, s->step);
    sy_json_key(j, "prompt");
    sy__text_cut(j, s->prompt, SAMPLE_BYTES);
    sy_json_key(j, "text");
    bool cut = sy__text_cut(j, s->text, SAMPLE_BYTES);
    sy_json_key(j, "cut");
    sy_json_bool(j, cut);
    sy_json_end(j, '}');
}

/* Samples of one step are a group. The newest group, and earlier ones at equal distances, as many as fit. */
static void samples_json(sy_json *j, const sy_record *r)
{
    const sy_record_sample *s = r->sample;
    size_t n = r->n_sample, groups = 0, last = 0, group = 0, k = 0, shown = 0;
    for (size_t i = 0; i < n; i++)
        if (!i || s[i].step != s[i - 1].step) groups++, last = i;
    size_t size = n - last < MAX_SAMPLES ? n - last : MAX_SAMPLES, room = size ? MAX_SAMPLES / size : 0;
    if (room > groups) room = groups;
    sy_json_begin(j, '[');
    for (size_t i = 0; i < n; i++) {
        if (i && s[i].step != s[i - 1].step) group++;
        while (k + 1 < room && k * (groups - 1) / (room - 1) < group) k++;
        bool take = group + 1 == groups ? i - last < size : room > 1 && k * (groups - 1) / (room - 1) == group && shown + size < MAX_SAMPLES;
        if (!take) continue;
        sample_json(j, &s[i]);
        shown++;
    }
    sy_json_end(j, ']');
}

static sy_status run_json(sy_json *j, const sy__sheet *s, int i, sy_err *err)
{
    const sy_record *r = &s->runs[i];
    sy_json_begin(j, '{');
    sy_json_key(j, "name");
    sy_json_text(j, s->label[i]);
    sy_json_key(j, "sparse");
    sy_json_bool(j, sy_record_is_sparse(r));
    sy__member(j, "seconds", sy_record_seconds(r));
    sy__member(j, "step", sy__step_of(r) < 0 ? NAN : (double)sy__step_of(r));
    sy__member(j, "steps_total", sy_record_number(r, "derived", "steps"));
    SY_TRY(curves(j, r, err));
    sy_json_key(j, "final");
    if (r->routing) routing_json(j, r->routing, r->routing == r->analysis);
    else sy_json_null(j);
    sy_json_key(j, "analysis");
    sy__analysis_json(j, r->analysis);
    sy_json_key(j, "samples");
    samples_json(j, r);
    sy_json_key(j, "config");
    size_t before = j->b->n;
    sy_json at = *j;
    if (r->config) any_json(j, r->config);
    else sy_json_null(j);
    if (!j->b->failed && j->b->n - before > CONFIG_BYTES) {  /* no run of ours has so long a config */
        j->b->n = before;
        *j = at;
        sy_json_null(j);
    }
    sy_json_end(j, '}');
    return j->b->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : SY_OK;
}

sy_status sy__sheet_json(const sy__sheet *s, sy_buf *o, sy_err *err)
{
    sy_json j;
    sy_status st = SY_OK;
    sy_json_open(&j, o, 0);
    sy_json_begin(&j, '{');
    sy__member(&j, "baseline", s->base);
    sy_json_key(&j, "runs");
    sy_json_begin(&j, '[');
    for (int i = 0; i < s->n && st == SY_OK; i++) st = run_json(&j, s, i, err);
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    return st == SY_OK && o->failed ? sy_fail(err, SY_ENOMEM, "no memory left for the report") : st;
}

sy_status sy_report_json(const sy_record *runs, int n, sy_buf *o, sy_err *err)
{
    sy__sheet s = { 0 };
    sy_status st = sy__sheet_open(&s, runs, n, err);
    if (st == SY_OK) st = sy__sheet_json(&s, o, err);
    sy__sheet_close(&s);
    return st;
}
