/* model/convert.h - a model from one kind of file into another: folders of Hugging Face's form and GGUF files, both ways, with other number
 * formats. Tensor by tensor and a few rows at a time: a model may be larger than the memory. */
#ifndef SY_CONVERT_H
#define SY_CONVERT_H

#include "model/ledger.h"
#include "tensor/engine.h"

typedef struct sy_convert {
    const char *in;                     /* a model folder, a run folder, or a .gguf file (of several: the first) */
    const char *out;                    /* a name that ends in .gguf, or a folder to be made */
    const char *type;                   /* of the matrices: "q4_k", "f16"; NULL: as they are stored, and F32 in a folder for what has no name there */
    const char *family;                 /* of a folder: a model_type, or "switchyard"; NULL: the one it came from or the first that can say it all */
    const char *imatrix;                /* file of importances for the search of scales, or NULL */
    const char *pre;                    /* tokenizer.ggml.pre where the tokenizer's rule is none that has a name; NULL: refused then */
    const char *const *only;            /* [n_only] "PATTERN=TYPE": tensors whose name in the output matches (* is any text) get that type; the first counts */
    int         n_only;
    uint64_t    shard;                  /* of a folder: bytes of tensors that one file holds at most; 0: SY_SHARD_BYTES */
    bool        replace;                /* an output that exists is replaced */
    /* Told after every few rows; false stops the work (SY_ESTOP). May be NULL. */
    bool      (*progress)(void *arg, double bytes_done, double bytes_all, const char *tensor);
    void       *arg;
} sy_convert;

/* The ledger is opened here, settled before anything is written, kept beside the output (OUT/ledger.json, or OUT.ledger.json) and freed by the caller. */
sy_status sy_convert_run(sy_engine *eng, const sy_convert *c, sy_ledger *ledger, sy_err *err);

#endif
