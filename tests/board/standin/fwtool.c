/* Stand-in for OpenWrt's fwtool: "-i FILE IMAGE" and "-s FILE IMAGE" put out the metadata or the signature of an image.
 *
 * Each chunk ends with 16 bytes: magic, sum of all before them, kind, and the chunk's size with them; -q is silence, -t
 * cuts off the chunk. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x46577830
#define TRAILER 16
#define HEADER 8
enum { SIGNATURE, METADATA };

static int quiet;

static int fail(const char *text)
{
	if (!quiet)
		fprintf(stderr, "%s\n", text);
	return 1;
}

static uint32_t number(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static uint32_t sum_of(const unsigned char *data, size_t size)
{
	uint32_t sum = ~0u;
	int bit;

	while (size--) {
		sum ^= *data++;
		for (bit = 0; bit < 8; bit++)
			sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
	}
	return sum;
}

int main(int count, char **words)
{
	const char *target = NULL;
	int option, wanted = -1, cut = 0, input;
	unsigned char *data;
	struct stat file;
	size_t end, size;
	FILE *output;

	while ((option = getopt(count, words, "i:s:qtT")) != -1) {
		if (option == 'q')
			quiet = 1;
		else if (option == 't')
			cut = 1;
		else if (option == 'i' || option == 's')
			target = optarg, wanted = option == 'i' ? METADATA : SIGNATURE;
		else
			return fail("the bench's fwtool only extracts");
	}
	if (wanted < 0 || optind >= count)
		return fail("Usage: fwtool -i|-s FILE IMAGE");
	input = open(words[optind], cut ? O_RDWR : O_RDONLY);
	if (input < 0 || fstat(input, &file))
		return fail("Failed to open firmware file");
	data = malloc(file.st_size + 1);
	if (!data || read(input, data, file.st_size) != file.st_size)
		return fail("Failed to open firmware file");
	for (end = file.st_size; end > TRAILER; end -= size) {
		const unsigned char *trailer = data + end - TRAILER;

		if (number(trailer) != MAGIC)
			return fail("Data not found");
		size = number(trailer + 12);
		if (size < TRAILER || size > end)
			return fail("Size error");
		if (number(trailer + 4) != sum_of(data, end - TRAILER))
			return fail("CRC error");
		if (trailer[8] != wanted)
			continue;
		output = strcmp(target, "-") ? fopen(target, "w") : stdout;
		end -= size;
		if (!output)
			return fail("Failed to open output file");
		if (wanted == METADATA)
			fwrite(data + end + HEADER, 1, size - TRAILER - HEADER, output);
		else
			fwrite(data + end, 1, size - TRAILER, output);
		fclose(output);
		return cut && ftruncate(input, end) ? 1 : 0;
	}
	return fail("unable to extract trailer header");
}
