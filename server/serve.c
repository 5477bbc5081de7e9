/*
 * serve.c - `gofer serve`: options, then the front process (serve_front.c) or the explanation of
 * what confinement holds here.
 */
#include "server/serve.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "common/verb.h"
#include "server/monitor.h"
#include "server/volume.h"

int serve_open_server(const struct serve_options *o, struct server_shared *shared,
		      struct server *ret, struct serve_error *error)
{
	struct server server = {
		.limits = o->limits,
		.shared = shared,
		.version = "gofer " GOFER_VERSION,
		.log_requests = o->log_requests,
	};
	int r = 0;

	server.volumes = calloc(o->n_specs, sizeof(*server.volumes));
	if (!server.volumes)
		return serve_fail(error, -ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < o->n_specs; i++) {
		server.volumes[i] = VOLUME_NULL;
		r = volume_parse(o->specs[i], &server.volumes[i], error);
		if (r < 0)
			break;
		server.n_volumes++;
		r = volume_open(&server.volumes[i], i, o->no_openat2 ? FS_NO_OPENAT2 : 0, error);
	}
	if (r == 0)
		r = o->allow_overlap ? volumes_check_names(server.volumes, server.n_volumes, error)
				     : volumes_check(server.volumes, server.n_volumes, error);
	if (r < 0) {
		serve_close_server(&server);
		return r;
	}
	*ret = server;
	return 0;
}

void serve_close_server(struct server *server)
{
	for (size_t i = 0; i < server->n_volumes; i++)
		volume_deinit(&server->volumes[i]);
	free(TAKE_PTR(server->volumes));
	server->n_volumes = 0;
}

/* ---- --explain-confinement ---- */

static const char *layer_word(int result)
{
	if (result == 0)
		return "holds";
	return result > 0 ? "not needed" : "MISSING";
}

static int print_json(const struct confine_report *report)
{
	json_t *list = json_array();
	int r;

	for (size_t i = 0; i < CONFINE_LAYERS; i++) {
		const struct confine_layer_state *s = &report->layers[i];

		(void)json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "layer",
							    confine_layer_name(i), "state",
							    s->result == 0  ? "holds"
							    : s->result > 0 ? "not-needed"
									    : "missing",
							    "detail", s->detail));
	}
	r = json_dumpf(list, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(list);
	return r;
}

static int explain_in(struct server *server, const struct serve_options *o)
{
	struct confine confine;
	struct monitor_config config = {
		.server = server, .confine = &confine, .control = -EBADF, .handoff = -EBADF
	};
	struct serve_error error = {};
	char missing[512];
	bool complete;
	pid_t pid;
	int r;

	r = confine_init(&confine, server, false, o->no_openat2);
	if (r < 0)
		return EXIT_FAILURE;
	fflush(stdout);
	pid = confine_fork(&confine, &error);
	if (pid == 0)
		_exit(monitor_explain(&config));
	if (pid < 0) {
		log_error("%s", error.text[0] ? error.text : strerror(-pid));
		confine_deinit(&confine);
		return EXIT_FAILURE;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	complete = confine_complete(&confine, missing, sizeof(missing));
	if (o->json) {
		(void)print_json(confine.report);
	} else {
		for (size_t i = 0; i < CONFINE_LAYERS; i++) {
			const struct confine_layer_state *s = &confine.report->layers[i];

			printf("%-46s  %-10s  %s\n", confine_layer_name(i), layer_word(s->result),
			       s->detail);
		}
		if (complete)
			printf("\nEvery layer holds: --confine=strict (the default) will serve.\n");
		else
			printf("\nMissing: %s. --confine=strict (the default) refuses to serve; "
			       "best-effort serves without.\n",
			       missing);
	}
	confine_deinit(&confine);
	return complete ? EXIT_SUCCESS : EXIT_FAILURE;
}

int serve_explain(const struct serve_options *o)
{
	struct serve_options with_volume = *o;
	char *here[] = { (char *)".:here:ro" };
	struct serve_error error = {};
	struct server server;
	int r, status;

	/* The layers are the same whatever is served; some tree must be, to try them on. */
	if (!o->n_specs) {
		with_volume.specs = here;
		with_volume.n_specs = 1;
	}
	r = serve_open_server(&with_volume, NULL, &server, &error);
	if (r < 0) {
		log_error("%s", error.text);
		return EXIT_FAILURE;
	}
	status = explain_in(&server, o);
	serve_close_server(&server);
	return status;
}

static int serve_run(int argc, char **argv)
{
	struct serve_options options;
	struct serve_error error = {};
	int r, status;

	r = serve_options_parse(argc, argv, &options, &error);
	if (r > 0)
		return EXIT_SUCCESS;
	if (r < 0) {
		fprintf(stderr, "gofer serve: %s (see 'gofer serve --help')\n",
			error.text[0] ? error.text : strerror(-r));
		return SERVE_EXIT_USAGE;
	}
	log_setup(&options.log);
	status = options.explain ? serve_explain(&options) : serve_front(&options);
	serve_options_deinit(&options);
	return status;
}

const struct verb verb_serve = { "serve", "serve host directories over a Unix socket, confined",
				 serve_run };
