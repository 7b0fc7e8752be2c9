/* switchyard/method.h - to write a method: option rows, the descriptor, the hooks of the kinds, the ops of the tape.
 *
 * A method is a `const sy_method` with its hooks; sy_engine_register makes it known to one engine, whose models then take it by name
 * ("--router mine:k=2"). The headers below say what each hook gets and may do; docs/adding-a-method.md walks through one. */
#ifndef SWITCHYARD_METHOD_H
#define SWITCHYARD_METHOD_H

#include "core/method.h"
#include "core/option.h"
#include "core/random.h"
#include "route/router.h"
#include "tensor/ops.h"

/* sy_engine_register(engine, &method, &err) (tensor/engine.h) makes a method known; the descriptor is borrowed until the engine is closed. */

#endif
