/* data/read.h - a file as a series of documents: text, JSON lines, either compressed. Private to data/. */
#ifndef SY_DATA_READ_H
#define SY_DATA_READ_H

#include "data/source.h"
#include "model/chat.h"

enum {
    SY__TEXT_BLOCK = 4 << 20            /* a longer text reaches the sink in blocks of at most this many bytes, cut after a line where there is one */
};

typedef struct sy__sink {               /* who receives documents: any number of text() calls, then end() */
    void *arg;
    sy_status (*text)(void *arg, const char *text, size_t bytes, bool counted, sy_err *err);    /* counted: it takes part in the loss */
    sy_status (*end)(void *arg, sy_err *err);
    const sy_chat *chat;                /* how `messages` are written; NULL: as lines. With it `marked` is needed */
    /* Bytes from .. to-1 of what a template wrote, with the marks of template.h. */
    sy_status (*marked)(void *arg, const char *text, const char *mark, size_t from, size_t to, bool counted, sy_err *err);
} sy__sink;

/* Gives all documents of one file to the sink, empty ones included. *binary: there is a zero byte in the first 8192, so nothing was given.
 * SY_EIO when the file is not the one that was listed or changes meanwhile; SY_EFORMAT names file and line. */
sy_status sy__read_file(const sy__file *f, const sy_data_options *o, const sy__sink *sink, bool *binary, sy_err *err);

/* The same for bytes in memory that are fed in pieces; only the name of `f` is used, and no decompression takes place. What the sink gets does not
 * depend on `piece`. */
sy_status sy__read_bytes(const sy__file *f, const char *text, size_t n, size_t piece, const sy_data_options *o, const sy__sink *sink, bool *binary, sy_err *err);

/* One JSON line; `line` is its number. Empty lines are no document. */
sy_status sy__read_json_line(const char *path, int64_t line, const char *text, size_t bytes, const sy_data_options *o, const sy__sink *sink,
                             sy_err *err);

#endif
