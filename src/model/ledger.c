/* model/ledger.c - lines of the account, its sentence and its file. */
#include "model/ledger.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"

static const char *const texts[] = {
#define X(name, text) text,
    SY_LEDGER_LIST(X)
#undef X
};

void sy_ledger_open(sy_ledger *l, const char *what, const char *where)
{
    *l = (sy_ledger){ .what = what, .where = where };
}

void sy_ledger_free(sy_ledger *l)
{
    sy_arena_free(&l->arena);
    *l = (sy_ledger){ 0 };
}

sy_status sy_ledger_add(sy_ledger *l, sy_ledger_kind kind, const char *name, const char *note, uint64_t values, sy_err *err)
{
    if (l->n == l->room) {
        int room = l->room ? 2 * l->room : 128;
        sy_ledger_line *line = sy_arena_array(&l->arena, (size_t)room, sizeof *line);
        if (!line) return sy_fail(err, SY_ENOMEM, "no memory for the ledger of %s", l->where);
        if (l->n) memcpy(line, l->line, (size_t)l->n * sizeof *line);
        l->line = line;
        l->room = room;
    }
    sy_ledger_line *x = &l->line[l->n];
    *x = (sy_ledger_line){ kind, sy_arena_strdup(&l->arena, name), note ? sy_arena_strdup(&l->arena, note) : NULL };
    if (!x->name || (note && !x->note)) return sy_fail(err, SY_ENOMEM, "no memory for the ledger of %s", l->where);
    l->n++;
    l->count[kind]++;
    if (kind <= SY_L_SAVED) {
        l->values += values;
        if (strstr(name, ".experts.")) l->experts++;
    }
    return SY_OK;
}

char *sy_ledger_names(const sy_ledger *l, sy_ledger_kind kind, char *buf, size_t size)
{
    int shown = 0;
    size_t at = 0;
    *buf = 0;
    for (int i = 0; i < l->n && shown < 3 && at < size; i++)
        if (l->line[i].kind == kind) at += (size_t)snprintf(buf + at, size - at, "%s%s", shown++ ? ", " : "", l->line[i].name);
    if (shown < l->count[kind] && at < size) snprintf(buf + at, size - at, " and %d more", l->count[kind] - shown);
    return buf;
}

sy_status sy_ledger_settle(const sy_ledger *l, sy_err *err)
{
    char unknown[320] = "", missing[320] = "", keys[320] = "";
    if (l->strict && l->count[SY_L_KEY]) {
        sy_ledger_names(l, SY_L_KEY, keys, sizeof keys);
        return sy_fail(err, SY_ELEDGER, "%s %s: config.json has keys that are not known to the family: %s; without --strict they are left aside", l->what, l->where, keys);
    }
    if (!l->count[SY_L_UNKNOWN] && !l->count[SY_L_MISSING]) return SY_OK;
    sy_ledger_names(l, SY_L_UNKNOWN, unknown, sizeof unknown);
    sy_ledger_names(l, SY_L_MISSING, missing, sizeof missing);
    return sy_fail(err, SY_ELEDGER, "%s %s: not every tensor is accounted for:%s%s%s%s%s; the files are of another model or damaged: compare config.json with the tensors (switchyard inspect)",
                   l->what, l->where, *missing ? " missing " : "", missing, *missing && *unknown ? ";" : "", *unknown ? " unknown " : "", unknown);
}

char *sy_ledger_summary(const sy_ledger *l, char *buf, size_t size)
{
    int moved = l->count[SY_L_LOADED] + l->count[SY_L_CONVERTED] + l->count[SY_L_SAVED];
    size_t at = (size_t)snprintf(buf, size, "%s: %d tensors (%d expert matrices), %.4g M values", l->what, moved, l->experts, (double)l->values / 1e6);
    for (int k = 0; k < SY_L_KINDS && at < size; k++)
        if (l->count[k] && k != SY_L_LOADED && k != SY_L_SAVED && k != SY_L_NOTE) at += (size_t)snprintf(buf + at, size - at, "; %d %s", l->count[k], texts[k]);
    return buf;
}

sy_status sy_ledger_write(const sy_ledger *l, const char *path, sy_err *err)
{
    sy_buf b = { 0 };
    sy_json j;
    sy_json_open(&j, &b, 1);
    sy_json_begin(&j, '{');
    sy_json_key(&j, "what"), sy_json_text(&j, l->what);
    sy_json_key(&j, "where"), sy_json_text(&j, l->where);
    sy_json_key(&j, "values"), sy_json_int(&j, (long long)l->values);
    sy_json_key(&j, "expert_matrices"), sy_json_int(&j, l->experts);
    for (int k = 0; k < SY_L_KINDS; k++) sy_json_key(&j, texts[k]), sy_json_int(&j, l->count[k]);
    sy_json_key(&j, "tensors");
    sy_json_begin(&j, '[');
    for (int i = 0; i < l->n; i++) {
        sy_json_begin(&j, '{');
        sy_json_key(&j, "name"), sy_json_text(&j, l->line[i].name);
        sy_json_key(&j, "is"), sy_json_text(&j, texts[l->line[i].kind]);
        if (l->line[i].note) sy_json_key(&j, "note"), sy_json_text(&j, l->line[i].note);
        sy_json_end(&j, '}');
    }
    sy_json_end(&j, ']');
    sy_json_end(&j, '}');
    sy_buf_put(&b, "\n", 1);
    sy_status st = b.failed ? sy_fail(err, SY_ENOMEM, "no memory to write %s", path) : sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    return st;
}
