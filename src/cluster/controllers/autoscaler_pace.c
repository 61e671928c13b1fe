/*
 * How fast an autoscaler may go: recommendations of the stabilization window on each side, so that
 * it does not flap, and policies that bound what a period may add or take away. What a behavior
 * leaves out is Kubernetes' default.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "cluster/controllers/autoscaler_priv.h"
#include "ground/base/mem.h"

#define KEPT_S	      3600 /* the longest window that validation allows */
#define DOWN_WINDOW_S 300
#define PERIOD_S      15

struct moment {
	int64_t at_s, n; /* a recommendation; or by how many pods it was scaled */
};

struct moments {
	struct moment *list;
	size_t n, room;
};

struct pace {
	struct moments wanted, scaled;
};

struct pace *pace_new(void)
{
	return mem_new(struct pace);
}

struct pace *pace_free(struct pace *p)
{
	if (p) {
		free(p->wanted.list);
		free(p->scaled.list);
		free(p);
	}
	return NULL;
}

static void add(struct moments *m, int64_t now_s, int64_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++)
		if (m->list[i].at_s + KEPT_S > now_s)
			m->list[kept++] = m->list[i];
	m->n = kept;
	mem_grow(m->list, m->n + 1, m->room);
	m->list[m->n++] = (struct moment){now_s, n};
}

void pace_scaled(struct pace *p, int64_t now_s, int64_t from, int64_t to)
{
	add(&p->scaled, now_s, to - from);
}

/* What the last seconds added (what > 0) or took away, as a positive number. */
static int64_t changed(const struct pace *p, int64_t since_s, int what)
{
	int64_t sum = 0;

	for (size_t i = 0; i < p->scaled.n; i++)
		if (p->scaled.list[i].at_s > since_s && p->scaled.list[i].n * what > 0)
			sum += p->scaled.list[i].n * what;
	return sum;
}

static const struct json *rules_of(const struct pace_question *q, bool up)
{
	return json_get(json_get(q->spec, "behavior"), up ? "scaleUp" : "scaleDown");
}

/* -- policies ---------------------------------------------------------------------------------- */

static int64_t bound(const struct pace *p, const struct pace_question *q, bool up, bool percent,
		     int64_t value, int64_t period_s)
{
	int64_t since = q->now_s - period_s;
	int64_t start = q->current - changed(p, since, 1) + changed(p, since, -1);
	double part = (double)value / 100;

	if (!percent)
		return up ? start + value : start - value;
	return up ? (int64_t)ceil((double)start * (1 + part))
		  : (int64_t)((double)start * (1 - part));
}

/* The furthest that the policies allow; `far`: of several the one that goes furthest. */
static int64_t fold(int64_t so_far, int64_t next, bool up, bool far)
{
	return (up == far) == (next > so_far) ? next : so_far;
}

static int64_t bound_of_defaults(const struct pace *p, const struct pace_question *q, bool up,
				 bool far)
{
	int64_t all = bound(p, q, up, true, 100, PERIOD_S);

	return up ? fold(all, bound(p, q, up, false, 4, PERIOD_S), up, far) : all;
}

static int64_t limit_of(const struct pace *p, const struct pace_question *q, bool up)
{
	const struct json *rules = rules_of(q, up), *list = json_get(rules, "policies");
	const char *select = json_get_text(rules, "selectPolicy");
	bool far = !text_eq(select, "Min");
	int64_t most = 0;

	if (text_eq(select, "Disabled"))
		return q->current;
	if (json_len(list) == 0)
		most = bound_of_defaults(p, q, up, far);
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *one = json_at(list, i);
		int64_t next = bound(p, q, up, text_eq(json_get_text(one, "type"), "Percent"),
				     json_get_i64(one, "value", 0),
				     json_get_i64(one, "periodSeconds", PERIOD_S));

		most = i == 0 ? next : fold(most, next, up, far);
	}
	return up == (most > q->current) ? most : q->current;
}

/* -- stabilization ----------------------------------------------------------------------------- */

static int64_t stable(struct pace *p, const struct pace_question *q)
{
	int64_t up_s = json_get_i64(rules_of(q, true), "stabilizationWindowSeconds", 0);
	int64_t down_s =
		json_get_i64(rules_of(q, false), "stabilizationWindowSeconds", DOWN_WINDOW_S);
	int64_t least = q->wanted, most = q->wanted;

	if (p->wanted.n == 0) /* it does not know what came before: as if it had wanted this */
		add(&p->wanted, q->now_s, q->current);
	for (size_t i = 0; i < p->wanted.n; i++) {
		const struct moment *m = &p->wanted.list[i];

		if (m->at_s > q->now_s - up_s && m->n < least)
			least = m->n;
		if (m->at_s > q->now_s - down_s && m->n > most)
			most = m->n;
	}
	add(&p->wanted, q->now_s, q->wanted);
	assert(least <= most);
	if (q->current < least)
		return least;
	return q->current > most ? most : q->current;
}

static void tell_stable(const struct pace_question *q, int64_t stable, struct pace_answer *ret)
{
	if (stable > q->wanted) {
		ret->able = "ScaleDownStabilized";
		ret->able_message = "recent recommendations were higher than current one, applying "
				    "the highest recent recommendation";
	} else if (stable < q->wanted) {
		ret->able = "ScaleUpStabilized";
		ret->able_message = "recent recommendations were lower than current one, applying "
				    "the lowest recent recommendation";
	} else {
		ret->able = "ReadyForNewScale";
		ret->able_message = "recommended size matches current size";
	}
}

static void cut(struct pace_answer *ret, int64_t to, const char *reason, const char *message)
{
	ret->replicas = to;
	ret->limited = true;
	ret->limit = reason;
	ret->limit_message = message;
}

static void clamp_up(const struct pace *p, const struct pace_question *q, struct pace_answer *ret)
{
	int64_t limit = limit_of(p, q, true), most = json_get_i64(q->spec, "maxReplicas", 1);

	if (most > limit && ret->replicas > limit)
		cut(ret, limit, "ScaleUpLimit",
		    "the desired replica count is increasing faster than the maximum scale rate");
	else if (most <= limit && ret->replicas > most)
		cut(ret, most, "TooManyReplicas",
		    "the desired replica count is more than the maximum replica count");
}

static void clamp_down(const struct pace *p, const struct pace_question *q, struct pace_answer *ret)
{
	int64_t limit = limit_of(p, q, false), least = json_get_i64(q->spec, "minReplicas", 1);

	if (least < limit && ret->replicas < limit)
		cut(ret, limit, "ScaleDownLimit",
		    "the desired replica count is decreasing faster than the maximum scale rate");
	else if (least >= limit && ret->replicas < least)
		cut(ret, least, "TooFewReplicas",
		    "the desired replica count is less than the minimum replica count");
}

void pace_ask(struct pace *p, const struct pace_question *q, struct pace_answer *ret)
{
	*ret = (struct pace_answer){
		.replicas = stable(p, q),
		.limit = "DesiredWithinRange",
		.limit_message = "the desired count is within the acceptable range",
	};
	tell_stable(q, ret->replicas, ret);
	if (ret->replicas > q->current)
		clamp_up(p, q, ret);
	else if (ret->replicas < q->current)
		clamp_down(p, q, ret);
}
