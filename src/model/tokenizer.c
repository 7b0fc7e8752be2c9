/* model/tokenizer.c - the tokenizer of bytes. */
#include "model/tokenizer.h"

#include <string.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/json.h"
#include "core/utf8.h"

#define EOT_TEXT "<|endoftext|>"

struct sy_tokenizer {
    bool eot;
    char byte[256];
};

sy_status sy_tokenizer_open_bytes(sy_tokenizer **out, bool eot, sy_err *err)
{
    sy_tokenizer *t = sy_calloc(1, sizeof *t);
    if (!t) return sy_fail(err, SY_ENOMEM, "no memory for a tokenizer");
    t->eot = eot;
    for (int i = 0; i < 256; i++) t->byte[i] = (char)i;
    *out = t;
    return SY_OK;
}

void sy_tokenizer_close(sy_tokenizer *t) { sy_free(t); }

int         sy_tokenizer_vocab(const sy_tokenizer *t) { return 256 + t->eot; }
int         sy_tokenizer_eot(const sy_tokenizer *t) { return t->eot ? 256 : -1; }
const char *sy_tokenizer_id(const sy_tokenizer *t) { return t->eot ? "b7e50000000000000000000000000257" : "b7e50000000000000000000000000256"; }
size_t      sy_tokenizer_most(const sy_tokenizer *t, size_t bytes) { (void)t; return bytes; }

sy_status sy_tokenizer_encode(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    (void)t, (void)err;
    for (size_t i = 0; i < n; i++) id[i] = (unsigned char)text[i];
    *ids = n;
    return SY_OK;
}

sy_status sy_tokenizer_encode_special(const sy_tokenizer *t, const char *text, size_t n, int32_t *id, size_t *ids, sy_err *err)
{
    size_t k = 0, len = strlen(EOT_TEXT);
    if (!t->eot) return sy_tokenizer_encode(t, text, n, id, ids, err);
    for (size_t i = 0; i < n; )
        if (n - i >= len && !memcmp(text + i, EOT_TEXT, len)) { id[k++] = 256; i += len; }
        else id[k++] = (unsigned char)text[i++];
    *ids = k;
    return SY_OK;
}

const char *sy_tokenizer_piece(const sy_tokenizer *t, int id, size_t *n)
{
    *n = id >= 0 && id < 256;
    return *n ? &t->byte[id] : "";
}

int         sy_tokenizer_bytes(const sy_tokenizer *t, int id) { (void)t; return id >= 0 && id < 256; }
const char *sy_tokenizer_special(const sy_tokenizer *t, int id) { return t->eot && id == 256 ? EOT_TEXT : NULL; }
int         sy_tokenizer_find(const sy_tokenizer *t, const char *special) { return t->eot && !strcmp(special, EOT_TEXT) ? 256 : -1; }

sy_status sy_tokenizer_decode(const sy_tokenizer *t, const int32_t *id, size_t n, sy_buf *out, sy_err *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *p = sy_tokenizer_piece(t, id[i], &len);
        sy_buf_put(out, p, len);
    }
    return out->failed ? sy_fail(err, SY_ENOMEM, "no memory to decode %zu tokens", n) : SY_OK;
}

/* --- tokenizer.json ----------------------------------------------------------------------------------------------------- */

/* GPT-2's spelling of bytes in UTF-8: printable ones stand for themselves, the others take U+0100 and up in order. */
static void spell(char out[256][3])
{
    for (int b = 0, other = 256; b < 256; b++) {
        bool plain = (b > 32 && b < 127) || (b > 160 && b < 173) || b > 173;
        out[b][sy_utf8_put((uint32_t)(plain ? b : other++), out[b])] = 0;
    }
}

static sy_status put_file(const char *dir, const char *name, const sy_buf *b, sy_err *err)
{
    char path[1024];
    SY_TRY(sy_path(path, sizeof path, dir, name, err));
    if (b->failed) return sy_fail(err, SY_ENOMEM, "no memory to write %s", path);
    return sy_file_write(path, b->data, b->n, err);
}

static void byte_level(sy_json *j, const char *key)
{
    sy_json_key(j, key);
    sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "ByteLevel");
    sy_json_key(j, "add_prefix_space"), sy_json_bool(j, false);
    sy_json_key(j, "trim_offsets"), sy_json_bool(j, true);
    sy_json_key(j, "use_regex"), sy_json_bool(j, false);
    sy_json_end(j, '}');
}

sy_status sy_tokenizer_save(const sy_tokenizer *t, const char *dir, sy_err *err)
{
    char text[256][3];
    sy_buf b = { 0 };
    sy_json w, *j = &w;
    spell(text);
    sy_json_open(j, &b, 2);
    sy_json_begin(j, '{');
    sy_json_key(j, "version"), sy_json_text(j, "1.0");
    sy_json_key(j, "truncation"), sy_json_null(j);
    sy_json_key(j, "padding"), sy_json_null(j);
    sy_json_key(j, "added_tokens"), sy_json_begin(j, '[');
    if (t->eot) {
        sy_json_begin(j, '{');
        sy_json_key(j, "id"), sy_json_int(j, 256);
        sy_json_key(j, "content"), sy_json_text(j, EOT_TEXT);
        static const char *const flag[] = { "single_word", "lstrip", "rstrip", "normalized" };
        for (size_t i = 0; i < SY_COUNT(flag); i++) sy_json_key(j, flag[i]), sy_json_bool(j, false);
        sy_json_key(j, "special"), sy_json_bool(j, true);
        sy_json_end(j, '}');
    }
    sy_json_end(j, ']');
    sy_json_key(j, "normalizer"), sy_json_null(j);
    byte_level(j, "pre_tokenizer");
    sy_json_key(j, "post_processor"), sy_json_null(j);
    byte_level(j, "decoder");
    sy_json_key(j, "model"), sy_json_begin(j, '{');
    sy_json_key(j, "type"), sy_json_text(j, "BPE");
    static const char *const none[] = { "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix" };
    for (size_t i = 0; i < SY_COUNT(none); i++) sy_json_key(j, none[i]), sy_json_null(j);
    static const char *const off[] = { "fuse_unk", "byte_fallback", "ignore_merges" };
    for (size_t i = 0; i < SY_COUNT(off); i++) sy_json_key(j, off[i]), sy_json_bool(j, false);
    sy_json_key(j, "vocab"), sy_json_begin(j, '{');
    for (int i = 0; i < 256; i++) sy_json_key(j, text[i]), sy_json_int(j, i);
    sy_json_end(j, '}');
    sy_json_key(j, "merges"), sy_json_begin(j, '['), sy_json_end(j, ']');
    sy_json_end(j, '}');
    sy_json_end(j, '}');
    sy_buf_text(&b, "\n");
    sy_status st = put_file(dir, "tokenizer.json", &b, err);
    sy_buf_clear(&b);
    if (st == SY_OK) {
        sy_json_open(j, &b, 2);
        sy_json_begin(j, '{');
        sy_json_key(j, "tokenizer_class"), sy_json_text(j, "PreTrainedTokenizerFast");
        if (t->eot) sy_json_key(j, "eos_token"), sy_json_text(j, EOT_TEXT);
        sy_json_key(j, "clean_up_tokenization_spaces"), sy_json_bool(j, false);
        sy_json_end(j, '}');
        sy_buf_text(&b, "\n");
        st = put_file(dir, "tokenizer_config.json", &b, err);
    }
    sy_buf_free(&b);
    return st;
}

static sy_status from_json(sy_tokenizer **out, json_t *root, const char *path, sy_err *err)
{
    char text[256][3];
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab"), *added = json_object_get(root, "added_tokens");
    bool bytes = json_object_size(vocab) == 256 && json_array_size(json_object_get(model, "merges")) == 0 && json_array_size(added) <= 1;
    spell(text);
    for (int i = 0; bytes && i < 256; i++) {
        json_t *id = json_object_get(vocab, text[i]);
        bytes = json_is_integer(id) && json_integer_value(id) == i;
    }
    if (bytes && json_array_size(added)) {
        const char *content = json_string_value(json_object_get(json_array_get(added, 0), "content"));
        bytes = content && !strcmp(content, EOT_TEXT);
    }
    if (!bytes) return sy_fail(err, SY_EUNSUP, "%s is no tokenizer of bytes; this build reads no other yet", path);
    return sy_tokenizer_open_bytes(out, json_array_size(added) == 1, err);
}

sy_status sy_tokenizer_load(sy_tokenizer **out, const char *path, sy_err *err)
{
    char file[1024];
    json_t *root;
    if (sy_is_dir(path)) {
        SY_TRY(sy_path(file, sizeof file, path, "tokenizer.json", err));
        path = file;
    }
    SY_TRY(sy_json_read(&root, path, (size_t)256 << 20, err));
    sy_status st = from_json(out, root, path, err);
    json_decref(root);
    return st;
}
