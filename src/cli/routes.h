/* cli/routes.h - a token and the experts that it used, as a line for people. */
#ifndef SY_CLI_ROUTES_H
#define SY_CLI_ROUTES_H

#include <stdio.h>

#include "model/model.h"
#include "model/tokenizer.h"

/* On a terminal a line is broken between layers at its width, asked for each time, and each expert has a colour (unless NO_COLOR is set or TERM is dumb);
 * elsewhere a token is one line without escapes. Cells are as wide as the layer's usual number of experts needs, so that layers stand below each other. */
void sy_routes_head(FILE *to, sy_model *m);                         /* numbers of the sparse layers */
void sy_routes_line(FILE *to, sy_model *m, sy_route *const *routes, int row, const sy_tokenizer *tok, int id, bool prompt);

#endif
