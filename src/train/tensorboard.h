/* train/tensorboard.h - scalar events as TensorBoard reads them: length, masked CRC-32C, a protobuf Event, masked CRC-32C. */
#ifndef SY_TENSORBOARD_H
#define SY_TENSORBOARD_H

#include <stdint.h>

#include "core/buffer.h"

/* Appends one record with one scalar; the caller appends the buffer to a file events.out.tfevents.*. */
void sy_tb_scalar(sy_buf *b, int64_t step, const char *tag, double value);

#endif
