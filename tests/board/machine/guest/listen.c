/* What stands for dnsmasq and dropbear: "dns" answers every question for an address, "ssh" listens on port 22. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER 12
#define IPV4 1
#define IPV6 28

static int bound(int kind, int port)
{
	struct sockaddr_in6 place = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT };
	int made = socket(AF_INET6, kind, 0);

	return made < 0 || bind(made, (struct sockaddr *)&place, sizeof(place)) ? -1 : made;
}

/* Make the answer of a question in place; return its bytes. The name in the answer is the question's. */
static size_t answer(unsigned char *text, size_t bytes, size_t room)
{
	unsigned char head[] = { 0xc0, HEADER, 0, 0, 0, 1, 0, 0, 0, 60, 0, 0 };
	unsigned char address[16] = { 192, 0, 2, 1 };
	size_t end = HEADER, more;

	while (end < bytes && text[end])
		end += text[end] + 1;
	end += 5;
	if (end > bytes)
		return 0;
	more = text[end - 3] == IPV6 ? 16 : 4;
	head[3] = text[end - 3];
	head[11] = more;
	if ((head[3] != IPV4 && head[3] != IPV6) || end + sizeof(head) + more > room)
		return 0;
	memcpy(text + end, head, sizeof(head));
	memcpy(text + end + sizeof(head), address, more);
	text[2] |= 0x80;
	text[3] = 0x80;
	text[7] = 1;
	memset(text + 8, 0, 4);
	return end + sizeof(head) + more;
}

static void serve_names(int port)
{
	struct sockaddr_storage from;
	unsigned char text[512];

	for (;;) {
		socklen_t length = sizeof(from);
		ssize_t got = recvfrom(port, text, sizeof(text), 0, (struct sockaddr *)&from, &length);
		size_t bytes = got > HEADER ? answer(text, got, sizeof(text)) : 0;

		if (bytes)
			sendto(port, text, bytes, 0, (struct sockaddr *)&from, length);
	}
}

int main(int count, char **words)
{
	int port;

	if (count == 2 && !strcmp(words[1], "dns")) {
		port = bound(SOCK_DGRAM, 53);
		if (port >= 0)
			serve_names(port);
		return 1;
	}
	port = bound(SOCK_STREAM, 22);
	if (port < 0 || listen(port, 5))
		return 1;
	for (;;)
		close(accept(port, NULL, NULL));
}
