/*
 * Stopping the world. See world.h.
 */
#include "virt/vm/cpu/world.h"

#include <assert.h>
#include <stdlib.h>

#include "ground/base/mem.h"
#include "virt/vm/cpu/trace.h"

#define WORLD_MAGIC 0x574f524cu

/* Devices and loaders write, too. */
static void ram_written(void *ctx, uint64_t ram_offset, uint64_t n)
{
	code_written(ctx, ram_offset, n);
}

struct cpu_world *world_new(struct ram *ram, size_t code_bytes, struct err *e)
{
	struct cpu_world *w = mem_new(struct cpu_world);

	w->magic = WORLD_MAGIC;
	w->ram = ram;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->changed, NULL);
	if (code_new(w, code_bytes, &w->code, e) < 0)
		return world_free(w);
	ram->code_written = ram_written;
	ram->code_ctx = w;
	return w;
}

struct cpu_world *world_free(struct cpu_world *w)
{
	if (!w)
		return NULL;
	assert(w->magic == WORLD_MAGIC);
	assert(w->running == 0);
	if (w->ram->code_ctx == w)
		w->ram->code_written = NULL;
	w->code = code_free(w->code);
	(void)pthread_cond_destroy(&w->changed);
	(void)pthread_mutex_destroy(&w->lock);
	w->magic = 0;
	free(w);
	return NULL;
}

static void wait_to_run(struct cpu_world *w)
{
	while (w->stopped)
		(void)pthread_cond_wait(&w->changed, &w->lock);
	w->running++;
}

static void run_no_more(struct cpu_world *w)
{
	assert(w->running > 0);
	w->running--;
	(void)pthread_cond_broadcast(&w->changed);
}

void world_enter(struct cpu *c)
{
	struct cpu_world *w = c->world;

	(void)pthread_mutex_lock(&w->lock);
	wait_to_run(w);
	(void)pthread_mutex_unlock(&w->lock);
}

void world_leave(struct cpu *c)
{
	struct cpu_world *w = c->world;

	(void)pthread_mutex_lock(&w->lock);
	run_no_more(w);
	(void)pthread_mutex_unlock(&w->lock);
}

void world_park(struct cpu *c)
{
	struct cpu_world *w = c->world;

	cpu_attention_clear(c, ATTEND_WORLD);
	(void)pthread_mutex_lock(&w->lock);
	run_no_more(w);
	wait_to_run(w);
	(void)pthread_mutex_unlock(&w->lock);
}

void world_stop(struct cpu *c)
{
	struct cpu_world *w = c->world;

	(void)pthread_mutex_lock(&w->lock);
	run_no_more(w);
	while (w->stopped)
		(void)pthread_cond_wait(&w->changed, &w->lock);
	w->stopped = true;
	for (unsigned i = 0; i < w->cpus; i++)
		if (w->cpu[i] != c)
			cpu_attention_set(w->cpu[i], ATTEND_WORLD);
	while (w->running > 0)
		(void)pthread_cond_wait(&w->changed, &w->lock);
	(void)pthread_mutex_unlock(&w->lock);
}

void world_go(struct cpu *c)
{
	struct cpu_world *w = c->world;

	(void)pthread_mutex_lock(&w->lock);
	assert(w->stopped && w->running == 0);
	w->stopped = false;
	w->running++;
	(void)pthread_cond_broadcast(&w->changed);
	(void)pthread_mutex_unlock(&w->lock);
}
