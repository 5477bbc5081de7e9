/*
 * verb.h - what the gofer command is made of. Each verb is one `struct verb` in the layer that owns
 * it (serve in server/, the others in client/cli/); the command's main() holds the list of pointers
 * and nothing else.
 */
#pragma once

struct cli_spec;

struct verb {
	const char *name;
	const char *summary;               /* one line for `gofer --help` */
	int (*run)(int argc, char **argv); /* argv[0] is the verb's name; returns the exit status */
	const struct cli_spec *spec;       /* of the clients: their options, for completion */
};

extern const struct verb verb_serve;
