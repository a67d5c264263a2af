/* Process 1 of the router: reaps what ends, and powers off or reboots on the signals BusyBox sends to process 1.
 * With a word it starts /.rig/rcS with that word first. On SIGHUP it takes the name of the program that procd becomes for
 * a sysupgrade.
 *
 * The exit status tells the bench what happened: 10 reboot, 11 power off or halt. */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t wanted;

static void note(int signal_number)
{
	wanted = signal_number == SIGTERM ? 10 : signal_number == SIGCHLD ? wanted : 11;
}

static void become(int signal_number)
{
	(void)signal_number;
	prctl(PR_SET_NAME, "upgraded");
}

static void start(const char *word)
{
	static char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux", NULL };

	if (fork() == 0) {
		setsid();
		execle("/bin/sh", "sh", "/.rig/rcS", word, (char *)NULL, environment);
		_exit(127);
	}
}

int main(int count, char **arguments)
{
	struct sigaction action = { .sa_handler = note }, upgrade = { .sa_handler = become };
	struct timespec grace = { 0, 100000000 };
	sigset_t all, none;

	if (count > 1)
		start(arguments[1]);
	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	sigaction(SIGCHLD, &action, NULL);
	sigaction(SIGHUP, &upgrade, NULL);
	while (!wanted) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		sigsuspend(&none);
	}
	kill(-1, SIGTERM);
	nanosleep(&grace, NULL);
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	sync();
	return wanted;
}
