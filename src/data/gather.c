/* data/gather.c - one walk over the installed files, then one file of documents a domain. */
#include "data/gather.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/sha256.h"
#include "core/utf8.h"

enum { FILE_LEAST = 200, FILE_MOST = 128 << 10, DEPTH_MAX = 32 };

enum { C, CMAKE, LICENCES, MANUALS, PERL, PYTHON, SHELL, DOMAINS };
static const char *const domain_name[DOMAINS] = { "c", "cmake", "licences", "manuals", "perl", "python", "shell" };
static const char *const domain_what[DOMAINS] = { "C headers", "CMake modules", "licences and copyright files", "manual texts", "Perl modules", "Python modules",
                                                  "shell scripts" };

static const char *const places[] = { "etc/init.d", "usr/bin", "usr/include", "usr/lib", "usr/sbin", "usr/share", "var/lib/dpkg/info" };

/* The first rule that fits a file's path decides. Tables of Perl's Unicode data are numbers, not Perl. */
static const struct { int domain; const char *under, *tail; } rules[] = {
    { -1, "usr/share/perl", ".h" },         { LICENCES, "usr/share/common-licenses/", "" }, { LICENCES, "usr/share/doc/", "/copyright" },
    { C, "usr/include/", ".h" },            { CMAKE, "usr/share/", ".cmake" },             { MANUALS, "usr/", ".pod" },
    { MANUALS, "usr/share/doc/", ".txt" },  { MANUALS, "usr/share/doc/", ".md" },          { MANUALS, "usr/share/doc/", ".rst" },
    { MANUALS, "usr/share/doc/", "/README" }, { MANUALS, "usr/share/doc/", "/README.Debian" }, { MANUALS, "usr/share/doc/", "/NEWS" },
    { PERL, "usr/", ".pm" },                { PERL, "usr/bin/", ".pl" },                   { PYTHON, "usr/", ".py" },
    { SHELL, "usr/", ".sh" },               { SHELL, "usr/share/bash-completion/", "" },
};
/* Where files without a telling name are judged by their first line. */
static const char *const script_places[] = { "etc/init.d/", "usr/bin/", "usr/sbin/", "var/lib/dpkg/info/" };
static const struct { int domain; const char *word; } shebangs[] = { { SHELL, "/sh" }, { SHELL, "/bash" }, { SHELL, "/dash" }, { PERL, "perl" }, { PYTHON, "python" } };

typedef struct found {
    const char *path;                   /* below the root */
    uint64_t    key;                    /* of the order */
} found;

typedef struct bag {
    found *f;
    int    n, room;
} bag;

typedef struct gathering {
    const char *root;
    sy_arena   *keep, scratch;          /* keep: what is found; scratch: names of the folders on the way */
    bag         bag[DOMAINS];
    const sy_gather_options *o;
    size_t      judged, all;            /* files read so far, and found */
} gathering;

static sy_status tell(const gathering *g, const char *what, sy_err *err)
{
    if (!g->o->progress) return SY_OK;
    return g->o->progress(g->o->arg, what, g->all ? (double)g->judged / (double)g->all : 0, err);
}

static sy_status no_memory(sy_err *err) { return sy_fail(err, SY_ENOMEM, "no memory for the list of the system's files"); }

static int by_shebang(const char *path)
{
    char head[128] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) return -1;                           /* not for us to read */
    ssize_t n = read(fd, head, sizeof head - 1);
    close(fd);
    if (n < 3 || head[0] != '#' || head[1] != '!') return -1;
    head[strcspn(head, "\n")] = 0;
    for (size_t i = 0; i < SY_COUNT(shebangs); i++)
        if (strstr(head, shebangs[i].word)) return shebangs[i].domain;
    return -1;
}

static int domain_of(const char *path, const char *full)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < SY_COUNT(rules); i++) {
        size_t tail = strlen(rules[i].tail);
        if (!strncmp(path, rules[i].under, strlen(rules[i].under)) && n > tail && !memcmp(path + n - tail, rules[i].tail, tail)) return rules[i].domain;
    }
    for (size_t i = 0; i < SY_COUNT(script_places); i++)
        if (!strncmp(path, script_places[i], strlen(script_places[i]))) return by_shebang(full);
    return -1;
}

static sy_status add(gathering *g, int domain, const char *path, sy_err *err)
{
    bag *b = &g->bag[domain];
    if (b->n == b->room) {
        int room = b->room ? b->room * 2 : 256;
        found *f = sy_arena_array(g->keep, (size_t)room, sizeof *f);
        if (!f) return no_memory(err);
        if (b->n) memcpy(f, b->f, (size_t)b->n * sizeof *f);
        b->f = f;
        b->room = room;
    }
    sy_sha256 s;
    unsigned char digest[32];
    const char *copy = sy_arena_strdup(g->keep, path);
    if (!copy) return no_memory(err);
    sy_sha256_start(&s);
    sy_sha256_text(&s, path);
    sy_sha256_end(&s, digest);
    found *f = &b->f[b->n++];
    f->path = copy;
    memcpy(&f->key, digest, sizeof f->key);
    return SY_OK;
}

/* Links are not followed: each file is met once. What cannot be read is passed by, as another user's files may be. */
static sy_status walk(gathering *g, const char *path, int depth, sy_err *err)
{
    char full[4096], below[4096];
    const char **name;
    int n;
    sy_err why;
    if (depth > DEPTH_MAX || snprintf(full, sizeof full, "%s/%s", g->root, path) >= (int)sizeof full) return SY_OK;
    sy_mark mark = sy_arena_mark(&g->scratch);
    sy_status status = sy_dir_list(full, &g->scratch, &name, &n, &why);
    if (status == SY_ENOMEM) return no_memory(err);
    for (int i = 0; status == SY_OK && i < n; i++) {
        struct stat st;
        if (snprintf(below, sizeof below, "%s/%s", path, name[i]) >= (int)sizeof below) continue;
        if (snprintf(full, sizeof full, "%s/%s", g->root, below) >= (int)sizeof full || lstat(full, &st)) continue;
        if (S_ISDIR(st.st_mode)) SY_TRY(walk(g, below, depth + 1, err));
        if (!S_ISREG(st.st_mode) || st.st_size < FILE_LEAST || st.st_size > FILE_MOST) continue;
        int domain = domain_of(below, full);
        if (domain >= 0) SY_TRY(add(g, domain, below, err));
    }
    sy_arena_release(&g->scratch, mark);
    return SY_OK;
}

static int by_key(const void *a, const void *b)
{
    const found *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : strcmp(x->path, y->path);
}

static bool is_text(const char *t, size_t n)
{
    for (size_t i = 0; i < n; ) {
        uint32_t cp;
        int len = sy_utf8_next(t + i, n - i, &cp);
        if (len <= 0 || !cp) return false;
        i += (size_t)len;
    }
    return true;
}

/* A set of content hashes: open addressing, at most half full. */
typedef struct seen { uint64_t *slot; size_t mask; } seen;

static bool seen_add(seen *s, const char *text, size_t n)
{
    sy_sha256 h;
    unsigned char digest[32];
    uint64_t v;
    sy_sha256_start(&h);
    sy_sha256_add(&h, text, n);
    sy_sha256_end(&h, digest);
    memcpy(&v, digest, sizeof v);
    v |= 1;                                          /* 0 marks an empty slot */
    size_t i = (v >> 1) & s->mask;
    for (; s->slot[i]; i = (i + 1) & s->mask)
        if (s->slot[i] == v) return false;
    s->slot[i] = v;
    return true;
}

static sy_status write_domain(gathering *g, int domain, const char *out, sy_buf *text, sy_buf *lines, seen *s,
                              sy_gathered *r, sy_err *err)
{
    bag *b = &g->bag[domain];
    char dir[1024], path[1024];
    size_t before = g->judged;
    *r = (sy_gathered){ .domain = domain_name[domain], .what = domain_what[domain], .found = b->n };
    if (b->n) qsort(b->f, (size_t)b->n, sizeof *b->f, by_key);
    sy_buf_clear(lines);
    for (int i = 0; i < b->n; i++) {
        char full[4096];
        sy_err why;
        sy_json j;
        SY_TRY(tell(g, r->domain, err));
        g->judged++;
        sy_buf_clear(text);
        snprintf(full, sizeof full, "%s/%s", g->root, b->f[i].path);
        sy_status status = sy_file_read(full, FILE_MOST, text, &why);
        if (status == SY_ENOMEM) return no_memory(err);
        if (status != SY_OK || !is_text(text->data, text->n)) {
            r->unfit++;
            continue;
        }
        if (r->bytes + (int64_t)text->n > g->o->max_bytes) break;
        if (!seen_add(s, text->data, text->n)) {
            r->copies++;
            continue;
        }
        sy_json_open(&j, lines, 0);
        sy_json_begin(&j, '{');
        sy_json_key(&j, "text"), sy_json_bytes(&j, text->data, text->n);
        sy_json_key(&j, "path"), sy_json_text(&j, b->f[i].path);
        sy_json_end(&j, '}');
        sy_buf_put(lines, "\n", 1);
        r->files++;
        r->bytes += (int64_t)text->n;
    }
    if (lines->failed) return no_memory(err);
    g->judged = before + (size_t)b->n;               /* those behind the limit need no look */
    SY_TRY(sy_path(dir, sizeof dir, out, r->domain, err));
    SY_TRY(sy_path(path, sizeof path, dir, "documents.jsonl", err));
    r->kept = r->bytes >= g->o->min_bytes && r->files > 0;
    if (!r->kept) return sy_remove_tree(dir, err);   /* what an earlier gathering left would pass for this one's */
    SY_TRY(sy_mkdirs(dir, err));
    return sy_file_write(path, lines->data, lines->n, err);
}

/* OUT is new, empty, or holds what an earlier gathering wrote. */
static sy_status check_out(const char *out, sy_arena *a, sy_err *err)
{
    const char **name;
    int n = 0;
    if (!sy_file_exists(out)) return sy_mkdirs(out, err);
    SY_TRY(sy_dir_list(out, a, &name, &n, err));
    for (int i = 0; i < n; i++) {
        bool ours = false;
        for (int d = 0; d < DOMAINS; d++) ours = ours || !strcmp(name[i], domain_name[d]);
        if (!ours) return sy_fail(err, SY_EEXIST, "'%s' holds '%s', which no gathering wrote: name an empty folder", out, name[i]);
    }
    return SY_OK;
}

static sy_status gather(gathering *g, const char *out, sy_gathered *r, sy_err *err)
{
    sy_buf text = { 0 }, lines = { 0 };
    seen s = { .mask = 1023 };
    sy_status status = SY_OK;
    SY_TRY(check_out(out, g->keep, err));
    for (size_t i = 0; i < SY_COUNT(places); i++) {
        SY_TRY(tell(g, places[i], err));
        SY_TRY(walk(g, places[i], 0, err));
    }
    for (int d = 0; d < DOMAINS; d++) g->all += (size_t)g->bag[d].n;
    while (s.mask < 2 * g->all) s.mask = 2 * s.mask + 1;
    if (!(s.slot = sy_arena_array(g->keep, s.mask + 1, sizeof *s.slot))) return no_memory(err);
    for (int d = 0; d < DOMAINS && status == SY_OK; d++) status = write_domain(g, d, out, &text, &lines, &s, &r[d], err);
    sy_buf_free(&text);
    sy_buf_free(&lines);
    return status;
}

sy_status sy_gather_system(const char *root, const char *out, const sy_gather_options *o, sy_arena *a, sy_gathered **list, int *n, sy_err *err)
{
    gathering g = { .root = !strcmp(root, "/") ? "" : root, .keep = a, .o = o };
    sy_gathered *r = sy_arena_array(a, DOMAINS, sizeof *r);
    int kept = 0;
    if (!r) return no_memory(err);
    sy_status status = gather(&g, out, r, err);
    sy_arena_free(&g.scratch);
    SY_TRY(status);
    for (int d = 0; d < DOMAINS; d++) kept += r[d].kept;
    if (kept < 2)
        return sy_fail(err, SY_ENOENT, "only %d domains came together below '%s' with %lld bytes each: install gcc, perl or python3, or give text of your own by --data",
                       kept, root, (long long)o->min_bytes);
    *list = r;
    *n = DOMAINS;
    return SY_OK;
}
