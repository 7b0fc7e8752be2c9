/* data/data.h - corpora: what to read, how it becomes rows of tokens, and in what order.
 *
 * A source is "path", "name=path", "path@weight" or "name=path@weight". A path is a text file, a JSON-lines file, either of
 * them with .zst, or a folder (read recursively in sorted order; hidden and binary files are left out and counted). A domain is a
 * named group of documents: a named source is one domain; a folder's sub-folders are a domain each, files that lie in it directly form
 * one with its own name; a file's name without its endings names the rest. Sources with equal names form one domain.
 *
 * A text file is one document; a JSON line is one document: its `text`; or `messages`, rendered by a chat template (with the line's `tools`,
 * `documents`, `chat_template_kwargs`) and loss on what the assistant makes of it, or as "<|role|>\ncontent\n" each, loss on
 * the assistant's content and its newline only; or `prompt` and `completion`, joined, loss on the completion only (mask_prompt=false
 * counts the prompt, too). Bytes that are not UTF-8 are kept; a byte order mark at the start of a file is dropped; CRLF stays as it is.
 *
 * The order of the data is a function of (sources, options, seed) and of one integer, the row number: row k is the same whatever was read
 * before it and however rows are batched, so a run resumes exactly by keeping k. In an epoch of a domain every document
 * longer than seq_len is cut into pieces of seq_len at a phase that changes with the epoch, pieces are packed into rows of at most seq_len
 * tokens (a document that fits is never cut; best fit, so rows are full but for a few), and rows are shuffled by Philox. Domains
 * interleave by their weights: after any k rows a domain's share is within one row of its weight. Knows nothing of models but the shape of a batch. */
#ifndef SY_DATA_H
#define SY_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "core/option.h"
#include "model/model.h"                /* sy_batch, sy_segment */
#include "model/tokenizer.h"

typedef struct sy_data_options {        /* all of it decides the data order and belongs into the resolved config */
    int    seq_len;                     /* most tokens of a row, and of a piece of a document */
    double val_fraction;                /* the end of each source that is held out; 0 = none */
    bool   shuffle;                     /* false: documents and rows stay in the order of the sources, phase 0 */
    bool   mask_prompt;
    const char *chat_template;          /* a path; "" and "none": conversations as lines */
    const char *text_field, *messages_field, *prompt_field, *completion_field;  /* gsm8k: prompt_field=question,completion_field=answer */
    int    max_line_mb;                 /* a JSON line above it is refused, MiB */
} sy_data_options;
extern const sy_opt sy_data_opts[];

typedef struct sy_sources {             /* all texts are read during sy_data_open only */
    const char *const *train; int n_train;
    const char *const *eval;  int n_eval;   /* --eval-data; when given nothing of the training sources is held out */
    const char *cache_dir;              /* where tokenised shards are kept; made when absent; NULL: tokens stay in memory, nothing is written */
    void (*progress)(void *arg, const char *domain, double share);  /* while text is tokenised; may be NULL */
    void *arg;
} sy_sources;

typedef struct sy_domain {              /* borrowed until sy_data_close */
    const char *name;
    double  weight;                     /* share of the rows of training, all sum to 1; 0: it is only evaluated */
    int64_t files, skipped;             /* files read; binary files left out */
    int64_t docs, empty;                /* documents; documents without text, left out */
    int64_t train_tokens, train_bytes;  /* bytes: of the text that those tokens stand for */
    int64_t eval_tokens, eval_bytes;
    int64_t masked;                     /* tokens of training without a loss */
    bool    cached;                     /* every shard came from the cache */
} sy_domain;

typedef struct sy_data sy_data;

/* Reads (or finds in the cache) and tokenises everything. `tok` is borrowed until sy_data_close. SY_ENOENT: a path is missing; SY_EFORMAT: a bad
 * line, named by file and number; SY_EARG: nothing to train on, bad names or weights. n_train may be 0 when n_eval is not. */
sy_status sy_data_open(sy_data **out, const sy_sources *src, const sy_data_options *opt, const sy_tokenizer *tok, uint64_t seed, sy_err *err);
void      sy_data_close(sy_data *d);                                     /* NULL is fine */

int              sy_data_domains(const sy_data *d);                      /* training domains first, then those only evaluated */
const sy_domain *sy_data_domain(const sy_data *d, int i);
int              sy_data_find(const sy_data *d, const char *name);       /* -1: no such domain */
/* 32 hex digits over tokens, domains, weights, options and seed; not over paths, times or the cache: equal ids mean the same rows. */
const char      *sy_data_id(const sy_data *d);
/* Rows of one pass over the training text in epoch 0 of every domain, for turning epochs into steps. */
int64_t          sy_data_epoch_rows(const sy_data *d);

/* Adds to count [vocab] how often each id stands in the text that is trained on, every source once, whatever its weight. */
sy_status        sy_data_count_ids(const sy_data *d, int64_t *count, int vocab, sy_err *err);

/* Rows first .. first+rows-1 of the data order as one batch, from the arena. A segment is one piece of a document; its seq_no is
 * the place in the data order of its first token, row * seq_len + offset: unique, so a key for random numbers. `label` is the next
 * token of the same document, at its end the end-of-document token where the tokenizer has one, else -1; masked tokens -1. T is
 * the number of tokens, at most rows * seq_len: rows that are not full are not padded, so `valid` is NULL. Any row may be asked for in any
 * order; forward is fast, backwards replays from the start. No heap after sy_data_open but the arena's. SY_EFORMAT: the cache was damaged under us. */
sy_status sy_data_rows(sy_data *d, int64_t first, int rows, sy_arena *a, sy_batch *batch, sy_err *err);

/* The whole held-out text of one domain in windows of seq_len without overlap: each token but a document's first is predicted exactly once, with the
 * context of its own window only. A batch holds up to rows * seq_len tokens; the last may be shorter. */
typedef struct sy_eval {
    const sy_data *data;
    int     domain, rows;
    int64_t tokens, bytes;              /* predicted so far, and the text they stand for (the end of a document counts as a token of 0 bytes) */
    int64_t part, doc, at, index;       /* position; private */
} sy_eval;
sy_status sy_eval_start(sy_eval *it, const sy_data *d, int domain, int rows, sy_err *err);
/* *more = false and an untouched batch at the end. nats per byte = sum of losses / bytes, per token = / tokens, once all is read. */
sy_status sy_eval_next(sy_eval *it, sy_arena *a, sy_batch *batch, bool *more, sy_err *err);

/* The bytes of every document of `specs`, for training a tokenizer: the first `share` (0..1] of each domain's bytes, long documents in
 * blocks of up to 4 MiB. fn's text is borrowed during the call; a status other than SY_OK ends the walk and comes back. */
sy_status sy_text_each(const char *const *specs, int n, const sy_data_options *opt, double share,
                       sy_status (*fn)(void *arg, const char *domain, const char *text, size_t bytes, sy_err *err), void *arg, sy_err *err);

#endif
