/* model/gguf_card.h - models of a GGUF file: what its keys say of a spec and what its tensors are called, as tables, both ways.
 *
 * An architecture is one row of gguf_arch.c. Names of tensors stand in parts as families have them (family.h), so layout.h finds their places. */
#ifndef SY_GGUF_CARD_H
#define SY_GGUF_CARD_H

#include "model/family.h"
#include "model/gguf.h"

/* A layout of family.h that only GGUF has: inside each head row 2i comes from row i and row 2i+1 from row i + head_dim/2, so that rotating
 * neighbours does what rotating halves did. */
enum { SY_LAY_ROTARY = 1 << 8 };

typedef struct sy_gguf_field {
    const char *key;                    /* without the architecture in front */
    const char *field;                  /* as in sy_family_key; NULL: the key must say `def` where it is there, and is written so */
    const char *def;                    /* the field's value where the key is absent; NULL: it must be there */
    const char *words;                  /* "file=field file=field", or NULL */
} sy_gguf_field;

typedef struct sy_gguf_arch {
    const char *arch;                   /* general.architecture */
    const char *family;                 /* of config.json that it usually becomes */
    const char *base;                   /* fields in common, "key=value,key=value" */
    const char *router, *expert;        /* of its sparse layers, or NULL: it has none. One architecture may have a row of each */
    bool        dense_first;            /* leading_dense_block_count layers are dense, the others sparse; else all are one or the other */
    bool        shared_count;           /* the shared expert is expert_shared_count times as wide as the others */
    bool        mtp;                    /* block_count counts nextn_predict_layers too */
    bool        partial;                /* heads may rotate in part */
    bool        layer_norm;             /* the norms' epsilon has LayerNorm's key */
    bool        longrope;               /* it may have rope_factors_long and rope_factors_short */
    bool        no_rope;                /* positions are learned */
    bool        mla;                    /* key_length and value_length are those of latent attention's heads; q and k rotate as neighbours */
    int         gating;                 /* expert_gating_func (1 where it is absent) of this row among those of one architecture; 0: any */
    const char *qk_norm;                /* the value of qk_norm where blk.0.attn_q_norm.weight is there and the base does not say, or NULL */
    const sy_gguf_field  *fields;       /* beside those that all have; end with a NULL key; NULL: none */
    const sy_family_part *parts;        /* end with a NULL name */
} sy_gguf_arch;

extern const sy_gguf_arch sy_gguf_archs[];           /* in the order in which writing tries them; ends with a NULL arch */

typedef struct sy_gguf_card {
    const sy_gguf_arch *arch;
    sy_family           names;          /* parts alone, for layout.h */
    sy_spec             spec;
    int                 mtp_layers;     /* layers behind the last, left out */
} sy_gguf_card;

/* What the file says of its model. Texts are copied into `a`; the ledger gets a line for defaults that were taken, and may be NULL. */
sy_status sy_gguf_card_read(sy_gguf_card *c, const sy_gguf *g, sy_arena *a, sy_ledger *l, sy_err *err);
/* The architecture that can say all of the spec: that of `family` if it can, else the first that can. SY_EUNSUP with what stands against it. */
sy_status sy_gguf_card_for(sy_gguf_card *c, const char *family, const sy_spec *s, const sy_methods *methods, sy_err *err);
/* The architecture's keys of a spec. */
sy_status sy_gguf_card_write(sy_gguf_writer *g, const sy_gguf_arch *arch, const sy_spec *s, const sy_methods *methods, sy_err *err);
/* By how much each of sy_spec_rotary / 2 angles is divided, which GGUF keeps as vectors: one under rope_type llama3 (rope_freqs.weight), two under
 * longrope. Fills the nth and returns its name; NULL: the spec has no more. */
const char *sy_gguf_divisors(const sy_spec *s, int n, float *out);
/* True for a key that sy_gguf_card_read takes: it need not be kept beside the spec. */
bool      sy_gguf_card_knows(const sy_gguf_card *c, const char *key);

#endif
