/* model/gguf.h - the GGUF format, version 3: read from memory and written to a file. Everything in a file is hostile.
 *
 *   "GGUF" | u32 version | i64 tensors | i64 keys | keys with typed values | tensor infos | padding | tensor data
 *
 * Every value of the metadata is kept as it is stored, in the file's order, so that it can be written again. Knows no model. */
#ifndef SY_GGUF_H
#define SY_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/file.h"
#include "kernels/quant.h"

/* The types of values, in the file's numbering; name and bytes of one (0: of varying length). */
#define SY_GGUF_TYPE_LIST(X)                                                                                        \
    X(U8, "u8", 1) X(I8, "i8", 1) X(U16, "u16", 2) X(I16, "i16", 2) X(U32, "u32", 4) X(I32, "i32", 4) X(F32, "f32", 4) \
    X(BOOL, "bool", 1) X(TEXT, "string", 0) X(ARRAY, "array", 0) X(U64, "u64", 8) X(I64, "i64", 8) X(F64, "f64", 8)

typedef enum {
#define X(name, text, bytes) SY_GGUF_##name,
    SY_GGUF_TYPE_LIST(X)
#undef X
    SY_GGUF_TYPES
} sy_gguf_type;

typedef struct sy_gguf_key {
    const char    *key;
    sy_gguf_type   type, elem;          /* elem: of an array; else the same as type */
    uint64_t       n;                   /* elements of an array, else 1 */
    const uint8_t *data;                /* the first element; not aligned. A text is u64 length and bytes */
    const uint8_t *raw; size_t bytes;   /* the whole value as stored (an array: with its element type and count) */
} sy_gguf_key;

enum { SY_GGUF_DIMS = 4 };

typedef struct sy_gguf_tensor {
    const char    *name;
    uint32_t       id;                  /* type as the file numbers it; every one whose size is known */
    sy_wtype       type;                /* SY_WTYPES: one that can be listed and copied, and whose values cannot be read */
    int            nd;
    int64_t        dim[SY_GGUF_DIMS];   /* innermost last, as everywhere in this program; the file has them the other way round */
    const uint8_t *data;                /* NULL where the file is read through windows: sy_gguf_bytes */
    size_t         bytes, n;            /* n values */
    size_t         at;                  /* of its first byte in the file */
    sy_map        *in;                  /* the file, or NULL: a buffer in memory */
} sy_gguf_tensor;

typedef struct sy_gguf {
    const char     *file;
    uint32_t        version, alignment;
    sy_gguf_key    *key;                /* in the file's order */
    sy_gguf_tensor *t;                  /* in the file's order */
    int             keys, n;
    const int      *key_by_name, *by_name;
} sy_gguf;

/* Parses a whole file in memory. Names and tables go to `a`, values and data stay where they are; `file` names it in messages and is
 * borrowed. Checked: every length against what is left, names unique, tensors one behind the other with the alignment between them. */
sy_status sy_gguf_parse(sy_gguf *out, const uint8_t *data, size_t size, const char *file, sy_arena *a, sy_err *err);
/* The same of a map, which is borrowed. SY_EIO when its file was cut meanwhile; who reads the tensors' data asks sy_map_status afterwards. */
sy_status sy_gguf_open(sy_gguf *out, sy_map *m, const char *file, sy_arena *a, sy_err *err);
/* n bytes of a tensor from its byte `from`: for as long as sy_map_view says. NULL: no room for such a window. */
const uint8_t *sy_gguf_bytes(const sy_gguf_tensor *t, size_t from, size_t n);
/* Maps a file, parses it and hands it to `look`, whose status is returned unless the file was cut meanwhile (SY_EIO): what `look` has made is the caller's then, too. *is false,
 * SY_OK: it does not begin as GGUF files do. */
sy_status sy_gguf_look(const char *path, sy_status (*look)(void *arg, const sy_gguf *g, sy_err *err), void *arg, bool *is, sy_err *err);
/* Several files of one model as one: the keys of the first, the tensors of all. SY_EFORMAT: one stands in two of them. */
sy_status sy_gguf_join(sy_gguf *out, const sy_gguf *g, int n, sy_arena *a, sy_err *err);
const sy_gguf_tensor *sy_gguf_find(const sy_gguf *g, const char *name);
const sy_gguf_key    *sy_gguf_key_find(const sy_gguf *g, const char *key);
const char *sy_gguf_type_name(sy_gguf_type t);
const char *sy_gguf_tensor_type(uint32_t id);         /* "Q4_K", "IQ2_XXS"; "?" */

/* One key. Absent: *out stays as it is, which is fine unless it `must` be there. Another kind or a value outside lo .. hi is SY_EFORMAT.
 * A whole number may be stored in any integer type. Texts are copied into `a` and hold no NUL. */
sy_status sy_gguf_int(const sy_gguf *g, const char *key, bool must, int64_t lo, int64_t hi, int64_t *out, sy_err *err);
sy_status sy_gguf_real(const sy_gguf *g, const char *key, bool must, double lo, double hi, double *out, sy_err *err);
sy_status sy_gguf_bool(const sy_gguf *g, const char *key, bool must, bool *out, sy_err *err);
sy_status sy_gguf_text(const sy_gguf *g, const char *key, bool must, sy_arena *a, const char **out, sy_err *err);
/* Element i of a key whose elements are integers or reals (any type that fits); false when they are not. */
bool      sy_gguf_elem_int(const sy_gguf_key *k, uint64_t i, int64_t *out);
bool      sy_gguf_elem_real(const sy_gguf_key *k, uint64_t i, double *out);
/* Walks the texts of a text or an array of texts: *at starts at k->data and moves on; at most k->n calls. Returns the bytes, *len of them. */
const char *sy_gguf_next_text(const uint8_t **at, size_t *len);

/* The ids that end a text: eos, then eot and eom, each once; *n of at most SY_GGUF_ENDS. */
enum { SY_GGUF_ENDS = 3 };
sy_status sy_gguf_ends(const sy_gguf *g, int id[SY_GGUF_ENDS], int *n, sy_err *err);

/* --- writing: metadata and tensors are declared, then the data follows in the order of declaration --- */

typedef struct sy_gguf_writer {
    sy_writer   w;
    sy_buf      keys, infos;            /* as they will stand in the file */
    uint64_t    n_keys, n, offset, size;            /* offset: of the next declared tensor; size: data written so far */
    uint64_t    left, at;               /* bytes that the current tensor still wants; index of the next one */
    sy_arena    arena;
    uint64_t   *bytes; size_t room;     /* of each declared tensor */
    bool        begun;
} sy_gguf_writer;

enum { SY_GGUF_ALIGNMENT = 32 };

/* The file appears whole at close, or not at all. Abandon it after any failure; twice is fine. */
sy_status sy_gguf_writer_open(sy_gguf_writer *g, const char *path, sy_err *err);
void      sy_gguf_put_u32(sy_gguf_writer *g, const char *key, uint32_t v);
void      sy_gguf_put_f32(sy_gguf_writer *g, const char *key, float v);
void      sy_gguf_put_bool(sy_gguf_writer *g, const char *key, bool v);
void      sy_gguf_put_text(sy_gguf_writer *g, const char *key, const char *v, size_t n);
/* Begins an array of n elements; the elements follow by sy_gguf_elem (as stored) and sy_gguf_elem_text. */
void      sy_gguf_put_array(sy_gguf_writer *g, const char *key, sy_gguf_type elem, uint64_t n);
void      sy_gguf_put_one(sy_gguf_writer *g, const char *key, sy_gguf_type type);       /* begins a key of one value, which follows likewise */
void      sy_gguf_elem(sy_gguf_writer *g, const void *bytes, size_t n);
void      sy_gguf_elem_text(sy_gguf_writer *g, const char *v, size_t n);
void      sy_gguf_put_key(sy_gguf_writer *g, const sy_gguf_key *k);           /* a key of another file, unchanged */
/* Declares a tensor of `id` (a number of the format) with dimensions innermost last. SY_EFORMAT for a name of 64 bytes or more. */
sy_status sy_gguf_put_tensor(sy_gguf_writer *g, const char *name, uint32_t id, int nd, const int64_t *dim, sy_err *err);
sy_status sy_gguf_writer_begin(sy_gguf_writer *g, sy_err *err);               /* all is declared: writes the head */
sy_status sy_gguf_writer_data(sy_gguf_writer *g, const void *data, size_t n, sy_err *err);   /* the next n bytes, over borders of tensors never */
sy_status sy_gguf_writer_close(sy_gguf_writer *g, sy_err *err);               /* SY_EARG when data is missing; on success nothing is left to free */
void      sy_gguf_writer_abandon(sy_gguf_writer *g);

#endif
