/* Process 1 of the guest: reaps what ends, reboots and powers off as procd does, and runs commands for the bench.
 *
 * The bench speaks on a virtio port, the only argument. It sends one request after the other: a line "run BYTES" and so
 * many bytes, a command for the shell. The answers are lines "out BYTES" and "err BYTES", each with so many bytes, and at the end
 * "end CODE" (128 + N after signal N). "in BYTES" before a "run" is its standard input; "kill" ends what runs.
 * The first word of all is "ready": the boot scripts have been run. Like procd it feeds the watchdog, before them already. */
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define INPUT "/tmp/.input"
#define SERVICES "/sbin/boot-services"
#define UPGRADE "/tmp/sysupgrade/run"
#define WATCHDOG_SECONDS 15
#define UPGRADE_WANTED 1	/* no number that reboot() knows */

static volatile sig_atomic_t wanted;
static int port;
static int watchdog;
static pid_t running, services;
static int exit_code = -1;

static void note(int number)
{
	if (number == SIGTERM)
		wanted = RB_AUTOBOOT;
	else if (number == SIGHUP)
		wanted = UPGRADE_WANTED;
	else if (number != SIGCHLD)
		wanted = RB_POWER_OFF;
}

static void say(const char *data, size_t bytes)
{
	while (bytes) {
		ssize_t done = write(port, data, bytes);

		if (done < 0)
			return;
		data += done;
		bytes -= done;
	}
}

static void answer(const char *word, const char *data, size_t bytes)
{
	char line[32];

	say(line, snprintf(line, sizeof(line), "%s %zu\n", word, bytes));
	say(data, bytes);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == running)
			exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		else if (pid == services)
			say("ready\n", 6);
	}
}

static void start_watchdog(void)
{
	int seconds = WATCHDOG_SECONDS;

	watchdog = open("/dev/watchdog", O_WRONLY | O_CLOEXEC);
	if (watchdog >= 0)
		ioctl(watchdog, WDIOC_SETTIMEOUT, &seconds);
}

static void feed_watchdog(void)
{
	if (watchdog >= 0 && ioctl(watchdog, WDIOC_KEEPALIVE, 0))
		perror("watchdog");
}

/* Run the boot scripts, as procd does. */
static void start_services(void)
{
	services = fork();
	if (services == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		execl(SERVICES, SERVICES, (char *)NULL);
		_exit(127);
	}
}

/* Switch off as procd does: everything ends, everything is written, what can be unmounted is. For a sysupgrade process
 * 1 becomes what lies in RAM, when nothing else runs any more. */
static void stop(void)
{
	struct timespec grace = { 0, 200000000 };
	pid_t pid;

	kill(-1, SIGTERM);
	nanosleep(&grace, NULL);
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	sync();
	if (wanted == UPGRADE_WANTED) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execl(UPGRADE, UPGRADE, (char *)NULL);
		wanted = RB_AUTOBOOT;
	}
	pid = fork();
	if (pid == 0) {
		execl("/bin/umount", "umount", "-a", "-r", (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	sync();
	reboot(wanted);
	_exit(1);
}

static int read_line(char *line, size_t room)
{
	size_t at = 0;

	while (at < room - 1 && read(port, line + at, 1) == 1) {
		if (line[at] == '\n') {
			line[at] = 0;
			return 1;
		}
		at++;
	}
	return 0;
}

static char *read_block(size_t bytes)
{
	char *block = malloc(bytes + 1);
	size_t at = 0;

	while (at < bytes) {
		ssize_t got = read(port, block + at, bytes - at);

		if (got <= 0)
			break;
		at += got;
	}
	block[at] = 0;
	return block;
}

/* Pass on what is there on one of the command's outputs; close it at its end. */
static void pass_on(struct pollfd *output, const char *word)
{
	char data[32768];
	ssize_t got = read(output->fd, data, sizeof(data));

	if (got > 0) {
		answer(word, data, got);
	} else {
		close(output->fd);
		output->fd = -1;
	}
}

static void start(const char *command, int outputs[2])
{
	int out[2], err[2], in;

	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		return;
	running = fork();
	if (running == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		in = open(INPUT, O_RDONLY | O_CLOEXEC);
		dup2(in < 0 ? open("/dev/null", O_RDONLY) : in, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (chdir("/root"))
			_exit(127);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	outputs[0] = out[0];
	outputs[1] = err[0];
}

/* Handle the next line of the bench while a command runs or none does. */
static void obey(struct pollfd *watched)
{
	char line[64], *block;
	int outputs[2] = { -1, -1 }, file;
	size_t bytes;

	if (!read_line(line, sizeof(line)))
		return;
	if (!strcmp(line, "kill") && running) {
		kill(-running, SIGKILL);
	} else if (sscanf(line, "in %zu", &bytes) == 1) {
		block = read_block(bytes);
		file = open(INPUT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (file < 0 || write(file, block, bytes) != (ssize_t)bytes)
			answer("err", "agent: the input was not written\n", 33);
		close(file);
		free(block);
	} else if (sscanf(line, "run %zu", &bytes) == 1) {
		block = read_block(bytes);
		exit_code = -1;
		start(block, outputs);
		watched[1].fd = outputs[0];
		watched[2].fd = outputs[1];
		free(block);
	}
}

int main(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = note };
	struct pollfd watched[3] = { { .events = POLLIN, .fd = -1 }, { .events = POLLIN, .fd = -1 },
				     { .events = POLLIN, .fd = -1 } };
	struct timespec second = { 1, 0 };
	sigset_t all, none;
	char line[32];

	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	sigaction(SIGCHLD, &action, NULL);
	port = open(count > 1 ? arguments[1] : "", O_RDWR | O_CLOEXEC);
	watched[0].fd = port;
	start_watchdog();
	start_services();
	while (!wanted) {
		feed_watchdog();
		if (ppoll(watched, 3, &second, &none) > 0) {
			if (watched[1].revents)
				pass_on(&watched[1], "out");
			if (watched[2].revents)
				pass_on(&watched[2], "err");
			if (watched[0].revents & POLLIN)
				obey(watched);
		}
		reap();
		if (running && exit_code >= 0) {
			while (watched[1].fd >= 0 && poll(&watched[1], 1, 0) > 0)
				pass_on(&watched[1], "out");
			while (watched[2].fd >= 0 && poll(&watched[2], 1, 0) > 0)
				pass_on(&watched[2], "err");
			close(watched[1].fd);
			close(watched[2].fd);
			watched[1].fd = watched[2].fd = -1;
			running = 0;
			unlink(INPUT);
			say(line, snprintf(line, sizeof(line), "end %d\n", exit_code));
		}
	}
	stop();
}
