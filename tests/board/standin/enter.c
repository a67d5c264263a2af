/* enter PID REPORT TERMINAL PROGRAM ARGUMENT...: run a program inside the router whose process 1 has this PID.
 *
 * The program becomes the leader of its own session. REPORT is an open file descriptor that gets the program's
 * process id (as the host counts) as a line, once it leads its session. TERMINAL 1 makes standard input the
 * session's controlling terminal.
 * The exit status is the program's, or 128 + the signal that ended it; 125 when the router cannot be entered. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(125);
}

int main(int count, char **arguments)
{
	static const char *const spaces[] = { "uts", "net", "pid", "mnt" };
	int descriptors[4], ready[2], report, status;
	char path[64];
	unsigned i;
	pid_t child;

	if (count < 5)
		return 125;
	report = atoi(arguments[2]);
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/proc/%s/ns/%s", arguments[1], spaces[i]);
		descriptors[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (descriptors[i] < 0)
			fail(path);
	}
	for (i = 0; i < 4; i++)
		if (setns(descriptors[i], 0))
			fail(spaces[i]);
	if (pipe2(ready, O_CLOEXEC))
		fail("pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		close(report);
		setsid();
		/* A test run under nohup, or in the background of a script, ignores these and would pass that on: no shell
		 * could trap them. */
		signal(SIGHUP, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		if (!strcmp(arguments[3], "1") && ioctl(0, TIOCSCTTY, 0))
			fail("terminal");
		if (chdir("/root") && chdir("/"))
			fail("chdir");
		close(ready[1]);
		execvp(arguments[4], arguments + 4);
		perror(arguments[4]);
		_exit(127);
	}
	close(ready[1]);
	if (read(ready[0], path, 1) == 0)
		dprintf(report, "%d\n", child);
	close(report);
	signal(SIGINT, SIG_IGN);
	while (waitpid(child, &status, 0) != child)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
