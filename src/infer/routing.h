/* infer/routing.h - what each expert of a model sees, over held-out text and over one sentence: the routing.json of a report. */
#ifndef SY_ROUTING_H
#define SY_ROUTING_H

#include "core/json.h"
#include "data/evaluate.h"
#include "model/tokenizer.h"

typedef struct sy_routing_options {
    int         rows;                   /* windows evaluated at once */
    int         top_tokens;             /* most frequent tokens listed for an expert */
    const char *sentence;               /* shown token by token with experts and next-token tables */
    bool      (*stop)(void *arg);
    void       *arg;
} sy_routing_options;

/* Runs the held-out text of `d` through the model and writes PATH atomically. A dense model gives a file without layers. */
sy_status sy_routing_write(sy_model *m, const sy_data *d, const sy_tokenizer *tok, const sy_routing_options *o, const char *path, sy_err *err);
/* A token's text as one value; bytes that are no text of their own (a part of a character, NUL) are written <0xE2>. */
void      sy_token_json(sy_json *j, const sy_tokenizer *tok, int id);

#endif
