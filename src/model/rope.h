/* model/rope.h - by which frequencies a model turns its queries and keys, and by what factor cosines and sines are stretched. Floor 5: knows a
 * spec and nothing else of a model.
 *
 * Two kinds look at the length of a sequence when a pass begins (dynamic, longrope): keys that lie in a cache keep the turn that they got,
 * as in transformers. */
#ifndef SY_MODEL_ROPE_H
#define SY_MODEL_ROPE_H

#include "model/spec.h"

/* Fills inv_freq [sy_spec_rotary(s) / 2] and *scale for a sequence of `length` positions. local: of layers that see a window, which have a base
 * of their own under rope_local_base_freq, never stretched. The spec is checked. */
void sy_rope_fill(const sy_spec *s, bool local, int length, double *inv_freq, double *scale);
/* Whether the result depends on the length. */
bool sy_rope_by_length(const sy_spec *s);
/* Frequencies and scale are finite: a sentence names the keys if not. */
sy_status sy_rope_check(const sy_spec *s, sy_err *err);

#endif
