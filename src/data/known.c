/* data/known.c - the table of named data sets. Sizes and checksums are those of the published files. */
#include "data/known.h"

#include <fcntl.h>
#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/option.h"
#include "core/sha256.h"

static const sy_known_file chemprot[] = {
    { "classify/chemprot/train.jsonl", "chemprot", 1121208,
      "ab17b85c4fb869b2338d7c9617414e63f3c7225e5005920b18d9cd996f1049d8" },
    { "classify/chemprot/dev.jsonl", "chemprot", 678657,
      "bfe8f39e5146ad4bb16b23707dade850546a305047bc666f6f6824c6a7e3df2f" },
    { "classify/chemprot/test.jsonl", "chemprot", 960369,
      "372249c85ffea6d9a18dc5168cf45841b3d79b03412d6c620381cfc0dd3d6d49" },
    { 0 }
};
static const sy_known_file gsm8k[] = {
    { "text/gsm8k-train.jsonl", "gsm8k", 4166206,
      "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465" },
    { 0 }
};
static const sy_known_file parallel[] = {
    { "text/parallel/de.txt", "de", 128846,
      "b3334a75152e3dae66e30c22ca64884ac1dea2fac3bdb0611a047cb45406e2b0" },
    { "text/parallel/en.txt", "en", 111421,
      "33ba9e548762dac0b624bd1db8eb077a38d4159d3b126393d6bfbfc3089858f7" },
    { "text/parallel/es.txt", "es", 126104,
      "65e87a764fe4cc1d61883d0f7c6d78dcc2a9017f722776ebb84f49e9de520016" },
    { "text/parallel/fr.txt", "fr", 132745,
      "4bccb566709d155482bf533a2936083d7f0597c42643d9c1eaf2956566c812ac" },
    { "text/parallel/hi.txt", "hi", 287846,
      "c2f8257ccb9469ede767edeb2188424615d7f6fa165b3f4404d63ba78e9b8712" },
    { "text/parallel/ru.txt", "ru", 213766,
      "b38546f79a03ed00e42b13af9e3e910f11bf6cf5905bb3a746d14b4e1ce356c1" },
    { "text/parallel/zh.txt", "zh", 101778,
      "08b8258f235f48d9880b4fc392b89ce81f7f8f8d7b6819f1a12fdd35d8d283fb" },
    { 0 }
};
static const sy_known_file sci_cite[] = {
    { "classify/sci-cite/train.jsonl", "sci-cite", 1991975,
      "3046a7288579c797052f82b55ec1b243231a7d80653462d052ebbbb2a6bd322b" },
    { "classify/sci-cite/dev.jsonl", "sci-cite", 251936,
      "1dc52ca86748d6638642a204eff94714ca6cd6202e73fbe64eab09e3581cad02" },
    { "classify/sci-cite/test.jsonl", "sci-cite", 511173,
      "ac76196975f15d3a4317ccd702da9fc774f9a29caa962f87bbd5d1f9b810f1ab" },
    { 0 }
};
static const sy_known_file shakespeare[] = {
    { "text/shakespeare.txt", "shakespeare", 1115394,
      "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed" },
    { 0 }
};
static const sy_known_file wikitext2[] = {
    { "text/wikitext2-valid.txt", "wikitext2", 1121681,
      "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8" },
    { 0 }
};

const sy_known sy_known_data[] = {
    { "chemprot", "sentences on relations between chemicals and proteins, with labels", "allenai/scibert on GitHub, data/text_classification/chemprot",
      "Apache 2.0 repository", "copy train.txt, dev.txt and test.txt to classify/chemprot/{train,dev,test}.jsonl", "", chemprot },
    { "gsm8k", "7,473 grade-school maths problems with solutions", "openai/grade-school-math on GitHub, grade_school_math/data/train.jsonl",
      "MIT", "copy train.jsonl to text/gsm8k-train.jsonl", "prompt_field=question,completion_field=answer", gsm8k },
    { "parallel", "the same 1,000 sentences in seven languages, a domain each", "UniversalDependencies/UD_*-PUD on GitHub, *-ud-test.conllu",
      "CC BY-SA 3.0", "for each language: sed -n 's/^# text = //p' xx_pud-ud-test.conllu > text/parallel/xx.txt", "", parallel },
    { "sci-cite", "sentences that cite, with what the citation is for", "allenai/scibert on GitHub, data/text_classification/sci-cite",
      "Apache 2.0 repository", "copy train.txt, dev.txt and test.txt to classify/sci-cite/{train,dev,test}.jsonl", "", sci_cite },
    { "shakespeare", "plays of Shakespeare, 1.1 MB", "karpathy/char-rnn on GitHub, data/tinyshakespeare/input.txt", "public domain text",
      "copy input.txt to text/shakespeare.txt", "", shakespeare },
    { "wikitext2", "encyclopedia articles, the validation part of WikiText-2", "pytorch/examples on GitHub, word_language_model/data/wikitext-2/valid.txt",
      "CC BY-SA 3.0", "copy valid.txt to text/wikitext2-valid.txt", "", wikitext2 },
    { 0 }
};

sy_status sy_known_find(const char *name, const sy_known **out, sy_err *err)
{
    const char *names[SY_COUNT(sy_known_data)] = { 0 };
    for (int i = 0; sy_known_data[i].name; i++) {
        names[i] = sy_known_data[i].name;
        if (strcmp(name, names[i])) continue;
        *out = &sy_known_data[i];
        return SY_OK;
    }
    const char *near = sy_nearest(name, names);
    if (near) return sy_fail(err, SY_ENOENT, "no data set is called '%.80s'; did you mean '%s'?", name, near);
    return sy_fail(err, SY_ENOENT, "no data set is called '%.80s' (switchyard data list shows them)", name);
}

const char *sy_known_path(const sy_known_file *f, const char *const *dirs, int n_dirs, sy_arena *a)
{
    const char *last = strrchr(f->path, '/');
    const char *as[] = { f->path, last ? last + 1 : f->path };
    for (int d = 0; d < n_dirs; d++)
        for (size_t i = 0; dirs[d] && i < SY_COUNT(as); i++) {
            const char *path = sy_arena_printf(a, "%s/%s", dirs[d], as[i]);
            if (!path) return NULL;
            if (i ? sy_file_size(path) == f->bytes : sy_file_size(path) >= 0) return path;      /* a bare "train.jsonl" may be another's */
        }
    return NULL;
}

sy_status sy_known_sources(const sy_known *k, const char *const *dirs, int n_dirs, sy_arena *a, const char *const **specs, int *n, sy_err *err)
{
    int count = 0, looked = 0;
    while (k->file[count].path) count++;
    for (int d = 0; d < n_dirs; d++) looked += dirs[d] != NULL;
    const char **list = sy_arena_array(a, (size_t)count, sizeof *list);
    for (int i = 0; list && i < count; i++) {
        const char *path = sy_known_path(&k->file[i], dirs, n_dirs, a);
        if (!path && !a->failed)
            return sy_fail(err, SY_ENOENT, "data set '%s': %s is not in %s%s%s; it comes from %s: %s", k->name, k->file[i].path,
                           looked ? "" : "any folder, none was named by --data-dir or $SY_DATA", looked ? dirs[0] ? dirs[0] : dirs[1] : "",
                           looked > 1 ? " nor in $SY_DATA" : "", k->source, k->get);
        list[i] = path ? sy_arena_printf(a, "%s=%s", k->file[i].domain, path) : NULL;
    }
    if (!list || a->failed) return sy_fail(err, SY_ENOMEM, "no memory for the files of data set '%s'", k->name);
    *specs = list;
    *n = count;
    return SY_OK;
}

static sy_status hash(void *arg, const char *data, size_t n, sy_err *err)
{
    (void)err;
    sy_sha256_add(arg, data, n);
    return SY_OK;
}

sy_status sy_known_check(const sy_known_file *f, const char *path, sy_err *err)
{
    sy_sha256 s;
    unsigned char digest[32];
    char hex[65];
    int64_t bytes = sy_file_size(path);
    if (bytes >= 0 && bytes != f->bytes) return sy_fail(err, SY_EFORMAT, "%s has %lld bytes, the published file %lld", path, (long long)bytes, (long long)f->bytes);
    sy_sha256_start(&s);
    SY_TRY(sy_file_each(path, hash, &s, err));
    sy_sha256_end(&s, digest);
    if (strcmp(sy_hex(digest, 32, hex), f->sha256)) return sy_fail(err, SY_EFORMAT, "%s has another checksum than the published file (%.12s..., not %.12s...)", path, hex, f->sha256);
    return SY_OK;
}
