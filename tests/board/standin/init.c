/* Process 1 of the router: reaps what ends, and powers off or reboots on the signals BusyBox sends to process 1.
 *
 * The exit status tells the bench what happened: 10 reboot, 11 power off or halt. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t wanted;

static void note(int signal_number)
{
	wanted = signal_number == SIGTERM ? 10 : signal_number == SIGCHLD ? wanted : 11;
}

int main(void)
{
	struct sigaction action = { .sa_handler = note };
	struct timespec grace = { 0, 100000000 };
	sigset_t all, none;

	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &all, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	sigaction(SIGCHLD, &action, NULL);
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
