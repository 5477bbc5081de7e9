/*
 * victim.h - the requests that are raced: for every RPC that takes a path, one or more recipes, and
 * the paths that lead them through what attackers change.
 *
 * The recipes hang on the table of RPCs (proto/rpc.def): a new row without any fails the build.
 */
#pragma once

#include "client/stress/move.h"
#include "proto/rpc.h"

/* What a request asks for in the directory that its path leads to. */
enum leaf {
	LEAF_NONE,
	LEAF_FILE,   /* "f": a file inside and outside */
	LEAF_ONLY,   /* "only": exists outside only */
	LEAF_LINK,   /* "l" */
	LEAF_DIR,    /* "sub" */
	LEAF_SELF,   /* the directory itself */
	LEAF_SOCKET, /* "sock": exists outside only */
	LEAF_NEW,    /* "made0", "made1" */
};

struct op;
struct recipe {
	const char *variant; /* "" = the only one */
	enum leaf leaf;
	void (*fill)(struct op *op);
	enum leaf leaf2; /* of the second path */
	bool creates;    /* makes the leaf where it is missing */
};

struct route {
	const char *text; /* of the directory, with "/" at its end; "%" is the ground's outside */
	enum place base;  /* whose handle it starts from; PLACE_ROOT: none */
	enum field field;
	bool only_outside; /* the directory itself exists outside only */
	bool no_leaves;    /* exists inside, but has no leaves there */
};
extern const struct route routes[];
extern const size_t n_routes;

union op_message {
	ProtobufCMessage base;
#define RPC(Name, snake, type, reply, flags) Gofer__##Name##Request snake;
#include "proto/rpc.def"
#undef RPC
};

/* One request, ready to be sent. Not to be copied: it points into itself. */
struct op {
	const struct rpc_info *rpc;
	const struct recipe *recipe;
	const struct route *route;
	const struct hand *hand;
	Gofer__Path path, path2;
	char text[400], text2[400];
	union op_message message;
	const char *data;
	bool takes_fd;
	bool only_outside; /* success means that it happened outside */
	struct gofer_request request;
};

/* The recipes of a row; ends with fill NULL. Empty for those without a path. */
const struct recipe *recipes_of(enum rpc_index rpc);
/* Whether the recipe says anything on this route. */
bool recipe_fits(const struct recipe *recipe, const struct route *route);
/* Prepares the request. `follow`: budget of links where the RPC may follow; `slash`: one behind. */
void op_prepare(struct op *op, enum rpc_index rpc, const struct recipe *recipe,
		const struct route *route, unsigned new_name, uint32_t follow, bool slash,
		const struct hand *hand);
/* "Open create a/b/c/d/made0" */
void op_describe(const struct op *op, char *ret_text, size_t size);

/* Whether the answer shows that something outside was reached; then with words what. */
bool op_judge(const struct op *op, int result, const struct gofer_reply *reply, char *ret_words,
	      size_t size);
