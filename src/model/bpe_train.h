/* model/bpe_train.h - learning a byte-level BPE vocabulary from text.
 *
 * Text is cut into words by GPT-2's pattern; pairs never reach across words. Starting from the 256 bytes (ids 0 to 255) the most frequent pair
 * of neighbours becomes the next id, again and again: of equally frequent pairs the one with the smaller left id, then the smaller right
 * id. A pair seen once only, or longer than 4096 bytes joined, is not taken. <|endoftext|> is the last id. The result depends on the counts of
 * words alone, not on the order or the sizes in which text was fed. One owner at a time. */
#ifndef SY_BPE_TRAIN_H
#define SY_BPE_TRAIN_H

#include "model/tokenizer.h"

typedef struct sy_bpe_trainer sy_bpe_trainer;

sy_status sy_bpe_trainer_open(sy_bpe_trainer **out, sy_err *err);
/* Counts the words of a text. Every call's text stands alone: a document, or a block of one. SY_EARG: more than 2 GiB of different words. */
sy_status sy_bpe_trainer_feed(sy_bpe_trainer *b, const char *text, size_t n, sy_err *err);
/* Learns; once. The tokenizer has vocab_size (257 or more) ids, or fewer where the text holds no more pairs: see sy_tokenizer_vocab.
 * `progress` (may be NULL) hears the share that is done now and then; a status other than SY_OK from it ends the work and comes back. */
sy_status sy_bpe_trainer_train(sy_bpe_trainer *b, int vocab_size, sy_status (*progress)(void *arg, double share, sy_err *err), void *arg,
                               sy_tokenizer **out, sy_err *err);
void      sy_bpe_trainer_close(sy_bpe_trainer *b);                   /* NULL is fine */

#endif
