/* model/sums.c - writing and checking SHA256SUMS. */
#include "model/sums.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/sha256.h"

#define SUMS "SHA256SUMS"
enum { PATH = 1024, HEX = 64, MAX_SUMS = 1 << 20 };

static sy_status add(void *arg, const char *data, size_t n, sy_err *err)
{
    (void)err;
    sy_sha256_add(arg, data, n);
    return SY_OK;
}

static sy_status sum_of(const char *path, char hex[HEX + 1], sy_err *err)
{
    sy_sha256 s;
    unsigned char digest[32];
    sy_sha256_start(&s);
    SY_TRY(sy_file_each(path, add, &s, err));
    sy_sha256_end(&s, digest);
    sy_hex(digest, sizeof digest, hex);
    return SY_OK;
}

static bool listed(const char *name, const char *const *files)
{
    if (!strcmp(name, SUMS)) return false;
    if (!files) return true;
    for (; *files; files++) if (!strcmp(*files, name)) return true;
    return false;
}

sy_status sy_sums_write(const char *dir, const char *const *files, sy_err *err)
{
    char path[PATH], hex[HEX + 1];
    sy_arena a = { 0 };
    sy_buf b = { 0 };
    const char **names;
    int n = 0;
    sy_status st = sy_dir_list(dir, &a, &names, &n, err);
    for (int i = 0; i < n && st == SY_OK; i++) {
        if (!listed(names[i], files)) continue;
        st = sy_path(path, sizeof path, dir, names[i], err);
        if (st == SY_OK) st = sum_of(path, hex, err);
        if (st == SY_OK) sy_buf_printf(&b, "%s  %s\n", hex, names[i]);
    }
    if (st == SY_OK && b.failed) st = sy_fail(err, SY_ENOMEM, "no memory for the checksums of %s", dir);
    if (st == SY_OK) st = sy_path(path, sizeof path, dir, SUMS, err);
    if (st == SY_OK) st = sy_file_write(path, b.data, b.n, err);
    sy_buf_free(&b);
    sy_arena_free(&a);
    return st;
}

sy_status sy_sums_remove(const char *dir, sy_err *err)
{
    char path[PATH];
    SY_TRY(sy_path(path, sizeof path, dir, SUMS, err));
    return sy_remove_tree(path, err);
}

/* The path of a line's file; the line, its newline taken off, is 64 hex digits, two blanks, a plain name. */
static sy_status file_of(const char *dir, const char *line, char path[PATH], sy_err *err)
{
    const char *name = line + HEX + 2;
    if (strspn(line, "0123456789abcdef") != HEX || strncmp(line + HEX, "  ", 2) || !*name || strchr(name, '/'))
        return sy_fail(err, SY_EFORMAT, "%s/%s is damaged", dir, SUMS);
    return sy_path(path, PATH, dir, name, err);
}

static sy_status check_line(const char *path, const char *line, sy_err *err)
{
    char hex[HEX + 1];
    if (!sy_file_exists(path)) return sy_fail(err, SY_EFORMAT, "%s is missing", path);
    SY_TRY(sum_of(path, hex, err));
    return strncmp(hex, line, HEX) ? sy_fail(err, SY_EFORMAT, "%s is damaged: its content does not have the checksum that %s gives", path, SUMS) : SY_OK;
}

/* Checks each file, or with `bytes` only adds up their sizes. */
static sy_status each_line(const char *dir, char *text, int64_t *bytes, sy_err *err)
{
    char path[PATH];
    for (char *line = text, *next; *line; line = next) {
        next = strchr(line, '\n');
        *next = 0;
        SY_TRY(file_of(dir, line, path, err));
        if (!bytes) SY_TRY(check_line(path, line, err));
        else if (sy_file_size(path) > 0) *bytes += sy_file_size(path);
        *next++ = '\n';
    }
    return SY_OK;
}

/* Reads SHA256SUMS: whole lines of text. */
static sy_status read_sums(const char *dir, sy_buf *b, sy_err *err)
{
    char path[PATH];
    SY_TRY(sy_path(path, sizeof path, dir, SUMS, err));
    if (!sy_file_exists(path)) return sy_fail(err, SY_EFORMAT, "%s is missing", path);
    SY_TRY(sy_file_read(path, MAX_SUMS, b, err));
    if (!b->n || strlen(b->data) != b->n || b->data[b->n - 1] != '\n') return sy_fail(err, SY_EFORMAT, "%s is damaged", path);
    return SY_OK;
}

static sy_status check_all(const char *dir, const sy_buf *b, const char *const *must, sy_err *err)
{
    for (; *must; must++) {
        char end[128];
        snprintf(end, sizeof end, "  %s\n", *must);
        if (!strstr(b->data, end)) return sy_fail(err, SY_EFORMAT, "%s/%s does not list %s", dir, SUMS, *must);
    }
    return each_line(dir, b->data, NULL, err);
}

sy_status sy_sums_check(const char *dir, const char *const *must, sy_err *err)
{
    sy_buf b = { 0 };
    sy_status st = read_sums(dir, &b, err);
    if (st == SY_OK) st = check_all(dir, &b, must, err);
    sy_buf_free(&b);
    return st;
}

sy_status sy_sums_check_small(const char *dir, sy_err *err)
{
    char path[PATH];
    int64_t bytes = 0;
    sy_buf b = { 0 };
    SY_TRY(sy_path(path, sizeof path, dir, SUMS, err));
    if (!sy_file_exists(path)) return SY_OK;
    sy_status st = read_sums(dir, &b, err);
    if (st == SY_OK) st = each_line(dir, b.data, &bytes, err);
    if (st == SY_OK && bytes <= SY_SUMS_MOST) st = each_line(dir, b.data, NULL, err);
    sy_buf_free(&b);
    return sy_within(err, st, "the model was changed after it was written (where that was on purpose, delete %s)", SUMS);
}
