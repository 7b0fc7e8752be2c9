/* infer/decode.h - what a decoding method is: the next token from one or more forward passes of the same model. Floor 6: must not know any method.
 *
 * A generator reads ids and has logits for what follows; the sampler chooses from them as from any logits. A decoding method stands in the place of that
 * reading: it runs the model as often as it likes through sy_generator_pass, with overrides and edits of its own and caches of its own, and leaves the
 * scores of the next id. Contract of the hooks: weights and options of the model stay as they are; no global; after the first tokens no malloc on a
 * read of one id that is read once; the same ids in the same reads give the same bits; no file, no environment. */
#ifndef SY_DECODE_H
#define SY_DECODE_H

#include "core/method.h"
#include "infer/generate.h"

enum { SY_DECODE_ABI = 1 };

typedef struct sy_decode_hooks {        /* kind "decode"; s = the method's state: options first, zeroed behind them */
    int abi;
    /* Once, when the generator takes the method: refuses a model that it cannot work with, opens its caches. close runs in any case. */
    sy_status (*open)(void *s, sy_generator *g, sy_err *err);
    /* Ids of the positions g->n .. to-1 stand in g->id and were not read: reads them and gives scores [V], which may be -INFINITY for ids that are excluded, and
     * stand until the next read. `over` may be NULL. */
    sy_status (*read)(void *s, sy_generator *g, int to, const sy_override *over, const sy_real **scores, sy_err *err);
    /* Positions from n on are forgotten; g->kv is cut already. May be NULL. */
    void (*rewind)(void *s, sy_generator *g, int n);
    /* A line on how the request went, for the log. May be NULL. */
    void (*tell)(const void *s, char *text, size_t size);
    void (*close)(void *s);             /* copes with zeroed state; may be NULL */
} sy_decode_hooks;

typedef struct sy_generator_call {      /* how one pass is meant; zeroed = as the model is */
    sy_tape           *tape;            /* reset first; logits and routes lie on it */
    sy_kv             *kv;              /* what was read before; extended */
    const sy_override *over;
    const sy_term     *edits;           /* [sparse layers], or NULL */
    sy_route         **routes;          /* [sparse layers] out, or NULL */
} sy_generator_call;
/* Reads g->id[kv->n .. to-1] in serving mode: the logits [V] after the last. A pass costs what g->madds counts. */
sy_status sy_generator_pass(sy_generator *g, const sy_generator_call *c, int to, const sy_real **logits, sy_err *err);

#endif
