/* weights.h: binding the file's tensors to the places where forward.c wants them.
 *
 * The binder is a type checker: every tensor is asked for by name and shape at the point of use.
 */
#ifndef IGN_MODEL_WEIGHTS_H
#define IGN_MODEL_WEIGHTS_H

#include "model/model.h"

/* Loads all weights into the open device m->dev. ERR_FORMAT: missing tensor or wrong shape, by
 * name, with what was expected and found. Tensors nobody asks for are warned about. */
enum err_code weights_bind(struct model *m, struct err *e);

#endif
