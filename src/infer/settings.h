/* infer/settings.h - generation_config.json: how the makers of a model would have text made with it. */
#ifndef SY_SETTINGS_H
#define SY_SETTINGS_H

#include "infer/generate.h"

enum { SY_EOS_MOST = 64 };

typedef struct sy_settings {
    int         eos[SY_EOS_MOST], n_eos;            /* ids that end a text */
    const char *left_out;               /* keys that are not honoured, "num_beams, penalty_alpha"; NULL: none */
} sy_settings;

/* Of a folder, or of a GGUF file, which names no more than the ids that end a text. Reads PATH/generation_config.json into the options that are not `given` (bits of sy_generate_opts); without the file nothing changes. As in
 * transformers a file that says nothing about do_sample means greedy. Keys that say what is done anyway (num_beams 1) are fine. Texts from `a`. */
sy_status sy_settings_read(const char *path, sy_generate_options *o, uint64_t given, sy_settings *s, sy_arena *a, sy_err *err);

#endif
