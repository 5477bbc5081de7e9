/*
 * explain.c - see explain.h. Made from the plan that a run would use, and from the filter's own table, so that it cannot say
 * anything else than what would happen.
 */
#include "client/run/explain.h"

#include <string.h>

#include <jansson.h>

#include "client/run/filter.h"
#include "common/path.h"

struct counts {
	unsigned native, notified, partly, refused;
};

static bool is_notified(const struct syscall_info *s, const struct run_plan *plan)
{
	return s->class == SYSCALL_NOTIFY ||
	       (s->class == SYSCALL_LAYER && s->notified && !run_has(plan, s->layer));
}

static struct counts count(const struct run_plan *plan)
{
	struct counts c = {};

	for (size_t i = 0; i < syscall_table_size; i++) {
		const struct syscall_info *s = &syscall_table[i];

		if (is_notified(s, plan))
			c.notified++;
		else if (s->class == SYSCALL_SPECIAL)
			c.partly++;
		else if (s->class == SYSCALL_DENY ||
			 (s->class == SYSCALL_LAYER && !run_has(plan, s->layer)))
			c.refused++;
		else
			c.native++;
	}
	return c;
}

static bool switched_off(const struct run_options *options, enum run_layer layer)
{
	return (options->without & RUN_LAYER_BIT(layer)) ||
	       (layer == RUN_LAYER_NET && options->net == RUN_NET_HOST);
}

/* What a layer is for. */
static const char *purpose(enum run_layer layer)
{
	switch (layer) {
	case RUN_LAYER_SECCOMP:
		return "calls that name a path go to gofer, dangerous ones fail";
	case RUN_LAYER_USER:
		return "a user namespace of its own";
	case RUN_LAYER_MOUNT:
		return "a root that holds the volumes and nothing else";
	case RUN_LAYER_PID:
		return "it sees its own processes only; all end with gofer";
	case RUN_LAYER_IPC:
		return "System V IPC and message queues of its own";
	case RUN_LAYER_UTS:
		return "a host name of its own";
	case RUN_LAYER_NET:
		return "no network but a loopback device of its own";
	case RUN_LAYER_LANDLOCK:
		return "the kernel opens nothing but programs, by itself";
	default:
		return "";
	}
}

static const char *kind_of(const struct run_volume *v)
{
	return v->kind == RUN_VOLUME_USER   ? "volume"
	       : v->kind == RUN_VOLUME_ROOT ? "root"
					    : "private";
}

/* ---- words ---- */

static void put_path(FILE *out, const char *path, int width)
{
	char text[4 * PATH_LEN_MAX + 1];

	fprintf(out, "%-*s", width, path_escape(path, strlen(path), text, sizeof(text)));
}

static void put_volumes(const struct run_plan *plan, FILE *out)
{
	fprintf(out, "The program would see:\n");
	for (size_t i = 0; i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i];

		fprintf(out, "  %s ", v->read_only ? "ro" : "rw");
		put_path(out, v->guest, 24);
		if (v->kind == RUN_VOLUME_PRIVATE) {
			fprintf(out, " private, empty at start\n");
			continue;
		}
		fprintf(out, " ");
		put_path(out, v->host, 0);
		fprintf(out, "%s%s\n", v->xdev ? ", with what is mounted below" : "",
			v->noexec ? ", not to execute" : "");
	}
	if (run_has(plan, RUN_LAYER_MOUNT)) {
		fprintf(out, "  -- %-24s null zero full random urandom tty pts fd\n",
			RUN_NATIVE_DEV);
		fprintf(out, "  -- %-24s %s\n", RUN_NATIVE_PROC,
			run_has(plan, RUN_LAYER_PID) ? "of its own processes"
						     : "a little, made up by gofer");
	} else {
		fprintf(out, "  -- %-24s a little, made up by gofer\n", "/dev, /proc");
	}
	fprintf(out, "It would start in ");
	put_path(out, plan->chdir, 0);
	fprintf(out, ".\n");
}

static void put_layers(const struct run_options *options, const struct run_plan *plan, FILE *out)
{
	fprintf(out, "\nIt would be held by:\n");
	for (int i = 0; i < RUN_LAYERS; i++) {
		const struct run_layer_state *s = &plan->layers.layer[i];
		const char *state = s->holds                                   ? "holds"
				    : switched_off(options, (enum run_layer)i) ? "off"
									       : "MISSING";

		fprintf(out, "  %-9s%-8s %s", run_layer_name((enum run_layer)i), state,
			purpose((enum run_layer)i));
		fprintf(out, s->detail[0] ? "%s%s%s\n" : "\n", s->holds ? " (" : ": ", s->detail,
			s->holds ? ")" : "");
	}
}

static void put_calls(const struct run_plan *plan, FILE *out)
{
	struct counts c = count(plan);

	fprintf(out,
		"\nOf %zu system calls of this architecture %u run by themselves, %u go to gofer, "
		"%u do one or the other or fail by\n"
		"their arguments, and %u fail; every other call, and every other architecture, is "
		"ENOSYS.\n",
		syscall_table_size, c.native, c.notified, c.partly, c.refused);
}

/* ---- JSON ---- */

/* Paths are bytes; what is no UTF-8 is escaped, as people would see it. */
static json_t *path_json(const char *path)
{
	char text[4 * PATH_LEN_MAX + 1];
	json_t *plain = json_string(path);

	return plain ? plain : json_string(path_escape(path, strlen(path), text, sizeof(text)));
}

static json_t *volumes_json(const struct run_plan *plan)
{
	json_t *list = json_array();

	for (size_t i = 0; i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i];

		json_array_append_new(
			list,
			json_pack("{s:s, s:o, s:o, s:b, s:b, s:b}", "kind", kind_of(v), "guest",
				  path_json(v->guest), "host",
				  v->kind == RUN_VOLUME_PRIVATE ? json_null() : path_json(v->host),
				  "read_only", v->read_only, "xdev", v->xdev, "noexec", v->noexec));
	}
	return list;
}

static json_t *layers_json(const struct run_options *options, const struct run_plan *plan)
{
	json_t *object = json_object();

	for (int i = 0; i < RUN_LAYERS; i++) {
		const struct run_layer_state *s = &plan->layers.layer[i];

		json_object_set_new(object, run_layer_name((enum run_layer)i),
				    json_pack("{s:b, s:b, s:i, s:s}", "holds", s->holds,
					      "switched_off",
					      switched_off(options, (enum run_layer)i), "error",
					      -s->error, "detail", s->detail));
	}
	return object;
}

static json_t *names_json(const struct run_plan *plan)
{
	json_t *list = json_array();

	for (size_t i = 0; i < syscall_table_size; i++)
		if (is_notified(&syscall_table[i], plan))
			json_array_append_new(list, json_string(syscall_table[i].name));
	return list;
}

static void put_json(const struct run_options *options, const struct run_plan *plan, FILE *out)
{
	struct counts c = count(plan);
	json_t *object = json_pack("{s:o, s:o, s:o, s:{s:i, s:i, s:i, s:i, s:o}}", "volumes",
				   volumes_json(plan), "chdir", path_json(plan->chdir), "layers",
				   layers_json(options, plan), "calls", "native", c.native,
				   "intercepted", c.notified, "by_arguments", c.partly, "refused",
				   c.refused, "intercepted_names", names_json(plan));

	if (!object)
		return;
	json_dumpf(object, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(object);
}

int explain(const struct run_options *options, const struct run_plan *plan, FILE *out)
{
	int missing = 0;

	if (options->json) {
		put_json(options, plan, out);
	} else {
		put_volumes(plan, out);
		put_layers(options, plan, out);
		put_calls(plan, out);
	}
	for (int i = 0; i < RUN_LAYERS; i++)
		missing |=
			!plan->layers.layer[i].holds && !switched_off(options, (enum run_layer)i);
	return missing;
}
