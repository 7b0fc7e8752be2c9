/* core/memory.h - how much memory may still be used, so that work is refused by plan and not by the kernel. */
#ifndef SY_MEMORY_H
#define SY_MEMORY_H

/* Bytes that this process can still take: what the system calls available, and what the control groups above us leave, whichever is
 * less. Infinity where nothing tells. */
double sy_memory_left(void);

#endif
