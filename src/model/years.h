/* model/years.h - characters as the `tokenizers` package sees them, whose tables are older than utf8proc's. */
#ifndef SY_YEARS_H
#define SY_YEARS_H

#include <stdbool.h>
#include <stdint.h>

bool sy__is_young_mark(uint32_t cp);    /* a mark since Unicode 10, which its normal forms take for a letter */
int  sy__mark_class(uint32_t cp);       /* canonical combining class */
bool sy__is_mark(uint32_t cp);
bool sy__is_nonspacing(uint32_t cp);
bool sy__is_punctuation(uint32_t cp);   /* all of ASCII's, its symbols included */
bool sy__is_control(uint32_t cp);       /* Cc, Cf, Cs, Co; tabs and line ends, too */

#endif
