/*
 * Inside the room: what each format offers to disk_open().
 */
#pragma once

#include "virt/vm/disk/disk.h"

int raw_open(struct loop *l, const struct disk_options *o, struct block_back **ret,
	     struct err *e) must_use;
int qcow2_open(struct loop *l, const struct disk_options *o, struct block_back **ret,
	       struct err *e) must_use;
