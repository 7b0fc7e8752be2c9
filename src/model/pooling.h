/* model/pooling.h - the vector that a sentence encoder makes of a text: which hidden states, and of which length. */
#ifndef SY_POOLING_H
#define SY_POOLING_H

#include "model/spec.h"

typedef struct sy_pooling {
    int  how;                           /* SY_POOL_MEAN: over all tokens of the text; SY_POOL_CLS: the first */
    bool unit;                          /* divided by its length */
    int  most;                          /* tokens of a text that are read; the others are cut off */
} sy_pooling;

/* What a folder says: modules.json (transformer, pooling, normalisation), 1_Pooling/config.json, sentence_bert_config.json; without modules.json
 * the spec's own pooling, or the mean, of length one. A pooling that is not known is refused by name. */
sy_status sy_pooling_read(sy_pooling *p, const sy_spec *s, const char *dir, sy_err *err);
/* modules.json and 1_Pooling/config.json of an encoder whose vectors have length one. */
sy_status sy_pooling_write(int how, const char *dir, sy_err *err);

#endif
