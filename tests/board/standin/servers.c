/* The servers of a router that a health check looks at: a DNS resolver on 127.0.0.1, a listener on port 22, the system log.
 *
 * The first two are there while the files /tmp/rig/up/dns and /tmp/rig/up/ssh are. The resolver knows one address for
 * every name. What programs log goes to /tmp/log/messages. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN 100 /* milliseconds */

static int listen_on(int type, unsigned address, int port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address) };
	int one = 1, server = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server, (struct sockaddr *)&name, sizeof(name)) || (type == SOCK_STREAM && listen(server, 8))) {
		close(server);
		return -1;
	}
	return server;
}

/* Open a server when its file appears, close it when the file goes. */
static void follow(int *server, const char *file, int type, unsigned address, int port)
{
	int wanted = !access(file, F_OK);

	if (wanted && *server < 0)
		*server = listen_on(type, address, port);
	if (!wanted && *server >= 0) {
		close(*server);
		*server = -1;
	}
}

static void answer(int server)
{
	static const unsigned char v4[] = { 192, 0, 2, 53 };
	static const unsigned char v6[] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53 };
	unsigned char packet[1500];
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	ssize_t got = recvfrom(server, packet, 512, 0, (struct sockaddr *)&from, &length), at = 12;
	int kind, size;

	if (got < 17)
		return;
	while (at < got && packet[at])
		at += packet[at] + 1;
	if (at + 5 > got)
		return;
	kind = packet[at + 1] << 8 | packet[at + 2];
	at += 5;
	size = kind == 28 ? sizeof(v6) : kind == 1 ? sizeof(v4) : 0;
	packet[2] |= 0x80;
	packet[3] = 0x80;
	memset(packet + 6, 0, 6);
	if (size) {
		packet[7] = 1;
		memcpy(packet + at, (unsigned char[]){ 0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, size }, 12);
		memcpy(packet + at + 12, kind == 28 ? v6 : v4, size);
		at += 12 + size;
	}
	sendto(server, packet, at, 0, (struct sockaddr *)&from, length);
}

static int open_log(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int server = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	unlink(name.sun_path);
	bind(server, (struct sockaddr *)&name, sizeof(name));
	chmod(name.sun_path, 0666);
	return server;
}

static void keep(int server, FILE *file)
{
	char text[2048], *start, when[64];
	ssize_t got = recv(server, text, sizeof(text) - 1, 0);
	time_t now = time(NULL);

	if (got <= 0 || !file)
		return;
	text[got] = 0;
	start = strchr(text, '>') ? strchr(text, '>') + 1 : text;
	if (strlen(start) > 16 && start[15] == ' ') /* the sender's own time */
		start += 16;
	strftime(when, sizeof(when), "%a %b %e %H:%M:%S %Y", localtime(&now));
	fprintf(file, "%s user.notice %s\n", when, start);
	fflush(file);
}

int main(void)
{
	int dns = -1, ssh = -1, log, guest;
	struct pollfd waiting[3];
	FILE *file;

	log = open_log();
	file = fopen("/tmp/log/messages", "ae");
	for (;;) {
		follow(&dns, "/tmp/rig/up/dns", SOCK_DGRAM, INADDR_LOOPBACK, 53);
		follow(&ssh, "/tmp/rig/up/ssh", SOCK_STREAM, INADDR_ANY, 22);
		waiting[0] = (struct pollfd){ .fd = dns, .events = POLLIN };
		waiting[1] = (struct pollfd){ .fd = ssh, .events = POLLIN };
		waiting[2] = (struct pollfd){ .fd = log, .events = POLLIN };
		if (poll(waiting, 3, LOOK_AGAIN) <= 0)
			continue;
		if (waiting[0].revents & POLLIN)
			answer(dns);
		if (waiting[1].revents & POLLIN) {
			guest = accept(ssh, NULL, NULL);
			if (guest >= 0)
				close(guest);
		}
		if (waiting[2].revents & POLLIN)
			keep(log, file);
	}
}
