/* data/source.c - specs, folders and names of domains. */
#include "data/source.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"

enum { NAME_MAX_BYTES = 63, DEPTH_MAX = 64 };

static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._-+", c));
}

bool sy__domain_name_ok(const char *name, size_t n)
{
    if (!n || n > NAME_MAX_BYTES || (n == 3 && !memcmp(name, "all", 3))) return false;
    for (size_t i = 0; i < n; i++)
        if (!name_byte(name[i])) return false;
    return true;
}

static sy_status no_memory(sy_err *err, const char *path) { return sy_fail(err, SY_ENOMEM, "no memory for the list of files of '%s'", path); }

/* Doubles an array that lives in an arena; the old copy stays there until the arena goes. */
static void *grown(sy_arena *a, const void *old, int n, int *room, size_t size)
{
    if (n < *room) return (void *)old;
    int more = *room ? *room * 2 : 16;
    void *p = more > *room ? sy_arena_array(a, (size_t)more, size) : NULL;
    if (!p) return NULL;
    if (n) memcpy(p, old, (size_t)n * size);
    *room = more;
    return p;
}

static sy_status add_file(sy__groups *out, sy__group *g, const char *path, const struct stat *st, sy_err *err)
{
    sy__file *f = grown(out->arena, g->file, g->n, &g->room, sizeof *f);
    const char *copy = sy_arena_strdup(out->arena, path);
    if (!f || !copy) return no_memory(err, path);
    g->file = f;
    f[g->n++] = (sy__file){ copy, st->st_size, (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec };
    return SY_OK;
}

/* Groups are addressed by number: the array moves when it grows. */
static sy_status add_group(sy__groups *out, const char *domain, size_t n, int source, int *number, sy_err *err)
{
    sy__group *g = grown(out->arena, out->g, out->n, &out->room, sizeof *g);
    char *name = sy_arena_alloc(out->arena, NAME_MAX_BYTES + 1);
    if (!g || !name) return no_memory(err, domain);
    if (n > NAME_MAX_BYTES) n = NAME_MAX_BYTES;
    for (size_t i = 0; i < n; i++) name[i] = name_byte(domain[i]) ? domain[i] : '_';
    name[n] = 0;
    if (strspn(name, ".") == n) memcpy(name, "data", 5);                       /* the folder "." */
    if (!strcmp(name, "all")) memcpy(name, "all_", 5);                         /* "all" is the sum of the domains in every table */
    out->g = g;
    *number = out->n;
    g[out->n++] = (sy__group){ .domain = name, .source = source };
    return SY_OK;
}

/* All files below `path` into group `to`; with to < 0 each sub-folder becomes a group, and files of the folder itself one of its own.
 * Links to folders are not followed, so that no loop can arise; links to files are. */
static sy_status walk(sy__groups *out, const char *path, int to, const char *own, size_t own_n, int source, int depth, sy_err *err)
{
    if (depth > DEPTH_MAX) return sy_fail(err, SY_EARG, "'%s' lies more than %d folders deep", path, DEPTH_MAX);
    const char **name = NULL;
    int n = 0, self = to;
    SY_TRY(sy_dir_list(path, out->arena, &name, &n, err));
    size_t len = strlen(path);
    const char *slash = len && path[len - 1] == '/' ? "" : "/";
    for (int pass = 0; pass < 2; pass++)             /* files first, then folders: the group of the folder itself leads */
        for (int i = 0; i < n; i++) {
            struct stat st, target;
            if (name[i][0] == '.') continue;
            char *below = sy_arena_printf(out->arena, "%s%s%s", path, slash, name[i]);
            if (!below) return no_memory(err, path);
            if (lstat(below, &st) || stat(below, &target)) {
                if (errno == ENOENT || errno == ELOOP) continue;        /* it went away, or a link that leads nowhere */
                return sy_fail(err, SY_EIO, "cannot look at '%s': %s", below, strerror(errno));
            }
            if (S_ISDIR(st.st_mode) && pass == 1) {
                int sub = to;
                if (to < 0) SY_TRY(add_group(out, name[i], strlen(name[i]), source, &sub, err));
                SY_TRY(walk(out, below, sub, own, own_n, source, depth + 1, err));
            } else if (S_ISREG(target.st_mode) && pass == 0) {
                if (self < 0) SY_TRY(add_group(out, own, own_n, source, &self, err));
                SY_TRY(add_file(out, &out->g[self], below, &target, err));
            }
        }
    return SY_OK;
}

/* "dir/en.jsonl.zst" -> "en"; a folder keeps its whole last part. */
static const char *base_name(const char *path, bool folder, size_t *n)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t at = end;
    while (at && path[at - 1] != '/') at--;
    *n = end - at;
    static const char *const endings[] = { ".zst", ".jsonl", ".ndjson", ".txt", ".text", ".md" };
    for (size_t i = 0; !folder && i < SY_COUNT(endings); i++) {
        size_t e = strlen(endings[i]);
        if (*n > e && !memcmp(path + at + *n - e, endings[i], e)) *n -= e;
    }
    return path + at;
}

sy_status sy__source_open(sy__groups *out, const char *spec, int source, sy_err *err)
{
    struct stat st;
    const char *name = NULL, *path = spec;
    size_t name_n = 0;
    double weight = 0;
    bool weighted = false;
    if (!*spec) return sy_fail(err, SY_EARG, "an empty source: write path, name=path or name=path@weight");
    bool there = !stat(path, &st);                   /* what exists as it is written is a path, whatever is in its name */
    if (!there) {
        size_t eq = strcspn(spec, "=/");
        if (spec[eq] == '=') {
            if (!sy__domain_name_ok(spec, eq))
                return sy_fail(err, SY_EARG, "source '%s': a domain's name is 1 to %d letters, digits or . _ - +, and not 'all'", spec, NAME_MAX_BYTES);
            name = spec;
            name_n = eq;
            path = spec + eq + 1;
        }
        there = *path && !stat(path, &st);
    }
    const char *at = there ? NULL : strrchr(path, '@');
    if (at) {
        char *end;
        weight = strtod(at + 1, &end);
        if (end != at + 1 && !*end) {
            if (!(weight > 0 && weight <= 1e9)) return sy_fail(err, SY_EARG, "source '%s': its weight must be above 0 and at most 1e9", spec);
            weighted = true;
            if (!(path = sy_arena_printf(out->arena, "%.*s", (int)(at - path), path))) return no_memory(err, spec);
            there = *path && !stat(path, &st);
        }
    }
    if (!there) return sy_fail(err, SY_ENOENT, "data '%s' is not there: %s", path, strerror(*path ? errno : ENOENT));
    bool folder = S_ISDIR(st.st_mode);
    if (!folder && !S_ISREG(st.st_mode)) return sy_fail(err, SY_EARG, "data '%s' is neither a file nor a folder", path);
    size_t own_n;
    const char *own = base_name(path, folder, &own_n);
    int first = out->n, g = -1;
    if (name || !folder) SY_TRY(add_group(out, name ? name : own, name ? name_n : own_n, source, &g, err));
    if (folder) SY_TRY(walk(out, path, g, own, own_n, source, 0, err));
    else SY_TRY(add_file(out, &out->g[g], path, &st, err));
    int kept = first;                                /* sub-folders without a file are no domain */
    for (int i = first; i < out->n; i++) {
        if (!out->g[i].n) continue;
        out->g[i].weight = weight;
        out->g[i].weighted = weighted;
        out->g[kept++] = out->g[i];
    }
    out->n = kept;
    if (kept == first) return sy_fail(err, SY_EARG, "the folder '%s' holds no files", path);
    return SY_OK;
}
