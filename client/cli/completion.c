/*
 * completion.c - gofer completion bash: the completion script, which is
 * scripts/gofer.bash-completion word for word.
 */
#include "client/cli/cli.h"

#include <string.h>

static const struct cli_spec spec = {
	.verb = "completion",
	.usage = "bash",
	.about = "Prints the completion script of a shell. Use it with: source <(gofer completion "
		 "bash)",
};

extern const char completion_begin[], completion_end[];
__asm__(".section .rodata\n"
	"completion_begin:\n"
	".incbin \"scripts/gofer.bash-completion\"\n"
	"completion_end:\n"
	".byte 0\n"
	".text\n");

static int run(int argc, char **argv)
{
	struct cli c;

	cli_begin(&c, &spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 1, 1) < 0)
		return cli_end(&c);
	if (strcmp(c.argv[0], "bash") != 0)
		cli_no_usage(&c, "there is a script for bash only");
	else
		fwrite(completion_begin, 1, (size_t)(completion_end - completion_begin), stdout);
	return cli_end(&c);
}

const struct verb verb_completion = { "completion", "print the shell completion script", run,
				      &spec };
