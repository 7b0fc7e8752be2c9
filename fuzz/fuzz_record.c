/* fuzz_record - hostile run folders through the report: the input, cut at each byte 0x1e, is metrics.jsonl, run.json, routing.json and samples.jsonl. What can
 * be read becomes a page whose data is JSON and whose text opens no script of its own, and a table; else there is a sentence. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "report/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const char sy__report_html[];

static const char *const file[] = { "metrics.jsonl", "run.json", "routing.json", "samples.jsonl" };
static int fd[4];
static char dir[] = "/tmp/fuzz_record.XXXXXX";
static void clean(void) { sy_remove_tree(dir, NULL); }

static void must(bool ok) { if (!ok) abort(); }

static void open_folder(void)
{
    must(mkdtemp(dir) != NULL);
    for (int i = 0; i < 4; i++) {
        char link[64], path[64];
        must((fd[i] = memfd_create(file[i], 0)) >= 0);
        snprintf(path, sizeof path, "%s/%s", dir, file[i]);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd[i]);
        must(symlink(link, path) == 0);
    }
    atexit(clean);
}

static int scripts(const char *p)
{
    int n = 0;
    for (; (p = strstr(p, "<script")); p++) n++;
    return n;
}

static void check(const sy_record *runs, int n)
{
    sy_buf json = { 0 }, page = { 0 }, table = { 0 };
    sy_err err;
    json_t *root;
    must(sy_report_json(runs, n, &json, &err) == SY_OK && sy_json_parse(&root, json.data, json.n, "data", &err) == SY_OK);
    json_decref(root);
    must(sy_report_html(runs, n, &page, &err) == SY_OK && strlen(page.data) == page.n && scripts(page.data) == scripts(sy__report_html));
    must(sy_report_text(runs, n, &table, &err) == SY_OK);
    for (size_t i = 0; i < table.n; i++) must((unsigned char)table.data[i] >= 0x20 || table.data[i] == '\n');
    sy_buf_free(&json);
    sy_buf_free(&page);
    sy_buf_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sy_record r[2];
    sy_err err = { 0 };
    if (!*fd) open_folder();
    for (int i = 0; i < 4; i++) {
        const uint8_t *cut = i < 3 && size ? memchr(data, 0x1e, size) : NULL;
        size_t n = cut ? (size_t)(cut - data) : size;
        must(ftruncate(fd[i], 0) == 0 && pwrite(fd[i], data, n, 0) == (ssize_t)n);
        data += cut ? n + 1 : n;
        size -= cut ? n + 1 : n;
    }
    sy_status st = sy_record_read(&r[0], dir, &err);
    if (st != SY_OK) {
        must(*err.text && !strchr(err.text, '\n'));
        return 0;
    }
    check(r, 1);
    must(sy_record_read(&r[1], dir, &err) == SY_OK);
    check(r, 2);                                     /* compared with itself */
    sy_record_free(&r[0]);
    sy_record_free(&r[1]);
    return 0;
}
