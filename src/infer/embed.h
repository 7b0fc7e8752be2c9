/* infer/embed.h - one vector for each text, from an encoder: its hidden states, pooled, of length one. */
#ifndef SY_EMBED_H
#define SY_EMBED_H

#include "model/model.h"

typedef struct sy_pooling {
    int  how;                           /* SY_POOL_MEAN: over all tokens of the text; SY_POOL_CLS: the first */
    bool unit;                          /* divided by its length */
    int  most;                          /* tokens of a text that are read; the others are cut off */
} sy_pooling;

/* What a folder says: modules.json (transformer, pooling, normalisation), 1_Pooling/config.json, sentence_bert_config.json; without modules.json
 * the spec's own pooling, or the mean, of length one. A pooling that is not known is refused by name. */
sy_status sy_pooling_read(sy_pooling *p, const sy_spec *s, const char *dir, sy_err *err);

/* Vectors [n,D] of n texts, text i being the ids from id + first[i] to id + first[i+1] - 1, special tokens included. Texts share passes; a vector does not
 * depend on its neighbours. The tape is reset. SY_EARG: a text without ids or with more than p->most. */
sy_status sy_embed_texts(sy_model *m, sy_tape *t, const sy_pooling *p, const int *id, const int *first, int n, sy_real *out, sy_err *err);

#endif
