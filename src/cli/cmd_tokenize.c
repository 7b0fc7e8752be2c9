/* cli/cmd_tokenize.c - switchyard tokenize: text to ids and back, a line an input. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/open.h"
#include "core/alloc.h"
#include "core/json.h"
#include "core/utf8.h"
#include "model/tokenizer.h"

typedef struct args { const char *separator; bool decode, offsets, special, add_special, bytes; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, decode, "decode", 0, SY_FLAG_ON, NULL, "ids in, text out"),
    SY_FLAG(args, separator, "separator", 0, SY_FLAG_TEXT, "S", "what stands between texts; default: a line break; \\n \\r \\t \\0 \\\\ as in C"),
    SY_FLAG(args, offsets, "offsets", 0, SY_FLAG_ON, NULL, "ID:BEGIN-END, characters of the text"),
    SY_FLAG(args, special, "special", 0, SY_FLAG_ON, NULL, "special tokens in the text become their ids; with --decode they are written out"),
    SY_FLAG(args, add_special, "add-special", 0, SY_FLAG_ON, NULL, "the tokens that the tokenizer puts around a text, too (bos, eos, [CLS], [SEP])"),
    SY_FLAG(args, bytes, "bytes", 0, SY_FLAG_ON, NULL, "bytes that are not UTF-8 stay what they are, where the tokenizer can; default: U+FFFD"),
    { 0 }
};

typedef struct job {
    sy_cli       *cli;
    const args   *arg;
    sy_tokenizer *tok;
    char         *separator;            /* as bytes */
    size_t        length;
    sy_tokens     tokens;
    sy_buf        text, line;
    long long     inputs;
    size_t        dropped;
} job;

static sy_status read_separator(job *j, sy_err *err)
{
    const char *s = j->arg->separator ? j->arg->separator : "\n";
    char *out = j->separator = sy_arena_strdup(&j->cli->arena, s);
    if (!out) return sy_fail(err, SY_ENOMEM, "no memory for the separator");
    for (; *s; s++) {
        static const char from[] = "nrt0\\", to[] = "\n\r\t\0\\";
        const char *hit = *s == '\\' && s[1] ? strchr(from, s[1]) : NULL;
        if (*s == '\\' && !hit) return sy_fail(err, SY_EARG, "--separator: a backslash stands before one of n r t 0 \\; write \\\\ for itself");
        *out++ = hit ? to[hit - from] : *s;
        s += hit != NULL;
    }
    j->length = (size_t)(out - j->separator);
    return j->length ? SY_OK : sy_fail(err, SY_EARG, "--separator is empty; give the text that stands between inputs");
}

static sy_status print(job *j, sy_err *err)
{
    if (j->line.failed) return sy_fail(err, SY_ENOMEM, "no memory for a line of the output");
    if (j->line.n && fwrite(j->line.data, 1, j->line.n, stdout) != j->line.n) return sy_fail(err, SY_EIO, "standard output cannot be written");
    return SY_OK;
}

/* --- text to ids -------------------------------------------------------------------------------------------------------------- */

static void put_json(job *j)
{
    const sy_tokens *k = &j->tokens;
    sy_json w;
    sy_json_open(&w, &j->line, 0);
    sy_json_begin(&w, '{');
    sy_json_key(&w, "ids"), sy_json_begin(&w, '[');
    for (size_t i = 0; i < k->n; i++) sy_json_int(&w, k->id[i]);
    sy_json_end(&w, ']');
    if (j->arg->offsets) {
        sy_json_key(&w, "offsets"), sy_json_begin(&w, '[');
        for (size_t i = 0; i < k->n; i++) {
            sy_json_begin(&w, '[');
            sy_json_int(&w, k->span[i].begin), sy_json_int(&w, k->span[i].end);
            sy_json_end(&w, ']');
        }
        sy_json_end(&w, ']');
    }
    sy_json_end(&w, '}');
}

static void put_number(sy_buf *b, uint32_t v, char before)
{
    char digits[12], *d = digits + sizeof digits;
    do *--d = (char)('0' + v % 10); while ((v /= 10) != 0);
    if (before) *--d = before;
    sy_buf_put(b, d, (size_t)(digits + sizeof digits - d));
}

static sy_status encode(job *j, const char *text, size_t n, sy_err *err)
{
    const args *a = j->arg;
    int flags = (a->special ? SY_TOKENS_SPECIAL : 0) | (a->add_special ? SY_TOKENS_FRAMED : 0) | (a->offsets ? SY_TOKENS_SPANS : 0) | (a->bytes ? 0 : SY_TOKENS_AS_PACKAGE);
    sy_status st = sy_tokenizer_tokens(j->tok, text, n, flags, &j->tokens, err);
    if (st != SY_OK) return sy_within(err, st, "input %lld", j->inputs);
    j->dropped += j->tokens.dropped;
    sy_buf_clear(&j->line);
    if (j->cli->json) put_json(j);
    else for (size_t i = 0; i < j->tokens.n; i++) {
        put_number(&j->line, (uint32_t)j->tokens.id[i], i ? ' ' : 0);
        if (!a->offsets) continue;
        put_number(&j->line, j->tokens.span[i].begin, ':');
        put_number(&j->line, j->tokens.span[i].end, '-');
    }
    sy_buf_put(&j->line, "\n", 1);
    return print(j, err);
}

/* --- ids to text -------------------------------------------------------------------------------------------------------------- */

/* Numbers with blanks, commas or brackets between them; what --offsets puts behind an id is passed over. */
static sy_status read_ids(job *j, char *line, sy_err *err)
{
    j->tokens.n = 0;
    for (char *s = line + strspn(line, " \t\r,[]"), *end; *s; s = end + strspn(end, " \t\r,[]")) {
        errno = 0;
        long v = strtol(s, &end, 10);
        if (end == s || !strchr(" \t\r,[]:", *end)) return sy_fail(err, SY_EARG, "input %lld: '%.20s' is no id; ids are whole numbers", j->inputs, s);
        if (v < 0 || v >= sy_tokenizer_vocab(j->tok)) return sy_fail(err, SY_EARG, "input %lld: id %.20s; the tokenizer's go from 0 to %d", j->inputs, s, sy_tokenizer_vocab(j->tok) - 1);
        if (*end == ':') end += strcspn(end, " \t\r,[]");
        if (j->tokens.n == j->tokens.room) {
            size_t room = 2 * j->tokens.room + 256;
            int32_t *id = sy_realloc(j->tokens.id, room * sizeof *id);
            if (!id) return sy_fail(err, SY_ENOMEM, "no memory for %zu ids", room);
            j->tokens.id = id;
            j->tokens.room = room;
        }
        j->tokens.id[j->tokens.n++] = (int32_t)v;
    }
    return SY_OK;
}

/* Bytes that are not UTF-8 become U+FFFD. */
static void put_replaced(sy_buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; ) {
        uint32_t cp;
        int len = sy_utf8_next(s + i, n - i, &cp);
        if (len < 0) sy_buf_text(b, "\xEF\xBF\xBD");
        else sy_buf_put(b, s + i, (size_t)len);
        i += (size_t)(len < 0 ? -len : len);
    }
}

static sy_status decode(job *j, char *line, sy_err *err)
{
    SY_TRY(read_ids(j, line, err));
    sy_buf_clear(&j->text);
    sy_buf_clear(&j->line);
    SY_TRY((j->arg->special ? sy_tokenizer_decode_special : sy_tokenizer_decode)(j->tok, j->tokens.id, j->tokens.n, &j->text, err));
    const char *text = j->text.data ? j->text.data : "";
    if (j->cli->json) {
        sy_json w;
        sy_json_open(&w, &j->line, 0);
        sy_json_begin(&w, '{');
        sy_json_key(&w, "text"), sy_json_bytes(&w, text, j->text.n);
        sy_json_end(&w, '}');
        sy_buf_put(&j->line, "\n", 1);
    } else {
        if (j->arg->bytes) sy_buf_put(&j->line, text, j->text.n);
        else put_replaced(&j->line, text, j->text.n);
        sy_buf_put(&j->line, j->separator, j->length);
    }
    return print(j, err);
}

/* --- inputs ---------------------------------------------------------------------------------------------------------------------- */

static sy_status one(job *j, char *text, size_t n, sy_err *err)
{
    j->inputs++;
    if (!j->arg->decode) return encode(j, text, n, err);
    text[n] = 0;                                     /* the separator's place, or the buffer's end */
    return decode(j, text, err);
}

/* Standard input by inputs; the last one may end without a separator. */
static sy_status all(job *j, sy_err *err)
{
    sy_buf b = { 0 };
    const char *by = j->arg->decode ? "\n" : j->separator;
    size_t len = j->arg->decode ? 1 : j->length, done = 0, look = 0;
    sy_status st = SY_OK;
    for (bool more = true; more && st == SY_OK; ) {
        if (*j->cli->stop) { st = sy_fail(err, SY_ESTOP, "stopped at input %lld", j->inputs); break; }
        if (done) {                                  /* what was read moves to the front, then more comes behind it */
            memmove(b.data, b.data + done, b.n - done);
            b.n -= done;
            look -= done;
            done = 0;
        }
        if (!sy_buf_reserve(&b, 1 << 16)) { st = sy_fail(err, SY_ENOMEM, "no memory for an input of %zu bytes", b.n); break; }
        size_t got = fread(b.data + b.n, 1, 1 << 16, stdin);
        more = got > 0;
        b.n += got;
        b.data[b.n] = 0;
        if (!more && ferror(stdin)) { st = sy_fail(err, SY_EIO, "standard input cannot be read: %s", strerror(errno)); break; }
        for (char *hit; st == SY_OK && look < b.n && (hit = memmem(b.data + look, b.n - look, by, len)) != NULL; ) {
            st = one(j, b.data + done, (size_t)(hit - b.data) - done, err);
            done = look = (size_t)(hit - b.data) + len;
        }
        if (st == SY_OK && b.n >= look + len) look = b.n - len + 1;           /* a separator may have begun */
    }
    if (st == SY_OK && done < b.n) st = one(j, b.data + done, b.n - done, err);
    sy_buf_free(&b);
    return st;
}

static sy_status run(sy_cli *cli, void *a, const char *const *words, int n, sy_err *err)
{
    (void)n;
    job j = { .cli = cli, .arg = a };
    if (j.arg->decode && (j.arg->offsets || j.arg->add_special)) return sy_fail(err, SY_EARG, "--%s goes with text, not with --decode", j.arg->offsets ? "offsets" : "add-special");
    SY_TRY(read_separator(&j, err));
    SY_TRY(sy_open_tokenizer_at(words[0], &j.tok, err));
    if (sy_tokenizer_notes(j.tok)) sy_log_info(&cli->log, "%s", sy_tokenizer_notes(j.tok));
    sy_status st = all(&j, err);
    if (j.dropped) sy_log_warn(&cli->log, "%zu bytes have no id in this tokenizer, which has no unknown token either; they were left out", j.dropped);
    sy_tokens_free(&j.tokens);
    sy_buf_free(&j.text);
    sy_buf_free(&j.line);
    sy_tokenizer_close(j.tok);
    return st;
}

const sy_command sy_cmd_tokenize = {
    .name = "tokenize", .summary = "text to ids and back, with any tokenizer", .usage = "MODEL|FILE",
    .text = "Reads texts from standard input, one a line, and prints the ids of each on a line; --decode goes back. MODEL is a model or run folder, FILE\n"
            "a tokenizer.json or a GGUF file. Without flags a text is only that: nothing is put around it, and special tokens written out in it are\n"
            "letters. As in the `tokenizers` package offsets count characters; with --json each line is {\"ids\", \"offsets\"} or {\"text\"}.",
    .example = "echo \"Hello, world!\" | switchyard tokenize run\n  switchyard tokenize tokenizer.json < text.txt | switchyard tokenize tokenizer.json --decode", .flags = flags, .size = sizeof(args),
    .min_words = 1, .max_words = 1, .run = run,
};
