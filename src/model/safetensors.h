/* model/safetensors.h - the safetensors format, read from memory and written to a file. Everything in a file is hostile.
 *
 *   u64 N little-endian | N bytes of JSON | byte buffer.  Checked: no hole, no overlap, sizes that follow from shape and type. */
#ifndef SY_SAFETENSORS_H
#define SY_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/status.h"
#include "kernels/half.h"

#define SY_DTYPE_LIST(X)                                                                                    \
    X(BOOL, 8) X(U8, 8) X(I8, 8) X(F8_E4M3, 8) X(F8_E5M2, 8) X(F8_E8M0, 8) X(I16, 16) X(U16, 16) X(F16, 16)   \
    X(BF16, 16) X(I32, 32) X(U32, 32) X(F32, 32) X(I64, 64) X(U64, 64) X(F64, 64)

typedef enum {
#define X(name, bits) SY_DT_##name,
    SY_DTYPE_LIST(X)
#undef X
    SY_DTYPES
} sy_dtype;

const char *sy_dtype_name(sy_dtype t);
int         sy_dtype_size(sy_dtype t);  /* bytes */

enum { SY_ST_DIMS = 8 };

typedef struct sy_st_tensor {
    const char    *name;
    sy_dtype       type;
    int            nd;
    int64_t        dim[SY_ST_DIMS];
    const uint8_t *data;                /* not aligned; NULL where the file is read through windows: sy_st_bytes */
    size_t         bytes, n;            /* n values */
    size_t         at;                  /* of its first byte in the file */
    sy_map        *in;                  /* the file, or NULL: a buffer in memory */
} sy_st_tensor;

typedef struct sy_st {
    sy_st_tensor *t;                    /* sorted by name */
    int           n;
    const char  **meta;                 /* key, value, key, value, ...; NULL at the end */
} sy_st;

/* Parses a whole file in memory; names and tables go to `a`, data stays where it is. `file` names it in messages. */
sy_status sy_st_parse(sy_st *out, const uint8_t *data, size_t size, const char *file, sy_arena *a, sy_err *err);
/* The same of a map, which is borrowed. SY_EIO when its file was cut while the header was read; the tensors' data is not touched here, and who
 * reads it asks sy_map_status afterwards. */
sy_status sy_st_open(sy_st *out, sy_map *m, const char *file, sy_arena *a, sy_err *err);
/* n bytes of a tensor from its byte `from`: for as long as sy_map_view says. NULL: no room for such a window. */
const uint8_t *sy_st_bytes(const sy_st_tensor *t, size_t from, size_t n);
const sy_st_tensor *sy_st_find(const sy_st *s, const char *name);
const char *sy_st_meta(const sy_st *s, const char *key);        /* NULL when absent */
/* Values from..from+n-1 as float or double (F64, F32, F16, BF16, F8_E4M3, and integers up to 32 bits); SY_EUNSUP for other types. */
sy_status sy_st_read_f32(const sy_st_tensor *t, size_t from, size_t n, float *out, sy_err *err);
sy_status sy_st_read_f64(const sy_st_tensor *t, size_t from, size_t n, double *out, sy_err *err);

typedef struct sy_st_out {              /* one tensor to write */
    const char *name;
    sy_dtype    type;
    int         nd;
    int64_t     dim[SY_ST_DIMS];
    const void *data;                   /* as stored */
} sy_st_out;
size_t sy_st_out_bytes(const sy_st_out *t);
/* Puts the bytes of t[i] into w, all of them and in order. */
typedef sy_status (*sy_st_fill)(void *arg, int i, sy_writer *w, sy_err *err);
/* As sy_st_write, but the data of each tensor is asked for when its turn comes (t[i].data is not looked at). */
sy_status sy_st_write_each(const char *path, const sy_st_out *t, int n, const char *const *meta, sy_st_fill fill, void *arg, sy_err *err);
/* Writes PATH atomically: sorted by descending alignment, then name, header padded to 8, so the same tensors give the same bytes.
 * meta: key, value, ..., NULL; may be NULL. */
sy_status sy_st_write(const char *path, const sy_st_out *t, int n, const char *const *meta, sy_err *err);

#endif
