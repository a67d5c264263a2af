/* Run the real program of the hidden tree that has this program's name, with the hidden tree's own libraries.
 *
 * After sfdisk and partx, refresh stands for what the kernel and devtmpfs do when a partition table was written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define RIG "/.rig"

static const char *program_for(const char *name)
{
	if (!strcmp(name, "sh"))
		return "dash";
	if (!strncmp(name, "mkfs.ext", 8))
		return "mke2fs";
	return name;
}

int main(int count, char **arguments)
{
	const char *name = strrchr(arguments[0], '/') ? strrchr(arguments[0], '/') + 1 : arguments[0];
	char **line = calloc(count + 6, sizeof(*line)), path[256];
	int status = 0;

	snprintf(path, sizeof(path), RIG "/bin/%s", program_for(name));
	line[0] = RIG "/ld.so";
	line[1] = "--library-path";
	line[2] = RIG "/lib";
	line[3] = "--argv0";
	line[4] = arguments[0];
	line[5] = path;
	memcpy(line + 6, arguments + 1, count * sizeof(*line));
	if (strcmp(name, "sfdisk") == 0 || strcmp(name, "partx") == 0) {
		pid_t child = fork();

		if (child > 0) {
			waitpid(child, &status, 0);
			if (system(RIG "/refresh"))
				fprintf(stderr, "rig: the partitions could not be read again\n");
			return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		}
	}
	execv(line[0], line);
	perror(line[0]);
	return 127;
}
