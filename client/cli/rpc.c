/*
 * rpc.c - gofer rpc: any request of the protocol, its fields as JSON, its reply as JSON. For
 * looking at the protocol, for scripts, and for trying what no other verb does. A handle lives as
 * long as its session, and a session as long as this command: so several requests can be given, one
 * after the other.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>

#include "client/cli/json_message.h"
#include "proto/rpc.h"

enum { KEY_DATA = CLI_LONG, KEY_DATA_OUT, KEY_LIST };

static const struct cli_option options[] = {
	{ KEY_DATA, "data", "FILE",
	  "payload of the requests that carry one; - for standard input" },
	{ KEY_DATA_OUT, "data-out", "FILE",
	  "write the replies' payloads to FILE; - for standard output" },
	{ KEY_LIST, "list", NULL, "list the requests and their fields" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "rpc",
	.usage = "[--data=FILE] [--data-out=FILE] NAME [FIELDS] [NAME [FIELDS]]...\n--list",
	.about = "Sends requests of the protocol by name, with fields as JSON, and prints each "
		 "reply as one line of JSON.",
	.options = options,
	.notes = "gofer rpc Stat '{\"path\": {\"fs_id\": 0, \"path\": \"etc\"}}'\n"
		 "gofer rpc Open '{\"path\": {\"fs_id\": 0, \"path\": \"f\"}, \"flags\": 1}' Read "
		 "'{\"handle\": \"$handle\", \"count\": 9}'\n"
		 "\n"
		 "Bytes are strings where they are UTF-8 and {\"base64\": \"...\"} where not, "
		 "given and printed. In place of a\n"
		 "number, \"$handle\" is the handle of the last reply that had one. A reply's "
		 "payload is its field \"data\", unless\n"
		 "--data-out is given. 'gofer ls --json' shows the fs_id of each volume.",
};

static const char *field_type(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return "bool";
	case PROTOBUF_C_TYPE_STRING:
		return "string";
	case PROTOBUF_C_TYPE_BYTES:
		return "bytes";
	case PROTOBUF_C_TYPE_MESSAGE:
		return ((const ProtobufCMessageDescriptor *)f->descriptor)->short_name;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_INT64:
		return "int";
	default:
		return "uint";
	}
}

static void list_requests(void)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		const ProtobufCMessageDescriptor *d = rpc_table[i].request;

		printf("%-13s", rpc_table[i].name);
		for (unsigned k = 0; k < d->n_fields; k++)
			printf(" %s:%s%s", d->fields[k].name, field_type(&d->fields[k]),
			       d->fields[k].label == PROTOBUF_C_LABEL_REPEATED ? "[]" : "");
		if (rpc_table[i].flags & RPC_DATA_IN)
			printf(" +data");
		putchar('\n');
	}
}

static int read_all(const char *name, char **ret_data, size_t *ret_len)
{
	_cleanup_fd_ int fd =
		strcmp(name, "-") == 0 ? dup(STDIN_FILENO) : open(name, O_RDONLY | O_CLOEXEC);
	char *data = cli_alloc(FRAME_MAX_DATA + 1);
	size_t len = 0;

	if (fd < 0) {
		free(data);
		return -errno;
	}
	for (;;) {
		ssize_t n = read(fd, data + len, FRAME_MAX_DATA + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || len + (size_t)n > FRAME_MAX_DATA) {
			if (n == 0)
				break;
			free(data);
			return n < 0 ? -errno : -EFBIG;
		}
		len += (size_t)n;
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

/* "$handle" wherever it stands becomes the number. */
static void put_handle(json_t *json, uint64_t handle)
{
	json_t *value;
	const char *key;
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)handle);
	if (json_is_object(json)) {
		void *next;

		json_object_foreach_safe(json, next, key, value)
		{
			if (json_is_string(value) &&
			    strcmp(json_string_value(value), "$handle") == 0)
				json_object_set_new(json, key, json_string(text));
			else
				put_handle(value, handle);
		}
	} else if (json_is_array(json)) {
		for (size_t i = 0; i < json_array_size(json); i++) {
			value = json_array_get(json, i);
			if (json_is_string(value) &&
			    strcmp(json_string_value(value), "$handle") == 0)
				json_array_set_new(json, i, json_string(text));
			else
				put_handle(value, handle);
		}
	}
}

struct rpc_state {
	struct cli *c;
	char *data;
	size_t data_len;
	FILE *out;
	uint64_t handle;
};

static void print_reply(struct rpc_state *s, const struct rpc_info *rpc, struct gofer_reply *reply)
{
	json_t *o = json_from_message((const ProtobufCMessage *)reply->message), *handle;

	handle = json_object_get(o, "handle");
	if (json_is_integer(handle))
		s->handle = (uint64_t)json_integer_value(handle);
	else if (json_is_string(handle))
		s->handle = strtoull(json_string_value(handle), NULL, 10);
	if (reply->kind == GOFER_REPLY_STOP)
		o = json_pack("{s:o}", "stop", o);
	if (reply->fd >= 0)
		json_object_set_new(o, "descriptor", json_true());
	if (s->out && reply->data_len) {
		if (fwrite(reply->data, 1, reply->data_len, s->out) != reply->data_len)
			cli_error(s->c, -errno, "write", "--data-out");
	} else if (reply->data_len) {
		json_object_set_new(o, "data", cli_json_bytes(reply->data, reply->data_len));
	}
	/* With the payload on standard output there is no room for anything else. */
	if (s->out == stdout)
		json_decref(o);
	else
		cli_json_print(s->c, o);
	(void)rpc;
}

static int call(struct rpc_state *s, const struct rpc_info *rpc, const char *fields)
{
	struct gofer_request request = { .type = rpc->type, .fd = -1 };
	ProtobufCMessage *message = NULL;
	struct gofer_reply reply;
	json_error_t where;
	char error[256];
	json_t *json;
	int r;

	json = json_loads(fields ? fields : "{}", JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
	if (!json)
		return cli_no_usage(s->c, "%s: the fields are not JSON: %s", rpc->name, where.text);
	put_handle(json, s->handle);
	r = json_to_message(json, rpc->request, &message, error, sizeof(error));
	json_decref(json);
	if (r < 0)
		return cli_no_usage(s->c, "%s: %s", rpc->name, error);
	request.message = (void *)message;
	if (rpc->flags & RPC_DATA_IN) {
		request.data = s->data;
		request.data_len = s->data_len;
	}
	r = gofer_call(s->c->session, &request, &reply);
	protobuf_c_message_free_unpacked(message, NULL);
	if (r < 0) {
		cli_error(s->c, r, NULL, rpc->name);
		return r;
	}
	print_reply(s, rpc, &reply);
	gofer_reply_free(&reply);
	return 0;
}

static int run(int argc, char **argv)
{
	const char *in = NULL, *out = NULL;
	struct cli c;
	struct rpc_state s = { .c = &c };
	int key, r;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == KEY_LIST) {
			list_requests();
			return cli_end(&c);
		}
		*(key == KEY_DATA ? &in : &out) = c.optarg;
	}
	if (cli_need_operands(&c, 1, -1) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc; i++)
		if (c.argv[i][0] != '{' && !rpc_find_by_name(c.argv[i]))
			cli_no_usage(&c, "there is no request '%.60s'; --list shows them",
				     c.argv[i]);
	if (c.argv[0][0] == '{')
		cli_no_usage(&c, "the name of a request comes before its fields");
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	if (in) {
		r = read_all(in, &s.data, &s.data_len);
		if (r < 0) {
			cli_error(&c, r, "read", in);
			return cli_end(&c);
		}
	}
	if (out) {
		s.out = strcmp(out, "-") == 0 ? stdout : fopen(out, "we");
		if (!s.out) {
			cli_error(&c, -errno, "write", out);
			free(s.data);
			return cli_end(&c);
		}
	}
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		const struct rpc_info *rpc = rpc_find_by_name(c.argv[i]);

		if (!rpc)
			continue;
		if (call(&s, rpc,
			 i + 1 < c.argc && c.argv[i + 1][0] == '{' ? c.argv[i + 1] : NULL) < 0)
			break;
	}
	if (s.out && s.out != stdout && fclose(s.out) != 0)
		cli_error(&c, -errno, "write", out);
	free(s.data);
	return cli_end(&c);
}

const struct verb verb_rpc = { "rpc", "send any request of the protocol", run, &spec };
