/* infer/choices.h - questions with given answers: which one does the model find most likely?
 *
 * A file of JSON lines {"prompt": text, "choices": [text, text, ...], "answer": index from 0}; other keys are left alone, empty lines too.
 * Prompt and choice become ids apart from each other, as `prompt` and `completion` do in training; an empty prompt is the end-of-document
 * token. A choice scores the sum of its ln p after the prompt, and the same divided by its bytes; the first of the largest is taken. */
#ifndef SY_CHOICES_H
#define SY_CHOICES_H

#include "model/model.h"
#include "model/tokenizer.h"

enum { SY_CHOICES_MOST = 64 };          /* of one question */

typedef struct sy_question {
    const char        *prompt;
    const char *const *choice;          /* [n] none empty */
    int                n, answer;
    int64_t            line;            /* of the file, from 1 */
} sy_question;

typedef struct sy_questions { const char *path; sy_question *q; int n; } sy_questions;

typedef struct sy_choices_result {
    int    n, right, right_per_byte;    /* questions; answered rightly by the sum, and by the sum per byte */
    double chance;                      /* share that guessing would answer, on average */
    double nats;                        /* mean -ln p of the right answers */
} sy_choices_result;

/* Reads a whole file; everything lives in `a`. SY_EFORMAT names file and line; a file without a question is SY_EFORMAT too. */
sy_status sy_choices_read(sy_questions *out, const char *path, sy_arena *a, sy_err *err);
/* logp[n]: sum of ln p of each choice. All choices run as one batch on `t`, which is reset. SY_ESHAPE: longer than the model takes. */
sy_status sy_choices_score(sy_model *m, const sy_tokenizer *tok, const sy_question *q, sy_tape *t, double *logp, sy_err *err);
/* All questions; `seen` (may be NULL) is told how many are done and returns false to end with SY_ESTOP. */
sy_status sy_choices_run(sy_model *m, const sy_tokenizer *tok, const sy_questions *all, bool (*seen)(void *arg, int done), void *arg, sy_choices_result *out, sy_err *err);

#endif
