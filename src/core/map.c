/* core/map.c - maps, windows, and the handler of SIGBUS. */
#include "core/map.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/file.h"

/* --- what the handler knows ------------------------------------------------------------------------------------------------ */

enum { SLOTS = 1 << 14, WINDOW = 8 << 20 };

static struct { _Atomic uintptr_t from, to; atomic_bool lost; } table[SLOTS + 1];      /* whole pages; from 0: free. Slot 0 is nobody's */
static atomic_int highest;                           /* slot that was ever taken */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int taken;                                    /* the first installs the handler, the last takes it away */
static struct sigaction before;
static uintptr_t page = 4096;

/* Only what a handler may do: loads and stores of atomics, one system call. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    int saved = errno;
    for (int i = 1, n = info->si_code > 0 ? atomic_load(&highest) : 0; i <= n; i++) {      /* above 0: a fault, and no one's kill */
        uintptr_t from = atomic_load(&table[i].from), to = atomic_load(&table[i].to);
        if (!from || at < from || at >= to) continue;
        atomic_store(&table[i].lost, true);
        at -= at % page;
        long zeros = syscall(SYS_mmap, at, to - at, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);     /* itself: a sanitizer's wrapper is no place for a handler */
        errno = saved;
        if (zeros != -1) return;
        break;
    }
    if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(sig, info, context);          /* not ours: happen as it would without us */
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) before.sa_handler(sig);
    else {
        sigaction(SIGBUS, &before, NULL);
        raise(sig);
    }
}

static int take_slot(const void *data, size_t size)
{
    int i = 1;
    pthread_mutex_lock(&lock);
    while (i <= SLOTS && atomic_load(&table[i].from)) i++;
    if (i <= SLOTS) {
        if (!taken++) {
            page = (uintptr_t)sysconf(_SC_PAGESIZE);
            sigaction(SIGBUS, &(struct sigaction){ .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER }, &before);
        }
        atomic_store(&table[i].lost, false);
        atomic_store(&table[i].to, (uintptr_t)data + (size + page - 1) / page * page);
        atomic_store(&table[i].from, (uintptr_t)data);
        if (i > atomic_load(&highest)) atomic_store(&highest, i);
    }
    pthread_mutex_unlock(&lock);
    return i <= SLOTS ? i : 0;
}

/* Before the pages go. True when some of them were lost. */
static bool free_slot(int slot)
{
    struct sigaction now;
    if (!slot) return false;
    pthread_mutex_lock(&lock);
    bool lost = atomic_load(&table[slot].lost);
    atomic_store(&table[slot].from, 0);
    if (!--taken) {
        sigaction(SIGBUS, NULL, &now);
        if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_bus) sigaction(SIGBUS, &before, NULL);     /* else someone stands on top of us */
    }
    pthread_mutex_unlock(&lock);
    return lost;
}

/* --- pieces ----------------------------------------------------------------------------------------------------------------- */

typedef struct piece { const uint8_t *data; size_t from, n; int slot; } piece;        /* n bytes of a file from `from`, a multiple of the page */

struct sy_window { int fd; bool lost; piece head, view; };

/* False with errno: ENOMEM without address space, EMFILE without a slot. */
static bool piece_open(piece *p, int fd, size_t from, size_t n)
{
    void *data = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, (off_t)from);
    if (data == MAP_FAILED) return false;
    int slot = take_slot(data, n);
    if (!slot) {
        munmap(data, n);
        errno = EMFILE;
        return false;
    }
    *p = (piece){ data, from, n, slot };
    return true;
}

static bool piece_close(piece *p)
{
    if (!p->data) return false;
    bool lost = free_slot(p->slot);
    munmap((void *)p->data, p->n);
    *p = (piece){ 0 };
    return lost;
}

/* --- maps ------------------------------------------------------------------------------------------------------------------- */

static sy_status no_room(const char *name, size_t size, sy_err *err)
{
    struct rlimit limit;
    double gb = (double)size / 1e9;
    if (errno == EMFILE) return sy_fail(err, SY_EUNSUP, "cannot map %s: %d files are mapped already, no more are possible", name, SLOTS);
    if (errno == ENOMEM && getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        return sy_fail(err, SY_ENOMEM, "cannot map %s: its %.3g GB do not fit into the %.3g GB of address space that this process may use; raise the limit (ulimit -v)", name, gb, (double)limit.rlim_cur / 1e9);
    return sy_fail(err, errno == ENOMEM ? SY_ENOMEM : SY_EIO, "cannot map %s (%.3g GB): %s", name, gb, strerror(errno));
}

sy_status sy_map_fd(sy_map *m, int fd, size_t size, const char *name, sy_err *err)
{
    piece p;
    *m = (sy_map){ 0 };
    if (!size) return SY_OK;
    if (!piece_open(&p, fd, 0, size)) return no_room(name, size, err);
    *m = (sy_map){ .data = p.data, .size = size, .slot = p.slot };
    return SY_OK;
}

sy_status sy_map_open(sy_map *m, const char *path, sy_err *err)
{
    int fd;
    size_t size;
    *m = (sy_map){ 0 };
    SY_TRY(sy_open_regular(path, &fd, &size, err));
    sy_status st = sy_map_fd(m, fd, size, path, err);
    sy_file_calls->close(fd);
    return st;
}

sy_status sy_map_open_windows(sy_map *m, const char *path, sy_err *err)
{
    int fd;
    size_t size;
    *m = (sy_map){ 0 };
    SY_TRY(sy_open_regular(path, &fd, &size, err));
    sy_err why;
    sy_status st = sy_map_fd(m, fd, size, path, &why);
    struct sy_window *w = st == SY_ENOMEM ? sy_calloc(1, sizeof *w) : NULL;
    if (!w) {
        sy_file_calls->close(fd);
        return st == SY_OK ? SY_OK : sy_fail(err, st, "%s", why.text);
    }
    w->fd = fd;
    *m = (sy_map){ .size = size, .window = w };
    return SY_OK;
}

void sy_map_close(sy_map *m)
{
    if (m->data && m->slot) {
        free_slot(m->slot);
        munmap((void *)m->data, m->size);
    }
    if (m->window) {
        piece_close(&m->window->head);
        piece_close(&m->window->view);
        sy_file_calls->close(m->window->fd);
        sy_free(m->window);
    }
    *m = (sy_map){ 0 };
}

const uint8_t *sy_map_view(sy_map *m, size_t from, size_t n)
{
    struct sy_window *w = m->window;
    if (!n) return (const uint8_t *)"";
    if (!w) return m->data + from;
    if (w->view.data && from >= w->view.from && from + n <= w->view.from + w->view.n) return w->view.data + (from - w->view.from);
    w->lost |= piece_close(&w->view);
    size_t start = from - from % page, least = from + n - start, most = m->size - start;
    if (!piece_open(&w->view, w->fd, start, least > WINDOW ? least : most < WINDOW ? most : WINDOW) && !piece_open(&w->view, w->fd, start, least)) return NULL;
    return w->view.data + (from - start);
}

const uint8_t *sy_map_head(sy_map *m, size_t n)
{
    struct sy_window *w = m->window;
    if (!w) return m->data;
    if (w->head.data && w->head.n >= n) return w->head.data;
    w->lost |= piece_close(&w->head);
    return piece_open(&w->head, w->fd, 0, n) ? w->head.data : NULL;
}

static bool slot_lost(int slot) { return slot && atomic_load(&table[slot].lost); }

sy_status sy_map_status(const sy_map *m, const char *name, sy_status st, sy_err *err)
{
    const struct sy_window *w = m->window;
    if (!slot_lost(m->slot) && !(w && (w->lost || slot_lost(w->head.slot) || slot_lost(w->view.slot)))) return st;
    return sy_fail(err, SY_EIO, "%s was cut short or its disk failed while it was read; restore the file and run again", name);
}
