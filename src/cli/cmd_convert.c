/* cli/cmd_convert.c - switchyard convert: a model from a folder into a GGUF file, back, or into other number formats; quantize is another name. */
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "model/convert.h"

typedef struct args { const char *type, *family, *imatrix, *pre; sy_list only; double shard_size; bool replace; } args;

static const sy_flag flags[] = {
    SY_FLAG(args, type, "type", 't', SY_FLAG_TEXT, "TYPE", "of the matrices: f32 f16 bf16, and in a GGUF file q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4; default: as they are"),
    SY_FLAG(args, only, "only", 0, SY_FLAG_LIST, "PATTERN=TYPE", "tensors of such a name get that type (* is any text); repeat it; the first that matches counts"),
    SY_FLAG(args, imatrix, "imatrix", 0, SY_FLAG_TEXT, "FILE", "importances of columns, GGUF or the older form, for the search of scales"),
    SY_FLAG(args, family, "family", 0, SY_FLAG_TEXT, "NAME", "model_type of the folder that is made, or switchyard; default: where it came from, or what can say it all"),
    SY_FLAG(args, pre, "pre", 0, SY_FLAG_TEXT, "NAME", "tokenizer.ggml.pre, where the tokenizer's rule has no name in GGUF files"),
    SY_FLAG(args, shard_size, "shard-size", 0, SY_FLAG_REAL, "GB", "of a folder: most that one file of tensors holds, in 10^9 bytes; default 50, as transformers 5 has it"),
    SY_FLAG(args, replace, "replace", 0, SY_FLAG_ON, NULL, "an output that is there already is replaced"),
    { 0 }
};

typedef struct watch { sy_cli *cli; sy_progress bar; bool open; } watch;

static bool on_rows(void *arg, double done, double all, const char *tensor)
{
    watch *w = arg;
    if (!w->open) {
        sy_progress_open(&w->bar, stderr, "convert", all / 1e6, w->cli->progress);
        w->bar.unit = "MB";
        w->open = true;
    }
    sy_progress_at(&w->bar, done / 1e6, tensor);
    return !*w->cli->stop;
}

static sy_status run(sy_cli *cli, void *arguments, const char *const *words, int n, sy_err *err)
{
    args *a = arguments;
    watch w = { .cli = cli };
    sy_ledger ledger = { 0 };
    char line[512];
    (void)n;
    sy_convert c = { .in = words[0], .out = words[1], .type = a->type, .family = a->family, .imatrix = a->imatrix, .pre = a->pre, .only = a->only.v, .n_only = a->only.n,
                     .replace = a->replace, .progress = on_rows, .arg = &w };
    if (!(a->shard_size >= 0 && a->shard_size < 1e9)) return sy_fail(err, SY_EARG, "--shard-size %g: a file holds more than 0 and less than 10^9 GB", a->shard_size);
    c.shard = (uint64_t)ceil(a->shard_size * 1e9);
    SY_TRY(sy_cli_engine(cli, err));
    sy_status st = sy_convert_run(&cli->eng, &c, &ledger, err);
    if (w.open) sy_progress_close(&w.bar, NULL);
    if (st == SY_OK) {
        sy_log_info(&cli->log, "%s", sy_ledger_summary(&ledger, line, sizeof line));
        for (int i = 0; i < ledger.n; i++)
            if (ledger.line[i].kind == SY_L_NOTE) sy_log_info(&cli->log, "%s: %s", ledger.line[i].name, ledger.line[i].note ? ledger.line[i].note : "");
        printf("%s\n", words[1]);
    }
    sy_ledger_free(&ledger);
    return st;
}

#define TEXT                                                                                                                                     \
    "Folders of Hugging Face's form and GGUF files, both ways, and one GGUF file from another in other types. Works tensor by tensor, so a model "  \
    "may be larger than the memory, and than the address space (ulimit -v). Vectors, norms and routers stay F32; rows that are no whole number of a type's blocks get the nearest type "    \
    "with shorter ones, and the account says so. The account of every tensor and key stands beside the output: OUT/ledger.json or OUT.ledger.json."

const sy_command sy_cmd_convert = {
    .name = "convert", .summary = "a model into another kind of file or other number formats", .usage = "[flags] IN OUT", .text = TEXT,
    .example = "switchyard convert runs/a model.gguf --type q4_k\nswitchyard convert model.gguf folder\nswitchyard convert model.gguf small.gguf --type q4_k --imatrix text.imatrix",
    .flags = flags, .size = sizeof(args), .min_words = 2, .max_words = 2, .run = run,
};
const sy_command sy_cmd_quantize = {
    .name = "quantize", .summary = "another name of convert", .usage = "[flags] IN OUT", .text = TEXT,
    .example = "switchyard quantize model.gguf small.gguf --type q4_k", .flags = flags, .size = sizeof(args), .min_words = 2, .max_words = 2, .run = run,
};
