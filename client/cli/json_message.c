/*
 * json_message.c - see json_message.h. protobuf-c's descriptors give each field's offset, type and
 * label; a field is read and written at that offset as the C type that the type says.
 */
#include "client/cli/json_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"

static json_t *json_u64(uint64_t value)
{
	char text[24];

	if (value <= INT64_MAX)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_string(text);
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

static json_t *json_from_value(const ProtobufCFieldDescriptor *f, const void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_integer(*(const int64_t *)at);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_u64(*(const uint64_t *)at);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_real(*(const float *)at);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_ENUM: {
		const ProtobufCEnumValue *v =
			protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)at);

		return v ? json_string(v->name) : json_integer(*(const int *)at);
	}
	case PROTOBUF_C_TYPE_STRING: {
		const char *text = *(char *const *)at;

		return cli_json_bytes(text ? text : "", text ? strlen(text) : 0);
	}
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *b = at;

		return cli_json_bytes(b->data, b->len);
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		return json_from_message(*(ProtobufCMessage *const *)at);
	}
	return json_null();
}

/* Whether a field holds proto3's default, which is as good as absent. */
static bool is_default(const ProtobufCFieldDescriptor *f, const void *at)
{
	static const uint8_t zeros[8];

	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return !*(void *const *)at;
	if (f->type == PROTOBUF_C_TYPE_STRING) {
		const char *text = *(char *const *)at;

		return !text || !*text;
	}
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)at)->len == 0;
	return memcmp(at, zeros, size_of(f)) == 0;
}

json_t *json_from_message(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *d = message->descriptor;
	json_t *o = json_object();

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const uint8_t *at = (const uint8_t *)message + f->offset;
		size_t n;
		json_t *list;

		if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			if (!is_default(f, at))
				json_object_set_new(o, f->name, json_from_value(f, at));
			continue;
		}
		n = *(const size_t *)((const uint8_t *)message + f->quantifier_offset);
		if (!n)
			continue;
		list = json_array();
		for (size_t k = 0; k < n; k++)
			json_array_append_new(
				list, json_from_value(f, *(uint8_t *const *)at + k * size_of(f)));
		json_object_set_new(o, f->name, list);
	}
	return o;
}

static int integer(const json_t *json, int64_t min, uint64_t max, uint64_t *ret_value)
{
	if (json_is_string(json) && max > INT64_MAX) {
		const char *text = json_string_value(json);
		char *end;

		errno = 0;
		*ret_value = strtoull(text, &end, 0);
		return errno || end == text || *end || *text == '-' ? -EINVAL : 0;
	}
	if (!json_is_integer(json))
		return -EINVAL;
	if (json_integer_value(json) < min ||
	    (json_integer_value(json) > 0 && (uint64_t)json_integer_value(json) > max))
		return -EINVAL;
	*ret_value = (uint64_t)json_integer_value(json);
	return 0;
}

static int enum_value(const json_t *json, const ProtobufCEnumDescriptor *d, int *ret_value)
{
	const ProtobufCEnumValue *v;

	if (json_is_integer(json)) {
		*ret_value = (int)json_integer_value(json);
		return 0;
	}
	v = json_is_string(json)
		    ? protobuf_c_enum_descriptor_get_value_by_name(d, json_string_value(json))
		    : NULL;
	if (!v)
		return -EINVAL;
	*ret_value = v->value;
	return 0;
}

static int bytes_value(const json_t *json, ProtobufCBinaryData *ret_bytes)
{
	const char *encoded = json_string_value(json_object_get(json, "base64"));
	void *data;
	size_t len;

	if (encoded) {
		if (cli_base64_decode(encoded, &data, &len) < 0)
			return -EINVAL;
	} else if (json_is_string(json)) {
		len = json_string_length(json);
		data = memcpy(cli_alloc(len + 1), json_string_value(json), len);
	} else {
		return -EINVAL;
	}
	ret_bytes->data = data;
	ret_bytes->len = len;
	return 0;
}

static int set_value(const json_t *json, const ProtobufCFieldDescriptor *f, void *at, char *error,
		     size_t size)
{
	uint64_t value = 0;
	int r;

	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		r = integer(json, INT32_MIN, INT32_MAX, &value);
		*(int32_t *)at = (int32_t)value;
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		r = integer(json, 0, UINT32_MAX, &value);
		*(uint32_t *)at = (uint32_t)value;
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		r = integer(json, INT64_MIN, INT64_MAX, &value);
		*(int64_t *)at = (int64_t)value;
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		r = integer(json, 0, UINT64_MAX, &value);
		*(uint64_t *)at = value;
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		r = json_is_number(json) ? 0 : -EINVAL;
		*(float *)at = (float)json_number_value(json);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		r = json_is_number(json) ? 0 : -EINVAL;
		*(double *)at = json_number_value(json);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		r = json_is_boolean(json) ? 0 : -EINVAL;
		*(protobuf_c_boolean *)at = json_is_true(json);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		r = enum_value(json, f->descriptor, at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		r = json_is_string(json) ? 0 : -EINVAL;
		if (r == 0)
			*(char **)at = cli_strdup(json_string_value(json));
		break;
	case PROTOBUF_C_TYPE_BYTES:
		r = bytes_value(json, at);
		break;
	default:
		return json_to_message(json, f->descriptor, at, error, size);
	}
	if (r < 0)
		snprintf(error, size, "the value of '%s' does not fit it", f->name);
	return r;
}

int json_to_message(const json_t *json, const ProtobufCMessageDescriptor *d,
		    ProtobufCMessage **ret_message, char *error, size_t size)
{
	ProtobufCMessage *message;
	const char *key;
	json_t *value;
	int r;

	if (!json_is_object(json)) {
		snprintf(error, size, "a %s is a JSON object", d->short_name);
		return -EINVAL;
	}
	message = cli_alloc(d->sizeof_message);
	protobuf_c_message_init(d, message);
	json_object_foreach((json_t *)json, key, value)
	{
		const ProtobufCFieldDescriptor *f =
			protobuf_c_message_descriptor_get_field_by_name(d, key);
		uint8_t *at = f ? (uint8_t *)message + f->offset : NULL;

		if (!f) {
			snprintf(error, size, "%s has no field '%.60s'", d->short_name, key);
			r = -EINVAL;
		} else if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			r = set_value(value, f, at, error, size);
		} else if (!json_is_array(value)) {
			snprintf(error, size, "'%s' takes a list", f->name);
			r = -EINVAL;
		} else {
			size_t *n = (size_t *)((uint8_t *)message + f->quantifier_offset);
			uint8_t *list = cli_alloc(json_array_size(value) * size_of(f));

			*(void **)at = list;
			r = 0;
			for (size_t i = 0; i < json_array_size(value) && r == 0; i++) {
				r = set_value(json_array_get(value, i), f, list + i * size_of(f),
					      error, size);
				if (r == 0)
					++*n;
			}
		}
		if (r < 0) {
			protobuf_c_message_free_unpacked(message, NULL);
			return r;
		}
	}
	*ret_message = message;
	return 0;
}
