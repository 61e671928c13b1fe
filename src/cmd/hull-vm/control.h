/* The control socket of this machine: see control.c. */
#pragma once

#include "hull-vm.h"

struct control;

int control_open(struct vm_options *o, struct loop *loop, struct control **ret,
		 struct err *e) must_use;
/* InstanceStart came: the machine was made, and is the caller's. */
bool control_begun(const struct control *c, struct machine **ret);
/* A machine made from options. */
int control_show(struct control *c, struct machine *machine, struct err *e) must_use;
struct control *control_close(struct control *c);
