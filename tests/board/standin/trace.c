/* trace SOCKET POINT PROGRAM ARGUMENT...: run a program and stop at each point of the script it starts.
 *
 * The script is what the second exec brings: the first is the program that enters the router. From there on, points are
 *   - every fork, vfork, clone and exec of every process of the script;
 *   - every mount, umount, rename, unlink, mkdir, rmdir, link, symlink, sync and fsync by the script's own shell,
 *     because BusyBox runs such commands inside the shell. What a command does inside is no point.
 * sfdisk is one command, with refresh, which stands for the kernel: it has no points, and is not killed on its way.
 * POINT 0: a line for each point goes to SOCKET, "NUMBER CHANGED WHAT", and a byte is awaited before it goes on.
 * CHANGED is 1 when anything that outlives the script was changed since the last point: anything but what it prints,
 * pipes, devices that keep nothing and, in the file system of /tmp, the folder /tmp/bootplan.?????? and the log.
 * POINT N: every process of the script is killed at point N.
 * The exit status is the program's. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum target { FILE_AT_0, FILE_AT_1, FILE_AT_2, PATH_AT_0, PATH_AT_1, PATH_OF_0, PATH_OF_1, OPENING, MAPPING, ALWAYS };

/* The system calls that change something: name for a point (or none), and where they say what they change.
 * PATH_AT_N: argument N is a path; PATH_OF_N: argument N is an open folder, the next one a path below it. */
static const struct {
	long number;
	const char *point;
	enum target target;
} calls[] = {
	{ SYS_mount, "mount", ALWAYS }, { SYS_umount2, "umount", ALWAYS },
	{ SYS_renameat, "rename", PATH_OF_0 }, { SYS_renameat2, "rename", PATH_OF_0 },
	{ SYS_unlinkat, "unlink", PATH_OF_0 }, { SYS_mkdirat, "mkdir", PATH_OF_0 },
	{ SYS_linkat, "link", PATH_OF_0 }, { SYS_symlinkat, "symlink", PATH_OF_1 }, { SYS_mknodat, "mknod", PATH_OF_0 },
#ifdef SYS_rename
	{ SYS_rename, "rename", PATH_AT_0 }, { SYS_unlink, "unlink", PATH_AT_0 }, { SYS_mkdir, "mkdir", PATH_AT_0 },
	{ SYS_rmdir, "rmdir", PATH_AT_0 }, { SYS_link, "link", PATH_AT_0 }, { SYS_symlink, "symlink", PATH_AT_1 },
	{ SYS_mknod, "mknod", PATH_AT_0 }, { SYS_chmod, NULL, PATH_AT_0 }, { SYS_chown, NULL, PATH_AT_0 },
	{ SYS_lchown, NULL, PATH_AT_0 }, { SYS_utimes, NULL, PATH_AT_0 }, { SYS_utime, NULL, PATH_AT_0 },
	{ SYS_creat, NULL, PATH_AT_0 }, { SYS_open, NULL, OPENING },
#endif
	{ SYS_sync, "sync", ALWAYS }, { SYS_fsync, "fsync", FILE_AT_0 }, { SYS_fdatasync, "fsync", FILE_AT_0 },
	{ SYS_syncfs, "sync", ALWAYS }, { SYS_openat, NULL, OPENING },
	{ SYS_write, NULL, FILE_AT_0 }, { SYS_pwrite64, NULL, FILE_AT_0 }, { SYS_writev, NULL, FILE_AT_0 },
	{ SYS_pwritev, NULL, FILE_AT_0 }, { SYS_pwritev2, NULL, FILE_AT_0 }, { SYS_sendfile, NULL, FILE_AT_0 },
	{ SYS_copy_file_range, NULL, FILE_AT_2 }, { SYS_splice, NULL, FILE_AT_2 }, { SYS_ftruncate, NULL, FILE_AT_0 },
	{ SYS_truncate, NULL, PATH_AT_0 }, { SYS_fallocate, NULL, FILE_AT_0 }, { SYS_fchmod, NULL, FILE_AT_0 },
	{ SYS_fchmodat, NULL, PATH_OF_0 }, { SYS_fchown, NULL, FILE_AT_0 }, { SYS_fchownat, NULL, PATH_OF_0 },
	{ SYS_utimensat, NULL, PATH_OF_0 }, { SYS_setxattr, NULL, PATH_AT_0 }, { SYS_lsetxattr, NULL, PATH_AT_0 },
	{ SYS_fsetxattr, NULL, FILE_AT_0 }, { SYS_removexattr, NULL, PATH_AT_0 }, { SYS_lremovexattr, NULL, PATH_AT_0 },
	{ SYS_fremovexattr, NULL, FILE_AT_0 }, { SYS_mmap, NULL, MAPPING }, { SYS_pivot_root, NULL, ALWAYS },
};
#define CALLS (sizeof(calls) / sizeof(*calls))
#define MAX_PROCESSES 4096
#define OWN_FOLDER "/tmp/bootplan.??????"
#define OWN_LOG "/tmp/bootplan.log"

static struct {
	pid_t pid;
	enum { SCRIPT, SFDISK, KERNEL } part; /* of the script, of the command sfdisk, or it stands for the kernel */
} processes[MAX_PROCESSES];
static pid_t first, script;
static int process_count, control, execs, killing, changed = 1;
static long points, wanted;

static void die(const char *what)
{
	perror(what);
	exit(125);
}

static int index_of(pid_t pid)
{
	int i;

	for (i = 0; i < process_count && processes[i].pid != pid; i++)
		;
	return i;
}

static int part_of(pid_t pid)
{
	int i = index_of(pid);

	return i < process_count ? (int)processes[i].part : SCRIPT;
}

static void remember(pid_t pid, int part)
{
	int i = index_of(pid);

	if (i == MAX_PROCESSES) {
		errno = E2BIG;
		die("too many processes");
	}
	if (i == process_count)
		process_count++;
	processes[i].pid = pid;
	processes[i].part = part;
}

static void forget(pid_t pid)
{
	int i = index_of(pid);

	if (i < process_count)
		processes[i] = processes[--process_count];
}

/* After an exec: is it sfdisk, or refresh, that runs now? */
static void see_program(pid_t pid)
{
	char link[64], words[256] = "", name[64] = "";
	int i = index_of(pid), descriptor;
	ssize_t length, at;

	snprintf(link, sizeof(link), "/proc/%d/cmdline", pid);
	descriptor = open(link, O_RDONLY | O_CLOEXEC);
	length = descriptor < 0 ? 0 : read(descriptor, words, sizeof(words) - 1);
	close(descriptor);
	for (at = 0; at < length; at++)
		if (words[at] == 0)
			words[at] = ' ';
	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	length = readlink(link, name, sizeof(name) - 1);
	if (i < process_count && strstr(words, "/.rig/refresh"))
		processes[i].part = KERNEL;
	else if (i < process_count && length > 0 && strstr(name, "/sfdisk") && processes[i].part == SCRIPT)
		processes[i].part = SFDISK;
}

/* A process that was born before its parent's stop was seen is of the same part as that. */
static void adopt(pid_t pid)
{
	char path[64], text[512], *end;
	int descriptor, parent = 0;
	ssize_t length;

	if (index_of(pid) < process_count)
		return;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	descriptor = open(path, O_RDONLY | O_CLOEXEC);
	length = descriptor < 0 ? 0 : read(descriptor, text, sizeof(text) - 1);
	close(descriptor);
	text[length > 0 ? length : 0] = 0;
	end = strrchr(text, ')');
	if (end)
		sscanf(end + 1, " %*c %d", &parent);
	remember(pid, part_of(parent));
}

/* Is this name, in the file system of the script's /tmp, one that the script alone uses? */
static int is_private(pid_t pid, const char *name, dev_t device)
{
	char path[64];
	struct stat tmp;

	snprintf(path, sizeof(path), "/proc/%d/root/tmp", pid);
	if (stat(path, &tmp) || tmp.st_dev != device)
		return 0;
	return !fnmatch(OWN_FOLDER, name, 0) || !fnmatch(OWN_FOLDER "/*", name, 0) || !strcmp(name, OWN_LOG);
}

/* Does something that outlives the script change when this open file is written? */
static int file_lasts(pid_t pid, const char *link)
{
	char name[4096];
	struct stat file, ours;
	ssize_t length;
	int output;

	if (stat(link, &file))
		return 1;
	for (output = 1; output <= 2; output++)
		if (!fstat(output, &ours) && ours.st_dev == file.st_dev && ours.st_ino == file.st_ino)
			return 0;
	if (S_ISFIFO(file.st_mode) || S_ISSOCK(file.st_mode) || S_ISCHR(file.st_mode))
		return 0;
	length = readlink(link, name, sizeof(name) - 1);
	if (length < 0)
		return 1;
	name[length] = 0;
	return !is_private(pid, name, file.st_dev);
}

static int open_file_lasts(pid_t pid, int descriptor)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, descriptor);
	return file_lasts(pid, link);
}

/* The same for a name: what counts is the folder it is in. */
static int path_lasts(pid_t pid, int folder, unsigned long address)
{
	char text[4096], path[4200], link[64], *slash;
	struct iovec ours = { text, sizeof(text) - 1 }, theirs = { (void *)address, sizeof(text) - 1 };
	ssize_t length;
	int descriptor, lasts;

	/* A read that would cross into a page that is not there brings what is before it. */
	length = process_vm_readv(pid, &ours, 1, &theirs, 1, 0);
	if (length <= 0) {
		theirs.iov_len = 4096 - (address & 4095);
		length = process_vm_readv(pid, &ours, 1, &theirs, 1, 0);
	}
	if (length <= 0)
		return 1;
	text[length] = 0;
	if (text[0] == '/')
		snprintf(path, sizeof(path), "/proc/%d/root%s", pid, text);
	else if (folder == AT_FDCWD)
		snprintf(path, sizeof(path), "/proc/%d/cwd/%s", pid, text);
	else
		snprintf(path, sizeof(path), "/proc/%d/fd/%d/%s", pid, folder, text);
	if (!strcmp(text, "/dev/null"))
		return 0;
	slash = strrchr(path, '/');
	slash[slash == path] = 0;
	descriptor = open(path, O_PATH | O_CLOEXEC);
	if (descriptor < 0)
		return 1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
	lasts = file_lasts(pid, link);
	close(descriptor);
	/* Its own folder is made in /tmp itself. */
	return lasts && fnmatch(OWN_FOLDER, text, 0) && strcmp(text, OWN_LOG);
}

static int changes(pid_t pid, enum target target, const unsigned long long *a, long number)
{
	int at_folder = number == SYS_openat;

	switch (target) {
	case FILE_AT_0:
	case FILE_AT_1:
	case FILE_AT_2:
		return open_file_lasts(pid, (int)a[target - FILE_AT_0]);
	case PATH_AT_0:
	case PATH_AT_1:
		return path_lasts(pid, AT_FDCWD, a[target - PATH_AT_0]);
	case PATH_OF_0:
	case PATH_OF_1:
		if (a[target - PATH_OF_0 + 1] == 0) /* utimensat on an open file */
			return open_file_lasts(pid, (int)a[target - PATH_OF_0]);
		return path_lasts(pid, (int)a[target - PATH_OF_0], a[target - PATH_OF_0 + 1]);
	case OPENING:
		return (a[at_folder + 1] & (O_CREAT | O_TRUNC)) &&
		       path_lasts(pid, at_folder ? (int)a[0] : AT_FDCWD, a[at_folder]);
	case MAPPING:
		return (a[2] & PROT_WRITE) && (a[3] & MAP_SHARED) && !(a[3] & MAP_ANONYMOUS) && open_file_lasts(pid, (int)a[4]);
	default:
		return 1;
	}
}

/* Kill the script; not the first process, which entered the router, reports that, and waits for the script. */
static void kill_all(void)
{
	int i;

	killing = 1;
	for (i = 0; i < process_count; i++)
		if (processes[i].pid != first && processes[i].part == SCRIPT)
			kill(processes[i].pid, SIGKILL);
}

static void point(pid_t pid, const char *what)
{
	char text[300], link[64], name[200] = "";

	if (part_of(pid) != SCRIPT || killing)
		return;
	points++;
	if (wanted) {
		if (points == wanted)
			kill_all();
		return;
	}
	if (!strcmp(what, "exec")) {
		snprintf(link, sizeof(link), "/proc/%d/exe", pid);
		if (readlink(link, name, sizeof(name) - 1) < 0)
			name[0] = 0;
	}
	snprintf(text, sizeof(text), "%ld %d %s%s%s", points, changed, what, name[0] ? " " : "", name);
	changed = 0;
	if (send(control, text, strlen(text), 0) < 0 || recv(control, text, 1, 0) != 1)
		die("the one who takes the marks is gone");
}

static void at_call(pid_t pid)
{
	struct __ptrace_syscall_info info;
	size_t i;

	if (!script || ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) <= 0)
		return;
	for (i = 0; i < CALLS; i++) {
		if (calls[i].number != (long)info.seccomp.nr)
			continue;
		if (calls[i].point && pid == script)
			point(pid, calls[i].point);
		if (!wanted && !changed && part_of(pid) != KERNEL)
			changed = changes(pid, calls[i].target, (const unsigned long long *)info.seccomp.args, calls[i].number);
	}
}

/* Answer one stop, and let the process go on. */
static void go_on(pid_t pid, int status)
{
	unsigned long child = 0;
	int event = status >> 16, number = WSTOPSIG(status);

	adopt(pid);
	if (killing && pid != first && part_of(pid) == SCRIPT) { /* it was born a moment ago */
		kill(pid, SIGKILL);
		return;
	}
	switch (event) {
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
	case PTRACE_EVENT_CLONE:
		ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child);
		remember(child, part_of(pid));
		if (script)
			point(pid, "fork");
		number = 0;
		break;
	case PTRACE_EVENT_EXEC:
		see_program(pid);
		if (script)
			point(pid, "exec");
		else if (++execs == 2)
			script = pid;
		number = 0;
		break;
	case PTRACE_EVENT_SECCOMP:
		at_call(pid);
		number = 0;
		break;
	case PTRACE_EVENT_STOP:
		if (number != SIGTRAP) {
			ptrace(PTRACE_LISTEN, pid, NULL, NULL);
			return;
		}
		number = 0;
		break;
	default:
		break;
	}
	ptrace(PTRACE_CONT, pid, NULL, (void *)(long)number);
}

static void filter(void)
{
	struct sock_filter code[CALLS + 3], *next = code;
	struct sock_fprog program = { 0, code };
	size_t i, count = 0;

	for (i = 0; i < CALLS; i++)
		count += !wanted || calls[i].point;
	*next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (i = 0; i < CALLS; i++)
		if (!wanted || calls[i].point)
			*next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, count--, 0);
	*next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	*next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
	program.len = next - code;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		die("seccomp");
}

int main(int count, char **arguments)
{
	const long options = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
			     PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL;
	int ready[2], status, code = 125;
	pid_t pid;

	if (count < 4)
		return 125;
	control = atoi(arguments[1]);
	wanted = atol(arguments[2]);
	if (pipe2(ready, O_CLOEXEC))
		die("pipe");
	first = fork();
	if (first < 0)
		die("fork");
	if (first == 0) {
		if (read(ready[0], &code, 1) != 1)
			_exit(125);
		filter();
		execv(arguments[3], arguments + 3);
		die(arguments[3]);
	}
	fcntl(control, F_SETFD, FD_CLOEXEC);
	remember(first, SCRIPT);
	if (ptrace(PTRACE_SEIZE, first, NULL, (void *)options))
		die("ptrace");
	if (write(ready[1], "", 1) != 1)
		die("pipe");
	while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		if (pid > 0 && WIFSTOPPED(status)) {
			go_on(pid, status);
		} else if (pid > 0) {
			forget(pid);
			if (pid == first)
				code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		}
	}
	return code;
}
