/*
 * status.c - see status.h.
 */
#include "client/run/status.h"

#include <jansson.h>

static void say(const struct run_options *options, json_t *object)
{
	/* One write: readers of a pipe get whole lines. Whoever asked and went away is not missed. */
	char *text = json_dumps(object, JSON_COMPACT);
	size_t n = 0;

	json_decref(object);
	if (!text)
		return;
	while (text[n])
		n++;
	text[n++] = '\n';
	ssize_t written = write(options->json_status_fd, text, n);
	(void)written;
	free(text);
}

void status_started(const struct run_options *options, const struct run_plan *plan,
		    const struct cage *cage)
{
	json_t *layers;

	if (options->json_status_fd < 0)
		return;
	layers = json_object();
	for (enum run_layer i = 0; i < RUN_LAYERS; i++)
		(void)json_object_set_new(layers, run_layer_name(i),
					  json_boolean(run_has(plan, i)));
	say(options,
	    json_pack("{s:{s:i, s:o}}", "started", "init", (int)cage->init, "layers", layers));
}

void status_ended(const struct run_options *options, int status)
{
	if (options->json_status_fd >= 0)
		say(options, json_pack("{s:{s:i}}", "ended", "status", status));
}
