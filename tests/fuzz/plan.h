/*
 * plan.h - a plan: a list of operations that can be done in two ways, by plain system calls and
 * through libgofer, in a directory that is the root. An input is a plan: PLAN_STEP bytes make one
 * operation, whatever they are.
 */
#pragma once

#include "tests/integration/differential_ops.h"

enum { PLAN_STEP = 24, PLAN_MAX = 24, PLAN_FILES = 3 };

/* Beside those of differential_ops.h: operations on files that stay open, and on whole files. */
enum plan_kind {
	PLAN_OPEN = OP_COUNT,
	PLAN_READ,
	PLAN_WRITE,
	PLAN_SEEK,
	PLAN_FSTAT,
	PLAN_FTRUNCATE,
	PLAN_FCHMOD,
	PLAN_FCHOWN,
	PLAN_FUTIMENS,
	PLAN_FSYNC,
	PLAN_ALLOCATE,
	PLAN_COPY,
	PLAN_FLINK,
	PLAN_CLOSE,
	PLAN_READ_FILE,
	PLAN_WRITE_FILE,
	PLAN_CONNECT,
	PLAN_KINDS,
};

struct plan_op {
	struct op op; /* op.kind: or one of enum plan_kind */
	unsigned file, other_file;
	uint64_t offset, count;
};

struct plan {
	struct plan_op ops[PLAN_MAX];
	size_t n;
};

/* Whether the kernel lets a user name an O_TMPFILE file without /proc; else plans do not. */
extern bool plan_can_flink;
/* Whether the two sides know other users than the one who runs us: a user namespace of an ordinary user's does not. */
extern bool plan_has_ids;

const char *plan_kind_name(unsigned kind);
void plan_parse(struct plan *plan, const uint8_t *data, size_t size);
/* Each operation's outcome. By system calls: in the calling process's root directory. */
void plan_run_native(const struct plan *plan, struct outcome ret_outcomes[PLAN_MAX]);
void plan_run_gofer(const struct plan *plan, struct gofer_namespace *ns,
		    struct outcome ret_outcomes[PLAN_MAX]);
