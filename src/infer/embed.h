/* infer/embed.h - one vector for each text, from an encoder: its hidden states, pooled, of length one. */
#ifndef SY_EMBED_H
#define SY_EMBED_H

#include "model/model.h"
#include "model/pooling.h"

/* Vectors [n,D] of n texts, text i being the ids from id + first[i] to id + first[i+1] - 1, special tokens included. Texts share passes; a vector does not
 * depend on its neighbours. The tape is reset. SY_EARG: a text without ids or with more than p->most. */
sy_status sy_embed_texts(sy_model *m, sy_tape *t, const sy_pooling *p, const int *id, const int *first, int n, sy_real *out, sy_err *err);

#endif
