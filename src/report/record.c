/* report/record.c - reading of a run directory. */
#include "report/record.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"

enum {                                  /* a hostile file may name more; what is over is left out and said */
    MAX_AUX = 64, MAX_DOMAIN = 128, MAX_LAYER = 512, MAX_SAMPLE = 2000, MAX_NOTE = 64
};
static const size_t max_file = (size_t)1 << 30;

#define STEP_MAX 9007199254740992.0     /* 2^53: steps stay exact as JavaScript numbers */

static sy_status no_memory(sy_err *err, const char *what)
{
    return sy_fail(err, SY_ENOMEM, "no memory left for %s", what);
}

/* Notes are for people: when even they do not fit, reading goes on without. */
static void note(sy_record *r, const char *fmt, ...) SY_PRINTF(2, 3);
static void note(sy_record *r, const char *fmt, ...)
{
    if (r->n_note == MAX_NOTE) return;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char **list = sy_realloc(r->note, (r->n_note + 1) * sizeof *list);
    if (!list) return;
    r->note = list;
    if ((list[r->n_note] = sy_strdup(text))) r->n_note++;
}

/* --- JSON that was written carelessly ------------------------------------------------------------------------------- */

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* One escape of a string at in[i] == '\\', copied, or U+FFFD for a lone surrogate or NUL; returns the bytes it took. */
static size_t clean_escape(sy_buf *o, const char *in, size_t i, size_t n)
{
    int u = n - i >= 6 && in[i + 1] == 'u' ? hex4(in + i + 2) : -1;
    if (u < 0) {
        sy_buf_put(o, in + i, n - i < 2 ? n - i : 2);
        return n - i < 2 ? n - i : 2;
    }
    if (u >= 0xD800 && u < 0xDC00 && n - i >= 12 && in[i + 6] == '\\' && in[i + 7] == 'u') {
        int low = hex4(in + i + 8);
        if (low >= 0xDC00 && low < 0xE000) { sy_buf_put(o, in + i, 12); return 12; }
    }
    if (!u || (u >= 0xD800 && u < 0xE000)) sy_buf_text(o, "\\ufffd");
    else sy_buf_put(o, in + i, 6);
    return 6;
}

/* Length of a word at p that stands for a number that is none, or 0. */
static size_t word_length(const char *p, size_t n)
{
    static const char *const words[] = { "NaN", "-NaN", "nan", "-nan", "Infinity", "-Infinity", "inf", "-inf" };
    for (size_t w = 0; w < SY_COUNT(words); w++) {
        size_t len = strlen(words[w]);
        if (len <= n && !memcmp(p, words[w], len)) return len;
    }
    return 0;
}

/* Copies JSON with what strict readers refuse put right: NaN and infinities become null; in strings, bytes that are not UTF-8
 * and lone surrogates become U+FFFD and raw control characters are escaped. */
static void clean(sy_buf *o, const char *in, size_t n)
{
    bool string = false;
    for (size_t i = 0; i < n;) {
        size_t from = i;
        if (!string) {
            size_t word = 0;
            while (i < n && in[i] != '"' && !(word = word_length(in + i, n - i))) i++;
            sy_buf_put(o, in + from, i - from);
            if (word) sy_buf_text(o, "null");
            else if (i < n) { sy_buf_put(o, "\"", 1); string = true; word = 1; }
            i += word;
        } else if (in[i] == '\\') {
            i += clean_escape(o, in, i, n);
        } else if ((unsigned char)in[i] < 0x20) {
            sy_buf_printf(o, "\\u%04x", in[i] ? (unsigned)in[i] : 0xFFFDu);
            i++;
        } else {
            uint32_t code;
            int len = sy_utf8_next(in + i, n - i, &code);
            if (len < 0) sy_buf_text(o, "\xEF\xBF\xBD");
            else sy_buf_put(o, in + i, (size_t)len);
            if (in[i] == '"') string = false;
            i += (size_t)(len < 0 ? -len : len);
        }
    }
}

/* Parses an object; SY_EFORMAT when it is none. */
static sy_status parse(json_t **out, const char *text, size_t n, const char *file, sy_err *err)
{
    sy_buf o = { 0 };
    clean(&o, text, n);
    sy_status st = o.failed ? no_memory(err, file) : sy_json_parse(out, o.data ? o.data : "", o.n, file, err);
    sy_buf_free(&o);
    if (st == SY_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        st = sy_fail(err, SY_EFORMAT, "%s does not hold an object", file);
    }
    return st;
}

/* A whole file of the run. SY_OK with *there false when it is missing or cannot be read; then a note says why. */
static sy_status load(sy_record *r, const char *file, sy_buf *b, bool *there, sy_err *err)
{
    char path[4096];
    sy_err why = { 0 };
    *there = false;
    SY_TRY(sy_path(path, sizeof path, r->path, file, err));
    sy_status st = sy_file_read(path, max_file, b, &why);
    if (st == SY_ENOMEM) return no_memory(err, path);
    if (st != SY_OK && st != SY_ENOENT) note(r, "%s was left out: %s.", file, why.text);
    *there = st == SY_OK;
    return SY_OK;
}

/* --- columns -------------------------------------------------------------------------------------------------------- */

const sy_column *sy_record_column(const sy_record *r, sy_column_kind kind, const char *name, int layer)
{
    for (size_t i = 0; i < r->n_column; i++) {
        const sy_column *c = &r->column[i];
        if (c->kind == kind && c->layer == layer && (name ? c->name && !strcmp(c->name, name) : !c->name)) return c;
    }
    return NULL;
}

static size_t column_count(const sy_record *r, sy_column_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_column; i++) n += r->column[i].kind == kind;
    return n;
}

static const size_t column_limit[SY_COLS] = { 1, 1, 1, 1, 1, MAX_AUX, MAX_DOMAIN, MAX_DOMAIN, MAX_DOMAIN, MAX_LAYER, MAX_LAYER, MAX_LAYER };

/* Where a run goes back (it was resumed from an earlier checkpoint, by hand or by accident), the later lines win. */
static void cut_back(sy_record *r, int64_t step, size_t *replaced)
{
    for (size_t i = 0; i < r->n_column; i++)
        for (sy_column *c = &r->column[i]; c->n && c->step[c->n - 1] >= step; c->n--) ++*replaced;
}

typedef struct reading { sy_record *run; int64_t step; size_t over, replaced; } reading;

/* SY_OK too when the column is over its limit (counted in over). */
static sy_status put(reading *rd, sy_column_kind kind, const char *name, int layer, const json_t *value, sy_err *err)
{
    if (!value) return SY_OK;
    sy_record *r = rd->run;
    sy_column *c = (sy_column *)sy_record_column(r, kind, name, layer);
    if (!c) {
        if (column_count(r, kind) >= column_limit[kind]) { rd->over++; return SY_OK; }
        sy_column *all = sy_realloc(r->column, (r->n_column + 1) * sizeof *all);
        if (!all) return no_memory(err, "a curve");
        r->column = all;
        c = &all[r->n_column];
        *c = (sy_column){ .kind = kind, .layer = layer, .name = name ? sy_strdup(name) : NULL };
        if (name && !c->name) return no_memory(err, "a curve's name");
        r->n_column++;
    }
    if (c->n == c->room) {
        size_t room = c->room ? c->room * 2 : 64;
        int64_t *step = sy_realloc(c->step, sy_mul_size(room, sizeof *step));
        if (!step) return no_memory(err, "a curve's steps");
        c->step = step;
        double *v = sy_realloc(c->value, sy_mul_size(room, sizeof *v));
        if (!v) return no_memory(err, "a curve's values");
        c->value = v;
        c->room = room;
    }
    c->step[c->n] = rd->step;
    c->value[c->n++] = json_is_number(value) ? json_number_value(value) : NAN;
    return SY_OK;
}

static bool is_step(const json_t *j)
{
    double v = json_is_number(j) ? json_number_value(j) : -1;
    return v >= 0 && v <= STEP_MAX && v == floor(v);
}

/* One line of metrics.jsonl. */
static sy_status take_metrics(reading *rd, json_t *line, sy_err *err)
{
    static const struct { const char *key; sy_column_kind kind; } plain[] = {
        { "tokens", SY_COL_TOKENS }, { "loss", SY_COL_LOSS }, { "lr", SY_COL_LR }, { "grad_norm", SY_COL_GRAD }, { "tokens_per_s", SY_COL_SPEED } };
    static const struct { const char *key; sy_column_kind kind; } layered[] = {
        { "maxvio", SY_COL_MAXVIO }, { "entropy", SY_COL_ENTROPY }, { "dropped", SY_COL_DROPPED } };
    const char *name;
    json_t *value, *part;
    size_t i;
    for (i = 0; i < SY_COUNT(plain); i++) SY_TRY(put(rd, plain[i].kind, NULL, -1, json_object_get(line, plain[i].key), err));
    json_object_foreach(json_object_get(line, "aux"), name, value) SY_TRY(put(rd, SY_COL_AUX, name, -1, value, err));
    json_object_foreach(json_object_get(line, "loss_by_domain"), name, value) SY_TRY(put(rd, SY_COL_TRAIN, name, -1, value, err));
    json_object_foreach(json_object_get(line, "eval"), name, value) {
        SY_TRY(put(rd, SY_COL_BYTE, name, -1, json_object_get(value, "nats_per_byte"), err));
        SY_TRY(put(rd, SY_COL_TOKEN, name, -1, json_object_get(value, "nats_per_token"), err));
    }
    json_array_foreach(json_object_get(line, "routing"), i, part) {
        json_t *l = json_object_get(part, "layer");
        if (!is_step(l) || json_number_value(l) > 1e6) { rd->over++; continue; }
        for (size_t k = 0; k < SY_COUNT(layered); k++)
            SY_TRY(put(rd, layered[k].kind, NULL, (int)json_number_value(l), json_object_get(part, layered[k].key), err));
    }
    return SY_OK;
}

static sy_status take_sample(reading *rd, json_t *line, sy_err *err)
{
    sy_record *r = rd->run;
    const char *prompt = json_string_value(json_object_get(line, "prompt")), *text = json_string_value(json_object_get(line, "text"));
    if (!text || r->n_sample == MAX_SAMPLE) { rd->over++; return SY_OK; }
    if (!r->sample && !(r->sample = sy_calloc(MAX_SAMPLE, sizeof *r->sample))) return no_memory(err, "samples");
    sy_record_sample *s = &r->sample[r->n_sample++];
    *s = (sy_record_sample){ rd->step, sy_strdup(prompt ? prompt : ""), sy_strdup(text) };
    return s->prompt && s->text ? SY_OK : no_memory(err, "a sample");
}

/* Reads a JSON-lines file; *there tells whether it could be opened. */
static sy_status read_lines(sy_record *r, const char *file, bool ascending, sy_status (*take)(reading *, json_t *, sy_err *), bool *there, sy_err *err)
{
    reading rd = { .run = r };
    sy_buf b = { 0 };
    size_t number = 0, bad = 0, first_bad = 0, back = 0;
    int64_t last = -1;
    bool cut_off = false;
    sy_status st = load(r, file, &b, there, err);
    for (size_t i = 0; st == SY_OK && i < b.n;) {
        const char *p = b.data + i, *nl = memchr(p, '\n', b.n - i);
        size_t n = nl ? (size_t)(nl - p) : b.n - i;
        i += n + 1;
        number++;
        if (strspn(p, " \t\r") >= n) continue;           /* an empty line says nothing; b.data ends with NUL */
        sy_err why = { 0 };
        json_t *j = NULL, *step;
        if (parse(&j, p, n, file, &why) == SY_ENOMEM) st = no_memory(err, file);
        else if (!is_step(step = json_object_get(j, "step"))) {
            if (!nl) cut_off = true;
            else if (!bad++) first_bad = number;
        } else {
            rd.step = (int64_t)json_number_value(step);
            if (ascending && rd.step <= last) { back++; cut_back(r, rd.step, &rd.replaced); }
            last = rd.step;
            st = take(&rd, j, err);
        }
        json_decref(j);
    }
    sy_buf_free(&b);
    if (st != SY_OK) return st;
    if (bad) note(r, "%s: %zu of %zu lines could not be read and were left out, the first is line %zu.", file, bad, number, first_bad);
    if (cut_off) note(r, "%s ends in the middle of line %zu; that line was left out.", file, number);
    if (back) note(r, "%s goes back to an earlier step %zu times; the later lines count, %zu values before them were replaced.", file, back, rd.replaced);
    if (rd.over) note(r, "%s: entries left out: %zu, over this reader's limits or unusable.", file, rd.over);
    return SY_OK;
}

static sy_status read_object(sy_record *r, const char *file, json_t **out, sy_err *err)
{
    sy_buf b = { 0 };
    sy_err why = { 0 };
    bool there;
    sy_status st = load(r, file, &b, &there, err);
    if (st == SY_OK && there) {
        st = parse(out, b.data ? b.data : "", b.n, file, &why);
        if (st == SY_EFORMAT) { note(r, "%s was left out: %s.", file, why.text); st = SY_OK; }
        else if (st != SY_OK) st = no_memory(err, file);
    }
    sy_buf_free(&b);
    return st;
}

/* --- the run -------------------------------------------------------------------------------------------------------- */

/* Last part of a path that names something: "demo/sparse/" -> "sparse"; the whole path for "..", "." and "/". */
static char *last_part(const char *path)
{
    size_t end = strlen(path), from;
    while (end > 1 && path[end - 1] == '/') end--;
    for (from = end; from && path[from - 1] != '/'; from--) ;
    char *name = sy_strdup(path + from);
    if (!name) return NULL;
    name[end - from] = 0;
    if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) { sy_free(name); return sy_strdup(path); }
    return name;
}

static sy_status read_all(sy_record *r, const char *path, sy_err *err)
{
    if (!sy_is_dir(path)) return sy_fail(err, SY_ENOENT, "%s is not a folder; a report is made of the folder that train --out wrote", path);
    if (!(r->path = sy_strdup(path)) || !(r->name = last_part(path))) return no_memory(err, "a run's name");
    bool metrics = false, samples = false;
    SY_TRY(read_lines(r, "metrics.jsonl", true, take_metrics, &metrics, err));
    SY_TRY(read_object(r, "run.json", &r->config, err));
    SY_TRY(read_object(r, "routing.json", &r->routing, err));
    SY_TRY(read_object(r, "analysis.json", &r->analysis, err));
    SY_TRY(read_lines(r, "samples.jsonl", false, take_sample, &samples, err));
    if (!metrics && !r->config && !r->routing && !r->analysis)
        return sy_fail(err, SY_ENOENT, "%s holds no readable metrics.jsonl, run.json, routing.json or analysis.json; a report is made of the folder that train --out wrote", path);
    if (!r->routing) r->routing = json_incref(r->analysis);
    if (!metrics && !sy_record_is_analysis(r)) note(r, "metrics.jsonl is missing, so there are no curves.");
    if (!r->config && !r->n_note && !sy_record_is_analysis(r)) note(r, "run.json is missing, so the options of this run are not known.");
    return SY_OK;
}

sy_status sy_record_read(sy_record *out, const char *path, sy_err *err)
{
    sy_record r = { 0 };
    sy_status st = read_all(&r, path, err);
    if (st != SY_OK) sy_record_free(&r);
    else *out = r;
    return st;
}

sy_status sy_record_of_analysis(sy_record *out, const char *path, const char *json, size_t n, sy_err *err)
{
    sy_record r = { .path = sy_strdup(path), .name = last_part(path) };
    sy_status st = r.path && r.name ? parse(&r.analysis, json, n, path, err) : no_memory(err, "an analysis");
    if (st == SY_OK) r.routing = json_incref(r.analysis);
    if (st != SY_OK) sy_record_free(&r);
    else *out = r;
    return st;
}

bool sy_record_is_analysis(const sy_record *r) { return r->analysis && !r->n_column && !r->config && r->routing == r->analysis && !r->n_sample; }

void sy_record_free(sy_record *r)
{
    for (size_t i = 0; i < r->n_column; i++) {
        sy_free(r->column[i].name);
        sy_free(r->column[i].step);
        sy_free(r->column[i].value);
    }
    for (size_t i = 0; i < r->n_sample; i++) {
        sy_free(r->sample[i].prompt);
        sy_free(r->sample[i].text);
    }
    for (size_t i = 0; i < r->n_note; i++) sy_free(r->note[i]);
    sy_free(r->column);
    sy_free(r->sample);
    sy_free(r->note);
    sy_free(r->path);
    sy_free(r->name);
    json_decref(r->config);
    json_decref(r->routing);
    json_decref(r->analysis);
    *r = (sy_record){ 0 };
}

double sy_column_last(const sy_column *c, int64_t *step)
{
    for (size_t i = c ? c->n : 0; i-- > 0;)
        if (isfinite(c->value[i])) {
            if (step) *step = c->step[i];
            return c->value[i];
        }
    return NAN;
}

double sy_record_heldout(const sy_record *r, sy_column_kind kind, const char *domain)
{
    return sy_column_last(sy_record_column(r, kind, domain, -1), NULL);
}

bool sy_record_is_sparse(const sy_record *r)
{
    return json_array_size(json_object_get(r->routing, "layers")) || column_count(r, SY_COL_MAXVIO) || column_count(r, SY_COL_ENTROPY);
}

double sy_record_seconds(const sy_record *r)
{
    const sy_column *t = sy_record_column(r, SY_COL_TOKENS, NULL, -1), *v = sy_record_column(r, SY_COL_SPEED, NULL, -1);
    double seconds = 0, before = 0;
    size_t k = 0, used = 0;
    for (size_t i = 0; t && v && i < t->n; i++) {
        while (k < v->n && v->step[k] < t->step[i]) k++;
        if (k == v->n) break;
        if (v->step[k] != t->step[i] || !(v->value[k] > 0) || !(t->value[i] >= before)) continue;
        seconds += (t->value[i] - before) / v->value[k];
        before = t->value[i];
        used++;
    }
    return used ? seconds : NAN;
}

double sy_record_number(const sy_record *r, const char *part, const char *key)
{
    const json_t *j = json_object_get(json_object_get(r->config, part), key);
    return json_is_number(j) ? json_number_value(j) : NAN;
}
