/*
 * Logs: the keeper's files read by a stream, a few lines per turn, so that one reader of a long log
 * does not hold the loop. Following wakes on inotify, and ends when the container has ended and all
 * is read.
 */
#include "engine/engine_priv.h"
#include "engine/streams_priv.h"
#include "virt/keeper/log_reader.h"

#define LINES_PER_TURN 256

struct log_follow {
	struct stream stream;
	struct engine *engine;
	char id[ENGINE_ID_HEX + 1];
	struct log_reader *reader;
	struct loop_watch *watch;
	struct log_sink sink;
	struct list link; /* of its container's followers, or alone */
	bool follow, full, scheduled, last_round;
	bool telling, cancelled; /* cancelled from inside line(): freed after it */
};

static void read_on(void *arg);

static void log_free(struct stream *stream)
{
	struct log_follow *s = container_of(stream, struct log_follow, stream);

	if (s->telling) {
		s->cancelled = true;
		return;
	}
	list_remove(&s->link);
	loop_defer_cancel(s->engine->loop, read_on, s);
	s->watch = loop_watch_free(s->watch);
	s->reader = log_reader_free(s->reader);
	s->stream.magic = 0;
	free(s);
}

static void schedule(struct log_follow *s)
{
	if (s->scheduled)
		return;
	s->scheduled = true;
	loop_defer(s->engine->loop, read_on, s);
}

static void log_end(struct log_follow *s, const struct err *e)
{
	struct log_sink sink = s->sink;
	struct err copy = {0};

	if (e)
		copy = *e;
	log_free(&s->stream);
	sink.end(sink.ctx, copy.kind ? &copy : NULL);
}

static bool container_runs(const struct log_follow *s)
{
	const struct workload *w = map_get(&s->engine->workloads, s->id);

	return w && (workload_runs(w) || w->starting);
}

/* Nothing more now: wait for more, or end after one more look once the container does not run. */
static void nothing_more(struct log_follow *s)
{
	if (!s->follow || s->last_round) {
		log_end(s, NULL);
		return;
	}
	if (!container_runs(s)) {
		s->last_round = true;
		schedule(s);
		return;
	}
	loop_watch_want(s->watch, LOOP_READ);
}

/* false: nothing more may be read now (full, or the stream is gone). */
static bool tell(struct log_follow *s, const struct log_line *line)
{
	struct log_entry entry = {line->time_ns, line->stream, line->text, line->text_n};
	int full;

	s->telling = true;
	full = s->sink.line(s->sink.ctx, &entry);
	s->telling = false;
	if (s->cancelled) {
		log_free(&s->stream);
		return false;
	}
	s->full = full != 0;
	return !full;
}

static void read_on(void *arg)
{
	struct log_follow *s = arg;
	struct log_line line;
	struct err e = {0};

	s->scheduled = false;
	for (int i = 0; i < LINES_PER_TURN; i++) {
		int got = log_reader_next(s->reader, &line, &e);

		if (got < 0) {
			log_end(s, &e);
			return;
		}
		if (got != 1) {
			s->follow = s->follow && got != 2;
			nothing_more(s);
			return;
		}
		if (!tell(s, &line))
			return;
	}
	/* The next turn: others wait, too. */
	s->scheduled = true;
	loop_post(s->engine->loop, read_on, s);
}

static void log_resume(struct stream *stream)
{
	struct log_follow *s = container_of(stream, struct log_follow, stream);

	if (!s->full)
		return;
	s->full = false;
	schedule(s);
}

static void woke(void *arg, unsigned ready)
{
	struct log_follow *s = arg;

	log_reader_woke(s->reader);
	loop_watch_want(s->watch, 0);
	if (!s->full)
		schedule(s);
}

/* The container ended, or is gone: followers look once more, and end. */
void logs_container_ended(struct workload *w)
{
	list_each (&w->followers, struct log_follow, link, s) {
		if (!s->full)
			schedule(s);
	}
}

void logs_container_gone(struct workload *w)
{
	logs_container_ended(w);
	list_each (&w->followers, struct log_follow, link, s)
		list_remove(&s->link);
}

int engine_logs(struct user *u, const char *ref, const struct log_options *o,
		const struct log_sink *sink, struct stream **ret, struct err *e)
{
	auto_free char *path = NULL;
	struct log_follow *s;
	struct workload *w;

	assert(sink->line && sink->end);
	if (workload_find(u, ref, &w, e) < 0)
		return -ERR_NOT_FOUND;
	if (text_eq(w->request.host.log.type, "none"))
		return err_set(e, ERR_UNSUPPORTED,
			       "configured logging driver does not support reading: container '%s' "
			       "was made "
			       "with log driver 'none'",
			       w->name);
	if (!o->stdout_ && !o->stderr_)
		return err_set(e, ERR_INVALID, "you must choose at least one stream");
	path = mem_printf("%s/log", w->dir);
	s = mem_new(struct log_follow);
	s->stream = (struct stream){STREAM_MAGIC, log_resume, log_free};
	s->engine = u->engine;
	s->sink = *sink;
	s->follow = o->follow;
	memcpy(s->id, w->id, sizeof(s->id));
	list_init(&s->link);
	if (log_reader_open(&(struct log_query){.path = path,
						.tail = o->tail,
						.since_ns = o->since_ns,
						.until_ns = o->until_ns,
						.follow = o->follow,
						.no_stdout = !o->stdout_,
						.no_stderr = !o->stderr_},
			    &s->reader, e) < 0 ||
	    (o->follow && loop_watch_new(u->engine->loop, log_reader_fd(s->reader), 0, woke, s,
					 &s->watch, e) < 0)) {
		log_free(&s->stream);
		return -ERR_SYSTEM;
	}
	if (o->follow)
		list_append(&w->followers, &s->link);
	schedule(s);
	*ret = &s->stream;
	return 0;
}
