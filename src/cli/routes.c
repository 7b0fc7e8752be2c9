/* cli/routes.c - lines of experts, broken where the terminal ends. */
#include "cli/routes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "core/utf8.h"

enum { TEXT = 16, LEAD = TEXT + 2 };    /* columns of a token's text, and with the sign in front */

typedef struct line { FILE *to; bool colour; int width, at; } line;        /* width 0: no terminal, never broken */

static line open_line(FILE *to)
{
    struct winsize w;
    const char *term = getenv("TERM");
    line x = { .to = to };
    if (!isatty(fileno(to))) return x;
    x.width = ioctl(fileno(to), TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
    x.colour = !getenv("NO_COLOR") && !(term && !strcmp(term, "dumb"));
    return x;
}

static int digits(int n) { return n < 10 ? 1 : n < 100 ? 2 : n < 1000 ? 3 : n < 10000 ? 4 : 5; }

/* Columns of one layer's experts, a blank before each. */
static int cell_width(sy_model *m)
{
    int k = (int)sy_model_nominal_k(m);
    return (k > 0 ? k : 1) * (1 + digits(m->spec.num_experts + m->spec.zero_experts - 1));
}

/* Begins a layer of so many columns: on the next line where it does not fit. */
static void begin_cell(line *x, int columns)
{
    if (x->width && x->at > LEAD && x->at + 2 + columns > x->width) {
        fprintf(x->to, "\n%*s", LEAD, "");
        x->at = LEAD;
    }
    fputs(" |", x->to);
    x->at += 2;
}

static void end_cell(line *x, int used, int columns, bool last)
{
    if (used < columns && !last) fprintf(x->to, "%*s", columns - used, "");
    x->at += used > columns ? used : columns;
}

/* The token's text in at most TEXT columns, padded: line ends and tabs are written out, what is no text is '?'. */
static void put_text(line *x, const char *text, size_t n)
{
    int at = 0;
    for (size_t i = 0; i < n; ) {
        uint32_t c;
        int len = sy_utf8_next(text + i, n - i, &c), w = len > 0 ? utf8proc_charwidth((utf8proc_int32_t)c) : 1;
        const char *sign = len < 0 || c == 127 || (c > 127 && c < 160) ? "?" : c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : c < 32 ? "?" : NULL;
        if (sign) w = (int)strlen(sign);
        i += (size_t)(len < 0 ? -len : len);
        if (at + w > TEXT - (i < n)) { fputs("\u2026", x->to), at++; break; }      /* the last column is for the sign that there is more */
        if (sign) fputs(sign, x->to);
        else fwrite(text + i - (size_t)len, 1, (size_t)len, x->to);
        at += w;
    }
    fprintf(x->to, "%*s", TEXT - at, "");
    x->at = LEAD;
}

void sy_routes_head(FILE *to, sy_model *m)
{
    line x = open_line(to);
    int columns = cell_width(m);
    fputs("  ", to);
    put_text(&x, "token / layer", 13);
    for (int l = 0; l < m->n_sparse; l++) {
        int layer = sy_model_block(m, l)->site.layer;
        begin_cell(&x, columns);
        end_cell(&x, fprintf(to, " %d", layer), columns, l + 1 == m->n_sparse);
    }
    putc('\n', to);
}

void sy_routes_line(FILE *to, sy_model *m, sy_route *const *routes, int row, const sy_tokenizer *tok, int id, bool prompt)
{
    static const int colours[] = { 31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96 };
    line x = open_line(to);
    size_t n = 0;
    int columns = cell_width(m), wide = digits(m->spec.num_experts + m->spec.zero_experts - 1);
    const char *piece = sy_tokenizer_piece(tok, id, &n), *special = sy_tokenizer_special(tok, id);
    fputs(prompt ? "  " : "> ", to);
    put_text(&x, special ? special : piece, special ? strlen(special) : n);
    for (int l = 0; l < m->n_sparse; l++) {
        const sy_route *r = routes[l];
        int used = 0, all = 0;
        for (int s = r ? r->first_slot[row] : 0; r && s < r->first_slot[row + 1]; s++) all += r->expert[s] >= 0 ? 1 + wide : 0;
        begin_cell(&x, all > columns ? all : columns);
        for (int s = r ? r->first_slot[row] : 0; r && s < r->first_slot[row + 1]; s++) {
            int e = r->expert[s];
            if (e < 0) continue;
            if (x.colour) fprintf(to, " \033[%dm%*d\033[0m", colours[e % (int)SY_COUNT(colours)], wide, e);
            else fprintf(to, " %*d", wide, e);
            used += 1 + wide;
        }
        if (!used) fputs(" -", to), used = 2;
        end_cell(&x, used, columns, l + 1 == m->n_sparse);
    }
    putc('\n', to);
}
