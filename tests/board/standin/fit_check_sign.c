/* Stand-in for U-Boot's fit_check_sign as OpenWrt has it: "-f IMAGE" ends with 0 when the sums of all pieces are right.
 *
 * It compares the crc32 of each piece, which every FIT of OpenWrt has, and takes no other sum into account. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0xd00dfeed
enum { BEGIN = 1, END, PROPERTY, NOTHING };

static uint32_t number(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static uint32_t crc32(const unsigned char *data, size_t size)
{
	uint32_t sum = ~0u;
	int bit;

	while (size--) {
		sum ^= *data++;
		for (bit = 0; bit < 8; bit++)
			sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
	}
	return ~sum;
}

static int bad(const char *what)
{
	fprintf(stderr, "Signature check bad: %s\n", what);
	return 1;
}

int main(int count, char **words)
{
	unsigned char *data = NULL, *at, *end;
	size_t size = 0, room = 0, strings, total;
	uint32_t offset = 0, length = 0, wanted = 0, value_here = 0;
	int depth = 0, pieces = 0, is_crc = 0, has_sum = 0;
	FILE *file;

	if (count != 3 || strcmp(words[1], "-f"))
		return bad("usage: fit_check_sign -f IMAGE");
	file = fopen(words[2], "r");
	if (!file)
		return bad("cannot open the image");
	do {
		room += 1 << 20;
		data = realloc(data, room);
		size += fread(data + size, 1, room - size, file);
	} while (size == room);
	if (size < 40 || number(data) != MAGIC || number(data + 4) > size)
		return bad("no FIT");
	total = number(data + 4);
	strings = number(data + 12);
	end = data + total;
	for (at = data + number(data + 8); at + 4 <= end;) {
		uint32_t token = number(at);

		at += 4;
		if (token == BEGIN) {
			depth++;
			if (depth == 3)
				offset = length = wanted = has_sum = 0;
			is_crc = 0;
			at += (strlen((char *)at) + 4) & ~3u;
		} else if (token == END) {
			if (depth == 3 && length && has_sum) { /* of /images/NAME */
				offset += (total + 3) & ~3u;
				if (offset > size || length > size - offset)
					return bad("cut off");
				if (crc32(data + offset, length) != wanted)
					return bad("wrong sum");
				pieces++;
			}
			if (depth == 4 && is_crc)
				wanted = value_here, has_sum = 1;
			is_crc = 0;
			depth--;
		} else if (token == PROPERTY) {
			uint32_t bytes = number(at);
			const char *name = (char *)data + strings + number(at + 4);
			const unsigned char *value = at + 8;

			if (depth == 3 && !strcmp(name, "data-position"))
				offset = number(value) - ((total + 3) & ~3u);
			if (depth == 3 && !strcmp(name, "data-offset"))
				offset = number(value);
			if (depth == 3 && !strcmp(name, "data-size"))
				length = number(value);
			if (depth == 4 && !strcmp(name, "algo"))
				is_crc = !strcmp((const char *)value, "crc32");
			if (depth == 4 && !strcmp(name, "value") && bytes == 4)
				value_here = number(value);
			at += (8 + bytes + 3) & ~3u;
		} else if (token != NOTHING) {
			break;
		}
	}
	return pieces ? 0 : bad("no pieces");
}
