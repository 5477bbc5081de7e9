/*
 * in_sandbox.c - what bench-run runs inside: statically linked, so that every sandbox can start it alike.
 *
 *	in_sandbox time COMMAND...       runs it and prints, on standard error, "elapsed_us N" and nothing else of its own
 *	in_sandbox opens DIRECTORY N     opens, reads and closes N files DIRECTORY/I/J, J below 500; prints how many bytes
 *	in_sandbox calls CALL PATH N     N times stat, readlink or open (and close) of one path; prints what the last one said
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static int opens(const char *directory, int n)
{
	char path[4096], buffer[4096];
	long bytes = 0;

	for (int i = 0; i < n; i++) {
		ssize_t got;
		int fd;

		snprintf(path, sizeof(path), "%s/%d/%d", directory, i / 500, i % 500);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			perror(path);
			return 1;
		}
		got = read(fd, buffer, sizeof(buffer));
		if (got > 0)
			bytes += got;
		close(fd);
	}
	printf("%ld\n", bytes);
	return 0;
}

static int calls(const char *call, const char *path, int n)
{
	char target[4096];
	struct stat st;
	long r = 0;

	for (int i = 0; i < n; i++) {
		if (!strcmp(call, "stat"))
			r = stat(path, &st);
		else if (!strcmp(call, "readlink"))
			r = readlink(path, target, sizeof(target));
		else
			r = open(path, O_RDONLY | O_CLOEXEC);
		if (r >= 0 && !strcmp(call, "open"))
			close((int)r);
	}
	printf("%s\n", r < 0 ? strerror(errno) : "done");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "calls"))
		return calls(argv[2], argv[3], atoi(argv[4]));
	if (argc == 4 && !strcmp(argv[1], "opens"))
		return opens(argv[2], atoi(argv[3]));
	if (argc > 2 && !strcmp(argv[1], "time")) {
		long start = now_us();
		pid_t child = fork();
		int status;

		if (child == 0) {
			execvp(argv[2], argv + 2);
			perror(argv[2]);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) != child)
			return 1;
		fprintf(stderr, "elapsed_us %ld\n", now_us() - start);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	fprintf(stderr,
		"usage: in_sandbox time COMMAND... | opens DIRECTORY N | calls CALL PATH N\n");
	return 2;
}
