/*
 * The inside of the scheduler. Pods of the same shape share one struct pod_class, which is parsed
 * once; a node counts the pods on it by class, so that every question about a node is a walk over
 * a few classes. What changes on a node is noted in a journal, from which a class's ranking of the
 * nodes (rank.c) is brought up to date.
 */
#pragma once

#include "cluster/objects/recorder.h"
#include "cluster/scheduler/queue.h"
#include "cluster/scheduler/scheduler.h"
#include "ground/base/arena.h"
#include "ground/base/map.h"
#include "ground/format/selector.h"

#define JOURNAL_N 8192 /* changes of nodes that are remembered */
#define HOSTNAME  "kubernetes.io/hostname"

/* Amounts that are compared: milli-CPUs, bytes, bytes, pods. */
enum amount { AMOUNT_CPU, AMOUNT_MEMORY, AMOUNT_DISK, AMOUNT_PODS, AMOUNTS };

struct amounts {
	int64_t n[AMOUNTS];
};

/* A resource beside those, "example.com/gpu". */
struct extra {
	const char *name;
	int64_t n;
};

/* One term of inter-pod affinity, or one topology spread constraint. */
struct term {
	struct selector selector;
	bool nothing; /* no selector: matches no pod */
	const char *key;
	const struct json *namespaces; /* of affinity; NULL and no selector: the pod's own */
	bool any_namespace;	       /* has a namespaceSelector */
	struct selector of_namespace;
	bool anti;
	int64_t weight; /* of a preference; 0: required */
	int64_t max_skew, min_domains;
	bool hard;			 /* DoNotSchedule */
	bool heed_affinity, heed_taints; /* which nodes count */
};

struct pod_class {
	char *text; /* the shape as JSON: what tells classes apart */
	size_t refs;
	struct json *shape; /* {namespace, labels, spec} */
	const struct json *labels, *spec;
	const char *namespace;
	struct arena arena;
	struct amounts wants;
	struct extra *extras;
	char **ports, **claims, **images;
	size_t extras_n, ports_n, claims_n, images_n, containers_n;
	struct selector by_label;	 /* spec.nodeSelector */
	const struct json *node_terms;	 /* required node affinity */
	const struct json *node_prefers; /* preferred */
	const struct json *tolerations;
	struct term *terms, *spreads;
	size_t terms_n, spreads_n;
	int64_t priority;
	bool preempts;
	struct rank *rank; /* NULL: not made */
};

/* How many pods of a class a node has. */
struct crowd {
	struct pod_class *class;
	size_t n;
};

struct node_info {
	char *name;
	size_t index;	   /* in scheduler.nodes */
	struct json *node; /* the object's tree, ours */
	const struct json *labels, *taints;
	bool cordoned;
	struct amounts room, used;
	struct map extras; /* name -> struct extra_room * */
	struct map ports;  /* "TCP/80/0.0.0.0" -> pods that have it */
	struct map images; /* name -> bytes, as a pointer's worth */
	struct crowd *crowds;
	size_t crowds_n, crowds_room;
	struct map pods;	   /* key -> struct pod_info * */
	struct amounts reserved;   /* for pods that had others evicted from here */
	int64_t reserved_priority; /* pods of a higher one may take it all the same */
};

struct extra_room {
	int64_t room, used;
};

/* A pod that has a node, or is about to get one. */
struct pod_info {
	char *key, *node;
	struct pod_class *class;
	bool leaving; /* it was told to end */
};

struct scheduler {
	uint32_t magic;
	struct scheduler_options o;
	const struct world *world;
	struct client client;
	struct recorder recorder;
	struct informer *pods, *nodes_view, *claims, *volumes, *namespaces, *budgets;
	struct queue *queue;
	struct loop_timer *timer; /* the next back-off ends */
	bool listens;		  /* waits for the informers */
	bool woken;		  /* a round is asked for */
	unsigned events;	  /* since the last round: enum queue_event as bits */
	size_t in_flight;	  /* bindings */
	struct node_info **nodes;
	size_t nodes_n, nodes_room;
	struct map infos;      /* name -> struct node_info * */
	struct map placed;     /* key -> struct pod_info * */
	struct map classes;    /* text -> struct pod_class * */
	struct map with_terms; /* classes with inter-pod terms: text -> struct pod_class * */
	struct map nominated;  /* key of a pending pod -> struct nominee *: preempt.c */
	size_t odd_hostnames;  /* nodes whose hostname label is not their name */
	size_t ranks;	       /* classes that have one */
	uint64_t epoch;	       /* changes when all rankings are void */
	uint64_t journal_n;    /* entries so far */
	uint32_t journal[JOURNAL_N];
	size_t start; /* where sampling goes on */
};

/* -- class.c: pods by their shape -- */

struct pod_class *class_of(struct scheduler *s, const struct json *pod); /* a reference */
void class_drop(struct scheduler *s, struct pod_class *c);
/* Whether `term` of `owner` is about pods like `other`. */
bool class_matches(const struct scheduler *s, const struct pod_class *owner,
		   const struct term *term, const struct pod_class *other);

/* -- snapshot.c: nodes and what is on them -- */

bool snapshot_node(struct scheduler *s, const struct object *o); /* whether anything changed */
void snapshot_forget_node(struct scheduler *s, const char *name);
void snapshot_place(struct scheduler *s, const char *key, struct pod_class *c, const char *node);
bool snapshot_unplace(struct scheduler *s, const char *key);
void snapshot_count(struct node_info *n, struct pod_class *c, int sign);
void snapshot_done(struct scheduler *s);

/* -- filters -- */

/* How many pods a term or constraint counts in each domain of its topology key. */
struct count {
	const struct term *term;
	const struct pod_class *owner;
	bool holders;	  /* counts the owner's pods, not those that the term matches */
	bool by_host;	  /* a node is a domain: counted when asked */
	int32_t *of_node; /* index of the node's domain; -1: it has none */
	int64_t *domains;
	bool *counts; /* domains that have a node that counts */
	size_t domains_n;
	int64_t total, least;	      /* least: of a spread */
	const struct pod_class *last; /* whether it matched */
	bool last_matches;
};

#define ASK_FEW 64

/* One look at one pod: prepared by topology_prepare(), undone by ask_done(). */
struct ask {
	struct scheduler *s;
	const struct pod_class *class;
	const char *namespace;
	struct arena arena;
	struct count *terms, *spreads, *others; /* others: of pods that are there */
	size_t others_n;
	bool local;		     /* what a node answers depends on that node alone */
	const char *no_volume;	     /* why no node will do */
	const struct json **volumes; /* node affinities of bound volumes */
	size_t volumes_n;
	struct count few[ASK_FEW]; /* where terms, spreads and others are, when few */
};

/* Why it does not fit, as Kubernetes says it; NULL: it does. In the ask's arena or static. */
typedef const char *filter_fn(struct ask *q, const struct node_info *n);

struct filter_row {
	filter_fn *fn;
	unsigned helped_by; /* enum queue_event as bits */
	bool by_eviction;   /* whether evicting pods can help */
	bool is_room;	    /* asking for less helps */
};

extern const struct filter_row filter_rows[];
extern const size_t filter_rows_n;

void ask_begin(struct ask *q, struct scheduler *s, const struct pod_class *c);
void ask_done(struct ask *q);
/* NULL: it fits. Else *ret_row is the row that says no. */
const char *filter_node(struct ask *q, const struct node_info *n, size_t *ret_row);
bool filter_node_affinity(const struct pod_class *c, const struct node_info *n);
bool filter_node_term(const struct json *term, const struct node_info *n);
bool filter_tolerates(const struct json *list, const struct json *taint);
const struct json *filter_untolerated(const struct pod_class *c, const struct node_info *n);

void topology_prepare(struct ask *q);
int64_t topology_count(struct ask *q, struct count *c, const struct node_info *n); /* -1: none */
filter_fn topology_affinity, topology_anti_affinity, topology_others, topology_spread;
void volumes_prepare(struct ask *q);
filter_fn volumes_fit;

/* -- score.c -- */

int64_t score_node(struct ask *q, const struct node_info *n);
/* What depends on all nodes that fit: added to points[i] of nodes[i]. */
void score_together(struct ask *q, struct node_info *const *nodes, int64_t *points, size_t n);

/* -- rank.c: nodes in order of a class, kept -- */

struct node_info *rank_best(struct ask *q, struct pod_class *c);
void rank_free(struct scheduler *s, struct pod_class *c);

/* -- pick.c -- */

/*
 * The best node, NULL when none fits: then `why` is Kubernetes' sentence, `help` says which
 * change would make it fit ("" when that is not known) and *ret_helped_by which events could.
 */
struct node_info *pick_node(struct scheduler *s, struct pod_class *c, struct strbuf *why,
			    struct strbuf *help, unsigned *ret_helped_by);

/* -- preempt.c: room for pods of a higher priority -- */

/* Makes room for the pod; adds to `why` what came of it. Whether victims were told to end. */
bool preempt_for(struct scheduler *s, const struct object *pod, struct pod_class *c,
		 struct strbuf *why);
/* The nominee's own reserve does not stand in its way: lifted before it is looked at. */
void preempt_lift(struct scheduler *s, const char *key, bool lifted);
void preempt_forget(struct scheduler *s, const char *key); /* the pod needs its reserve no more */
/* NULL: it has none. */
struct node_info *preempt_nominated(struct scheduler *s, const char *key);

/* -- tell.c: what pods and people are told -- */

void tell_unfit(struct scheduler *s, const struct object *pod, const char *why);
void tell_gated(struct scheduler *s, const struct object *pod);
void tell_nominated(struct scheduler *s, const struct object *pod, const char *node);
/* The victim's condition, event and end. */
void tell_preempted(struct scheduler *s, const struct object *victim, const struct object *by,
		    const char *node);
