/*
 * The tables of the keeper's protocol: which field of which struct travels under which tag. A tag
 * is given for ever: fields that go away leave a hole, new ones take the next number.
 */
#include "virt/keeper/protocol.h"

#include "ground/base/mem.h"
#include "virt/keeper/message.h"

#define SHAPE(type, table)                              \
	{                                               \
		sizeof(type), (table), array_len(table) \
	}
#define F(tag, kind, type, member)                             \
	{                                                      \
		(tag), (kind), offsetof(type, member), NULL, 0 \
	}
#define NESTED(tag, type, member, shape)                                   \
	{                                                                  \
		(tag), MESSAGE_STRUCT, offsetof(type, member), &(shape), 0 \
	}
#define BYTES(tag, type, member, length)                                                   \
	{                                                                                  \
		(tag), MESSAGE_BYTES, offsetof(type, member), NULL, offsetof(type, length) \
	}

/* clang-format off */
static const struct message_field orders_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_orders, id),
	F(2, MESSAGE_TEXT, struct keeper_orders, container_dir),
	F(3, MESSAGE_TEXT, struct keeper_orders, run_dir),
	F(4, MESSAGE_TEXT, struct keeper_orders, config_path),
	F(5, MESSAGE_TEXTS, struct keeper_orders, lower),
	F(6, MESSAGE_TEXT, struct keeper_orders, upper),
	F(7, MESSAGE_TEXT, struct keeper_orders, work),
	F(8, MESSAGE_TEXT, struct keeper_orders, root_path),
	F(9, MESSAGE_FLAG, struct keeper_orders, tty),
	F(10, MESSAGE_FLAG, struct keeper_orders, open_stdin),
	F(11, MESSAGE_FLAG, struct keeper_orders, stdin_once),
	F(12, MESSAGE_U32, struct keeper_orders, rows),
	F(13, MESSAGE_U32, struct keeper_orders, columns),
	F(14, MESSAGE_TEXT, struct keeper_orders, log_path),
	F(15, MESSAGE_I64, struct keeper_orders, log_bytes_max),
	F(16, MESSAGE_U32, struct keeper_orders, log_files_max),
	F(17, MESSAGE_U32, struct keeper_orders, restart),
	F(18, MESSAGE_U32, struct keeper_orders, restart_max),
	F(19, MESSAGE_U32, struct keeper_orders, restart_count),
	F(20, MESSAGE_TEXTS, struct keeper_orders, health_test),
	F(21, MESSAGE_I64, struct keeper_orders, health_interval_ns),
	F(22, MESSAGE_I64, struct keeper_orders, health_timeout_ns),
	F(23, MESSAGE_I64, struct keeper_orders, health_start_period_ns),
	F(24, MESSAGE_I64, struct keeper_orders, health_start_interval_ns),
	F(25, MESSAGE_U32, struct keeper_orders, health_retries),
	F(26, MESSAGE_U32, struct keeper_orders, net),
	F(27, MESSAGE_FLAG, struct keeper_orders, wait_go),
	F(28, MESSAGE_TEXT, struct keeper_orders, init_path),
	F(29, MESSAGE_TEXT, struct keeper_orders, cgroup_path),
	F(30, MESSAGE_TEXT, struct keeper_orders, seccomp_dir),
	F(31, MESSAGE_TEXTS, struct keeper_orders, run_args),
	F(32, MESSAGE_TEXTS, struct keeper_orders, exec_args),
};

static const struct message_field started_fields[] = {
	F(1, MESSAGE_I64, struct keeper_started, pid),
	F(2, MESSAGE_I64, struct keeper_started, start_time),
	F(3, MESSAGE_I64, struct keeper_started, started_at_ns),
	F(4, MESSAGE_U32, struct keeper_started, restart_count),
	F(5, MESSAGE_TEXT, struct keeper_started, cgroup_dirs),
};

static const struct message_field fault_fields[] = {
	F(1, MESSAGE_U32, struct keeper_fault, kind),
	F(2, MESSAGE_U32, struct keeper_fault, exit_code),
	F(3, MESSAGE_TEXT, struct keeper_fault, text),
};

static const struct message_field died_fields[] = {
	F(1, MESSAGE_I64, struct keeper_died, pid),
	F(2, MESSAGE_U32, struct keeper_died, exit_code),
	F(3, MESSAGE_U32, struct keeper_died, signal),
	F(4, MESSAGE_FLAG, struct keeper_died, oom_killed),
	F(5, MESSAGE_FLAG, struct keeper_died, restarting),
	F(6, MESSAGE_FLAG, struct keeper_died, stopped),
	F(7, MESSAGE_I64, struct keeper_died, delay_ns),
	F(8, MESSAGE_I64, struct keeper_died, started_at_ns),
	F(9, MESSAGE_I64, struct keeper_died, finished_at_ns),
	F(10, MESSAGE_U32, struct keeper_died, restart_count),
	F(11, MESSAGE_TEXT, struct keeper_died, sentence),
};

static const struct message_field health_fields[] = {
	F(1, MESSAGE_U32, struct keeper_health, status),
	F(2, MESSAGE_FLAG, struct keeper_health, changed),
	F(3, MESSAGE_U32, struct keeper_health, failing_streak),
	F(4, MESSAGE_U32, struct keeper_health, exit_code),
	F(5, MESSAGE_I64, struct keeper_health, started_at_ns),
	F(6, MESSAGE_I64, struct keeper_health, finished_at_ns),
	F(7, MESSAGE_TEXT, struct keeper_health, output),
};

static const struct message_field attach_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_attach, session),
	F(2, MESSAGE_FLAG, struct keeper_attach, want_stdin),
	F(3, MESSAGE_FLAG, struct keeper_attach, want_stdout),
	F(4, MESSAGE_FLAG, struct keeper_attach, want_stderr),
	F(5, MESSAGE_FLAG, struct keeper_attach, multiplexed),
	F(6, MESSAGE_FLAG, struct keeper_attach, logs),
	F(7, MESSAGE_FLAG, struct keeper_attach, no_stream),
	F(8, MESSAGE_TEXT, struct keeper_attach, detach_keys),
	BYTES(9, struct keeper_attach, early, early_n),
};
static const struct message_shape attach_shape = SHAPE(struct keeper_attach, attach_fields);

static const struct message_field exec_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_exec, id),
	F(2, MESSAGE_TEXTS, struct keeper_exec, args),
	F(3, MESSAGE_TEXTS, struct keeper_exec, env),
	F(4, MESSAGE_TEXT, struct keeper_exec, cwd),
	F(5, MESSAGE_TEXT, struct keeper_exec, user),
	F(6, MESSAGE_FLAG, struct keeper_exec, tty),
	F(7, MESSAGE_FLAG, struct keeper_exec, privileged),
	F(8, MESSAGE_U32, struct keeper_exec, rows),
	F(9, MESSAGE_U32, struct keeper_exec, columns),
	NESTED(10, struct keeper_exec, client, attach_shape),
};

static const struct message_field exec_died_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_exec_died, id),
	F(2, MESSAGE_I64, struct keeper_exec_died, pid),
	F(3, MESSAGE_U32, struct keeper_exec_died, exit_code),
	F(4, MESSAGE_I64, struct keeper_exec_died, finished_at_ns),
};

static const struct message_field detached_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_detached, session),
	F(2, MESSAGE_FLAG, struct keeper_detached, by_keys),
};

static const struct message_field resize_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_resize, exec_id),
	F(2, MESSAGE_U32, struct keeper_resize, rows),
	F(3, MESSAGE_U32, struct keeper_resize, columns),
};

static const struct message_field signal_fields[] = {
	F(1, MESSAGE_U32, struct keeper_signal, signal),
	F(2, MESSAGE_FLAG, struct keeper_signal, last),
	F(3, MESSAGE_TEXT, struct keeper_signal, exec_id),
};

static const struct message_field stop_fields[] = {
	F(1, MESSAGE_U32, struct keeper_stop, signal),
	F(2, MESSAGE_I32, struct keeper_stop, timeout_s),
};

static const struct message_field update_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_update, resources_json),
	F(2, MESSAGE_FLAG, struct keeper_update, has_restart),
	F(3, MESSAGE_U32, struct keeper_update, restart),
	F(4, MESSAGE_U32, struct keeper_update, restart_max),
};

static const struct message_shape started_shape = SHAPE(struct keeper_started, started_fields);
static const struct message_shape fault_shape = SHAPE(struct keeper_fault, fault_fields);
static const struct message_shape died_shape = SHAPE(struct keeper_died, died_fields);

static const struct message_field state_fields[] = {
	F(1, MESSAGE_TEXT, struct keeper_state, id),
	F(2, MESSAGE_U32, struct keeper_state, phase),
	NESTED(3, struct keeper_state, started, started_shape),
	F(4, MESSAGE_FLAG, struct keeper_state, has_died),
	NESTED(5, struct keeper_state, died, died_shape),
	F(6, MESSAGE_FLAG, struct keeper_state, has_fault),
	NESTED(7, struct keeper_state, fault, fault_shape),
	F(8, MESSAGE_U32, struct keeper_state, health),
	F(9, MESSAGE_U32, struct keeper_state, health_streak),
	F(10, MESSAGE_TEXTS, struct keeper_state, exec_ids),
	F(11, MESSAGE_U32, struct keeper_state, restart),
	F(12, MESSAGE_U32, struct keeper_state, restart_max),
	F(13, MESSAGE_I64, struct keeper_state, news_lost),
	F(14, MESSAGE_TEXTS, struct keeper_state, exec_ends),
};

static const struct message_shape orders_shape = SHAPE(struct keeper_orders, orders_fields);
static const struct message_shape exec_shape = SHAPE(struct keeper_exec, exec_fields);
static const struct message_shape resize_shape = SHAPE(struct keeper_resize, resize_fields);
static const struct message_shape signal_shape = SHAPE(struct keeper_signal, signal_fields);
static const struct message_shape stop_shape = SHAPE(struct keeper_stop, stop_fields);
static const struct message_shape update_shape = SHAPE(struct keeper_update, update_fields);
static const struct message_shape health_shape = SHAPE(struct keeper_health, health_fields);
static const struct message_shape exec_died_shape =
	SHAPE(struct keeper_exec_died, exec_died_fields);
static const struct message_shape detached_shape = SHAPE(struct keeper_detached, detached_fields);
const struct message_shape message_state_shape = SHAPE(struct keeper_state, state_fields);
/* clang-format on */

static const struct {
	enum keeper_type type;
	const struct message_shape *shape;
} shapes[] = {
	{KEEPER_ORDERS, &orders_shape},	      {KEEPER_EXEC, &exec_shape},
	{KEEPER_ATTACH, &attach_shape},	      {KEEPER_RESIZE, &resize_shape},
	{KEEPER_SIGNAL, &signal_shape},	      {KEEPER_STOP, &stop_shape},
	{KEEPER_UPDATE, &update_shape},	      {KEEPER_FAULT, &fault_shape},
	{KEEPER_STATE, &message_state_shape}, {KEEPER_STARTED, &started_shape},
	{KEEPER_FAILED, &fault_shape},	      {KEEPER_DIED, &died_shape},
	{KEEPER_HEALTH, &health_shape},	      {KEEPER_EXEC_DIED, &exec_died_shape},
	{KEEPER_DETACHED, &detached_shape},   {KEEPER_EXEC_STARTED, &started_shape},
};

const struct message_shape *message_shape_of(enum keeper_type type)
{
	for (size_t i = 0; i < array_len(shapes); i++)
		if (shapes[i].type == type)
			return shapes[i].shape;
	return NULL;
}
