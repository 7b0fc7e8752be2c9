/* model/family.h - families of published models as tables over sy_spec and the engine's own names. Knows no file.
 *
 * families/NAME.c holds one sy_family: which key of config.json is which field, which tensor of a file is which parameter. Both tables are read
 * in both directions. What a family does differently is a value of a field or a layout of a row, never a test for its name elsewhere. A
 * parameter without a row is called the same in the file as in the engine. */
#ifndef SY_FAMILY_H
#define SY_FAMILY_H

#include <jansson.h>

#include "core/json.h"
#include "model/ledger.h"
#include "model/spec.h"

/* One key of config.json and one field. */
typedef struct sy_family_key {
    const char *key;                    /* spellings separated by blanks; all are read, the first is written */
    const char *field;                  /* a key of sy_spec_opts, or router.KEY, expert.KEY: an option of that method. NULL: the key must say `def` */
    const char *def;                    /* the field's value where the key is absent, as an option is written; NULL: the key must be there */
    const char *none;                   /* the field's value where the key is null, and what but false is written as null; NULL: null is as absent */
    const char *words;                  /* "swish=silu silu=silu": file = field; the first of a field's is written. NULL: as they are */
    bool        read_only;              /* never written */
} sy_family_key;

struct sy_config_reading;
struct sy_config_writing;

/* Keys that say something only together. */
typedef struct sy_family_group {
    const char *const *keys;            /* that it understands */
    sy_status (*read)(struct sy_config_reading *r, sy_err *err);
    void      (*write)(struct sy_config_writing *w);     /* as near as its keys can; what they cannot say shows when they are read back */
} sy_family_group;

enum {                                  /* layout of a tensor in the file; own is [N,K] (or [N]) for each expert */
    SY_LAY_TRANSPOSED = 1,              /* [in,out]: y = x W */
    SY_LAY_PAIRS      = 2,              /* the parts alternate row by row; without it they follow each other as blocks */
    SY_LAY_HEADS      = 4,              /* the parts alternate head by head, head_dim rows each */
    SY_LAY_MXFP4      = 8               /* two tensors, FILE_blocks and FILE_scales; read only */
};

typedef struct sy_family_part {
    const char *own;                    /* name of a parameter, "{l}" for a layer, "{e}" for the expert as sy_params has it */
    const char *file;                   /* name in the file; without {e} where own has it, the experts are stacked along a first dimension */
    unsigned    layout;
    int         part, parts;            /* its rows are this part of so many in that tensor; parts 0: all of it */
} sy_family_part;                       /* several rows of one own name: whichever the file has; the first is written */

typedef struct sy_family_skip {         /* tensors that are left out */
    const char *file;                   /* "*" any text, "{l}" a layer's number, "{mtp}" a number of a layer behind the last */
    const char *why;
    bool        square;                 /* only those of shape [1,1,n,n]: a stored causal mask */
} sy_family_skip;

typedef struct sy_family {
    const char *name, *architecture;    /* model_type; the class that transformers opens it with */
    const char *base;                   /* fields that all of the family share, "key=value,key=value", or NULL */
    const char *router, *expert;        /* methods of its sparse layers with what is not a key, or NULL: it has none */
    double      rope_theta;             /* where config.json has none; 0: the family does not rotate */
    double      partial_rotary_factor;  /* the same; 0: the family has no such key */
    bool        rope_mscales;           /* turns by default or by longrope, which says its factors on cosine and sine itself: short_mscale, long_mscale */
    const sy_family_key   *keys;        /* end with a NULL key */
    const sy_family_group *const *groups;            /* end with NULL */
    const char *const     *ignored;     /* keys that say nothing about what is computed in serving; end with NULL; NULL: none */
    const sy_family_part  *parts;       /* end with a NULL name; NULL: all are called the same */
    const sy_family_skip  *skips;       /* end with a NULL name; NULL: none */
    const sy_family_part  *modules;     /* modules whose names in transformers are not those of model.h, with all that is inside them; end with a NULL name; NULL: none */
    const char *prefix;                 /* in front of file names, and may be missing in files; or NULL */
    bool        fp8;                    /* may come as F8_E4M3 with NAME_scale_inv, one scale for each block of 128 x 128 */
    bool        mxfp4;                  /* may come as MXFP4 */
} sy_family;

extern const sy_family *const sy_families[];         /* in the order in which saving tries them; ends with NULL */
const sy_family *sy_family_find(const char *name);   /* by model_type; NULL: none */

/* A module of transformers that gives what one of model.h's names stands for, or some columns of it: `part` of `parts`, laid out as rows of a tensor are. */
enum { SY_MODULE_NAMES = 4 };
typedef struct sy_module_name { char name[96]; unsigned layout; int part, parts; } sy_module_name;
/* Those of one own name, by the longest rows that it begins with; without one it keeps its name. f may be NULL. Returns their number; 0: a row with an
 * empty name says that there is none. */
int sy_family_modules(const sy_family *f, const char *own, sy_module_name out[SY_MODULE_NAMES]);

/* --- config.json ----------------------------------------------------------------------------------------------------------- */

typedef struct sy_card {                /* what a config.json says */
    const sy_family *family;            /* NULL: a model of this engine's own */
    sy_spec spec;
    int     mtp_layers;                 /* layers behind the last that predict further tokens, left out */
    int     fp8_block[2];               /* rows and columns under one scale */
} sy_card;

/* Reads a config.json of any family or of an own model. Texts are copied into `a`. The ledger gets a line for each key that is not listed, for
 * each default that was taken and for each value that was converted; may be NULL. */
sy_status sy_card_read(sy_card *c, const char *path, sy_arena *a, sy_ledger *l, sy_err *err);
/* Appends the config.json of the family (NULL: an own model) to `out`. eos < 0: no end token. */
sy_status sy_card_write(const sy_spec *s, const sy_family *f, const sy_methods *methods, int eos, sy_buf *out, sy_err *err);
/* SY_OK when two specs compute the same, texts of methods compared by their options; else SY_EUNSUP and "WHO cannot say KEY = 'VALUE'" for the
 * first difference. lenient: what serving does not look at (balance terms, the spread of fresh weights) may differ. */
sy_status sy_spec_same(const sy_spec *want, const sy_spec *got, const sy_methods *methods, bool lenient, const char *who, sy_err *why);
/* SY_OK when the family can say all of the spec: what is written reads back as the same, texts of methods compared by their options. lenient: but
 * for what serving does not look at (balance terms, the spread of fresh weights). SY_EUNSUP with the first difference as a sentence; SY_ENOMEM. */
sy_status sy_family_accepts(const sy_family *f, const sy_spec *s, const sy_methods *methods, bool lenient, sy_err *why);

/* --- for the files of families/ -------------------------------------------------------------------------------------------- */

typedef struct sy_config_reading {
    const json_t *root;
    const char   *path;
    sy_card      *c;
    sy_arena     *a;
    sy_ledger    *l;
    sy_buf        router, expert;       /* options so far, "key=value,key=value" */
    bool          failed;
} sy_config_reading;

typedef struct sy_config_writing {
    sy_json          j;
    const sy_spec   *s;
    const sy_family *f;
    const sy_methods *methods;
    const sy_method *router_m, *expert_m;            /* the spec's methods, NULL without sparse layers */
    const void      *router_s, *expert_s;
} sy_config_writing;

sy_status sy__set(sy_config_reading *r, const char *field, const char *value, sy_err *err);     /* a field by its key, as in sy_family_key */
sy_status sy__note(sy_config_reading *r, sy_err *err, const char *name, const char *fmt, ...) SY_PRINTF(4, 5);        /* a line of the ledger */
/* The shortest pattern (spec.h) that says yes[l] of layer l; from the arena, NULL without memory. */
const char *sy__pattern(sy_arena *a, const bool *yes, int n, const char *word_no, const char *word_yes);

#endif
