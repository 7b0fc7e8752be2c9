/* model/convert_parts.h - what the files of the conversion share: an input of either kind, piece by piece, and the choice of types. */
#ifndef SY_CONVERT_PARTS_H
#define SY_CONVERT_PARTS_H

#include "model/checkpoint.h"
#include "model/convert.h"
#include "model/gguf_files.h"
#include "model/imatrix.h"

typedef struct sy__conversion {
    sy_engine        *eng;
    const sy_convert *o;
    sy_ledger        *l;
    sy_arena          a;
    bool              from_gguf;
    sy_spec          *spec;             /* of the card that was read */
    sy_model         *m;                /* bare: names and sizes of the parameters */
    const char       *family;           /* that the model came from, or NULL */
    char              dir[1024];        /* a folder as input: where its config.json is */
    sy_card           card;
    sy_pieces        *pieces;
    sy_gguf_files     files;
    sy_gguf_card      gcard;
    sy_imatrix        im;               /* n 0: none */
    double            done, all;        /* bytes of numbers, for progress */
    sy_real          *rows;             /* buffer of ROOM values */
    float            *x;                /* the same as floats, in a build of doubles; else rows */
    uint8_t          *out;
} sy__conversion;

enum { SY__ROOM = 1 << 21 };            /* values that are worked on at a time */

typedef struct sy__piece {              /* where a piece of a parameter comes from */
    sy_place              at;
    sy_source             from;         /* of a folder */
    sy_gguf_source        g;            /* of a GGUF file */
    sy_wtype              type;         /* as it is stored; SY_WTYPES: in a form that has no such name (fp8, integers) */
    bool                  whole;        /* it can be read only as a whole */
} sy__piece;

/* SY_OK with neither tensor: it is missing, and the ledger says so. */
sy_status sy__piece_find(sy__conversion *c, const sy_param *p, int e, sy__piece *piece, sy_err *err);
/* Rows from .. from+n-1 of the piece, into c->rows (or `out` when it is not NULL, for whole pieces larger than that). */
sy_status sy__piece_rows(sy__conversion *c, const sy__piece *piece, int from, int n, sy_real *out, sy_err *err);
/* Rows of values become bytes of a type, rows cut over the threads; weight [cols] or NULL. SY_ENUM names the value that does not fit. */
sy_status sy__encode(sy__conversion *c, sy_wtype type, const float *x, const float *weight, int rows, int cols, uint8_t *out, const char *tensor, sy_err *err);
sy_status sy__tell(sy__conversion *c, double bytes, const char *tensor, sy_err *err);
/* The type that a tensor of the output gets; name as it is there. stored: what it has now. A note says why it is not the one asked for, or NULL. */
sy_status sy__type_for(const sy__conversion *c, const char *name, int nd, int cols, sy_wtype stored, sy_wtype *type, const char **note, sy_err *err);

sy_status sy__to_gguf(sy__conversion *c, sy_err *err);               /* convert_gguf.c */
sy_status sy__gguf_again(sy__conversion *c, sy_err *err);            /* one GGUF file from another: names and keys stay */
sy_status sy__to_folder(sy__conversion *c, sy_err *err);             /* convert_folder.c */

#endif
