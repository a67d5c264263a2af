/* Stand-in for mtd-utils' ubimkvol, ubirmvol, ubirename and ubiupdatevol, and for the part of UBI behind them.
 *
 * A volume is a loop device, hidden at /.rig/dev/ubi0_N; /dev/ubi0_N is the same device while the volume can be read.
 * The volume table is the first block of the hidden device /.rig/dev/ubi, written at once, as UBI replaces its own:
 *   ubi TOTAL RESERVED                              erase blocks, and how many of them UBI keeps
 *   NUMBER NAME TYPE BLOCKS MARKER BYTES            a volume; MARKER 1: an update was begun and did not end
 * An update sets the marker first and clears it last. A volume with a marker cannot be read, as with the real one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TABLE "/.rig/dev/ubi"
#define TABLE_BYTES 4096
#define LEB 126976LL
#define MAX_VOLUMES 32
#define MAX_NAME 127
#define CLASS "/sys/class/ubi/"
#define DEVICE "/sys/devices/virtual/ubi/ubi0"

struct volume {
	int used, is_static, marker;
	long long blocks, bytes;
	char name[MAX_NAME + 1];
};

static struct volume volumes[MAX_VOLUMES];
static long long total, reserved;
static int table = -1;
static const char *program;

static int fail(const char *format, ...)
{
	va_list list;

	fprintf(stderr, "%s: error!: ", program);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
	return -1;
}

/* As fail(), and the system's error under it. */
static int fail_with(int error, const char *format, ...)
{
	va_list list;

	fprintf(stderr, "%s: error!: ", program);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, "\n%*serror %d (%s)\n", (int)strlen(program) + 1, "", error, strerror(error));
	return -1;
}

static void write_text(const char *path, const char *format, ...)
{
	va_list list;
	FILE *file = fopen(path, "w");

	if (!file)
		return;
	va_start(list, format);
	vfprintf(file, format, list);
	va_end(list);
	fclose(file);
}

static int read_table(void)
{
	char text[TABLE_BYTES + 1] = "", type[16], *line, *rest;
	struct volume one;
	int number;

	table = open(TABLE, O_RDWR | O_CLOEXEC);
	if (table < 0)
		return fail("UBI is not present in the system");
	if (pread(table, text, TABLE_BYTES, 0) != TABLE_BYTES)
		return fail_with(errno, "cannot read the volume table");
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		memset(&one, 0, sizeof(one));
		if (sscanf(line, "ubi %lld %lld", &total, &reserved) == 2)
			continue;
		if (sscanf(line, "%d %127s %15s %lld %d %lld", &number, one.name, type, &one.blocks, &one.marker, &one.bytes) != 6)
			continue;
		one.used = 1;
		one.is_static = !strcmp(type, "static");
		if (number >= 0 && number < MAX_VOLUMES)
			volumes[number] = one;
	}
	return 0;
}

static int write_table(void)
{
	char text[TABLE_BYTES] = "";
	int number, at = snprintf(text, sizeof(text), "ubi %lld %lld\n", total, reserved);

	for (number = 0; number < MAX_VOLUMES; number++)
		if (volumes[number].used)
			at += snprintf(text + at, sizeof(text) - at, "%d %s %s %lld %d %lld\n", number, volumes[number].name,
				       volumes[number].is_static ? "static" : "dynamic", volumes[number].blocks,
				       volumes[number].marker, volumes[number].bytes);
	if (pwrite(table, text, TABLE_BYTES, 0) != TABLE_BYTES || fsync(table))
		return fail_with(errno, "cannot write the volume table");
	return 0;
}

static long long available(void)
{
	long long left = total - reserved;
	int number;

	for (number = 0; number < MAX_VOLUMES; number++)
		if (volumes[number].used)
			left -= volumes[number].blocks;
	return left;
}

static const char *hidden(int number)
{
	static char path[64];

	snprintf(path, sizeof(path), "/.rig/dev/ubi0_%d", number);
	return path;
}

/* The node in /dev: the volume itself, or a device that cannot be opened while the volume cannot be read. */
static void show_node(int number, int readable)
{
	char path[64];
	struct stat real;

	snprintf(path, sizeof(path), "/dev/ubi0_%d", number);
	unlink(path);
	if (volumes[number].used && !stat(hidden(number), &real))
		mknod(path, S_IFBLK | 0600, readable ? real.st_rdev : makedev(0, 0));
}

static void show_counts(void)
{
	int number, count = 0;

	for (number = 0; number < MAX_VOLUMES; number++)
		count += volumes[number].used;
	write_text(DEVICE "/volumes_count", "%d\n", count);
	write_text(DEVICE "/avail_eraseblocks", "%lld\n", available());
}

/* What the kernel shows of a volume in /sys. */
static void show(int number)
{
	const struct volume *one = &volumes[number];
	char folder[128], path[192], link[64];
	const char *const names[] = { "name", "type", "reserved_ebs", "data_bytes", "usable_eb_size", "upd_marker", "corrupted",
				      "alignment" };
	size_t i;

	snprintf(folder, sizeof(folder), DEVICE "/ubi0_%d", number);
	snprintf(link, sizeof(link), CLASS "ubi0_%d", number);
	if (!one->used) {
		unlink(link);
		for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
			snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
			unlink(path);
		}
		rmdir(folder);
		show_counts();
		return;
	}
	mkdir(folder, 0755);
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		switch (i) {
		case 0: write_text(path, "%s\n", one->name); break;
		case 1: write_text(path, "%s\n", one->is_static ? "static" : "dynamic"); break;
		case 2: write_text(path, "%lld\n", one->blocks); break;
		case 3: write_text(path, "%lld\n", one->is_static ? one->bytes : one->blocks * LEB); break;
		case 4: write_text(path, "%lld\n", LEB); break;
		case 5: write_text(path, "%d\n", one->marker); break;
		case 6: write_text(path, "0\n"); break;
		default: write_text(path, "1\n");
		}
	}
	snprintf(path, sizeof(path), "../../devices/virtual/ubi/ubi0/ubi0_%d", number);
	symlink(path, link);
	show_counts();
}

static int find(const char *name)
{
	int number;

	for (number = 0; number < MAX_VOLUMES; number++)
		if (volumes[number].used && !strcmp(volumes[number].name, name))
			return number;
	return -1;
}

/* Open a volume, alone when that is wanted: EBUSY when it is mounted. */
static int open_volume(int number, int alone)
{
	return open(hidden(number), O_RDWR | O_CLOEXEC | (alone ? O_EXCL : 0));
}

/* An erased volume: everything zero. */
static int wipe(int descriptor)
{
	unsigned long long range[2] = { 0, 0 };

	if (ioctl(descriptor, BLKGETSIZE64, &range[1]))
		return -1;
	return ioctl(descriptor, BLKDISCARD, range) && ioctl(descriptor, BLKZEROOUT, range) ? -1 : 0;
}

static int set_size(int descriptor, long long bytes)
{
	struct loop_info64 info;

	if (ioctl(descriptor, LOOP_GET_STATUS64, &info))
		return -1;
	info.lo_sizelimit = bytes;
	return ioctl(descriptor, LOOP_SET_STATUS64, &info);
}

/* A size as mtd-utils take it: 1000, 24KiB, 24MiB, 1GiB, 0x1f000. */
static long long bytes_of(const char *text)
{
	char *end;
	long long bytes = strtoll(text, &end, 0);

	while (*end == ' ')
		end++;
	if (!strcmp(end, "KiB"))
		return bytes << 10;
	if (!strcmp(end, "MiB"))
		return bytes << 20;
	if (!strcmp(end, "GiB"))
		return bytes << 30;
	return *end || end == text ? -1 : bytes;
}

static int is_device(const char *node)
{
	return !strcmp(node, "/dev/ubi0");
}

static int need_device(int count, char **words)
{
	if (optind == count)
		return fail("UBI device name was not specified (use -h for help)");
	if (optind != count - 1)
		return fail("more then one UBI device specified (use -h for help)");
	if (!is_device(words[optind]))
		return fail("\"%s\" is not an UBI device node", words[optind]);
	return 0;
}

static void print_bytes(long long bytes, int bracket)
{
	if (bytes > 1024 * 1024 * 1024)
		printf("%s%.1f GiB%s", bracket ? " (" : ", ", (double)bytes / (1024 * 1024 * 1024), bracket ? ")" : "");
	else if (bytes > 1024 * 1024)
		printf("%s%.1f MiB%s", bracket ? " (" : ", ", (double)bytes / (1024 * 1024), bracket ? ")" : "");
	else if (bytes > 1024 && bytes != 0)
		printf("%s%.1f KiB%s", bracket ? " (" : ", ", (double)bytes / 1024, bracket ? ")" : "");
}

static int make(int count, char **words)
{
	static const struct option options[] = {
		{ "vol_id", 1, NULL, 'n' }, { "name", 1, NULL, 'N' }, { "size", 1, NULL, 's' }, { "lebs", 1, NULL, 'S' },
		{ "type", 1, NULL, 't' }, { "alignment", 1, NULL, 'a' }, { "maxavsize", 0, NULL, 'm' },
		{ "skipcheck", 0, NULL, 'k' }, { NULL, 0, NULL, 0 }
	};
	long long bytes = -1, blocks = -1;
	int option, wanted = -1, most = 0, is_static = 0, number, descriptor;
	const char *name = NULL;

	while ((option = getopt_long(count, words, "n:N:s:S:t:a:mk", options, NULL)) != -1) {
		switch (option) {
		case 'n': wanted = atoi(optarg); break;
		case 'N': name = optarg; break;
		case 's':
			bytes = bytes_of(optarg);
			if (bytes <= 0)
				return fail("bad volume size: \"%s\"", optarg);
			break;
		case 'S':
			blocks = atoll(optarg);
			if (blocks <= 0)
				return fail("bad number of LEBs: \"%s\"", optarg);
			break;
		case 't': is_static = !strcmp(optarg, "static"); break;
		case 'a': case 'k': break;
		case 'm': most = 1; break;
		default: return fail("use -h for help");
		}
	}
	if (need_device(count, words))
		return -1;
	if (bytes == -1 && blocks == -1 && !most)
		return fail("volume size was not specified (use -h for help)");
	if (!name)
		return fail("volume name was not specified (use -h for help)");
	if (strlen(name) > MAX_NAME)
		return fail("too long name (%zu symbols), max is %d", strlen(name), MAX_NAME);
	if (read_table())
		return -1;
	if (available() <= 0)
		return fail("UBI device does not have free logical eraseblocks");
	if (most) {
		blocks = available();
		printf("Set volume size to %lld\n", blocks * LEB);
	} else if (blocks == -1) {
		blocks = (bytes + LEB - 1) / LEB;
	}
	for (number = 0; wanted < 0 && number < MAX_VOLUMES && volumes[number].used; number++)
		;
	if (wanted >= 0)
		number = wanted;
	if (number >= MAX_VOLUMES || volumes[number].used || find(name) >= 0)
		return fail_with(EEXIST, "cannot UBI create volume");
	if (blocks > available())
		return fail_with(ENOSPC, "cannot UBI create volume");
	descriptor = open_volume(number, 0);
	if (descriptor < 0)
		return fail("the bench has no device left for another volume");
	if (set_size(descriptor, 0) || wipe(descriptor) || set_size(descriptor, blocks * LEB))
		return fail_with(errno, "cannot UBI create volume");
	volumes[number] = (struct volume){ .used = 1, .is_static = is_static, .blocks = blocks };
	strcpy(volumes[number].name, name);
	if (write_table())
		return -1;
	show(number);
	show_node(number, 1);
	printf("Volume ID %d, size %lld LEBs (%lld bytes", number, blocks, blocks * LEB);
	print_bytes(blocks * LEB, 0);
	printf("), LEB size %lld bytes", LEB);
	print_bytes(LEB, 1);
	printf(", %s, name \"%s\", alignment 1\n", is_static ? "static" : "dynamic", name);
	return 0;
}

static int forget(int number)
{
	int descriptor = open_volume(number, 1);

	if (descriptor < 0)
		return fail_with(errno, "cannot UBI remove volume");
	volumes[number].used = 0;
	if (write_table())
		return -1;
	show(number);
	show_node(number, 0);
	if (set_size(descriptor, 0) || wipe(descriptor))
		return fail_with(errno, "cannot UBI remove volume");
	close(descriptor);
	return 0;
}

static int rename_volumes(int count, char **words)
{
	int numbers[MAX_VOLUMES], pairs, i, other;

	if (count < 4 || count % 2)
		return fail(count < 3 ? "too few arguments" : "please specify even number of arguments");
	if (!is_device(words[1]))
		return fail("\"%s\" is not an UBI device node", words[1]);
	if (read_table())
		return -1;
	pairs = (count - 2) / 2;
	for (i = 0; i < pairs; i++) {
		numbers[i] = find(words[2 + 2 * i]);
		if (numbers[i] < 0)
			return fail_with(ENOENT, "cannot find UBI volume \"%s\"", words[2 + 2 * i]);
	}
	for (i = 0; i < pairs; i++) {
		other = find(words[3 + 2 * i]);
		if (other >= 0 && other != numbers[i]) /* a volume with that name is removed */
			volumes[other].name[0] = 0;
		snprintf(volumes[numbers[i]].name, MAX_NAME + 1, "%s", words[3 + 2 * i]);
	}
	for (i = 0; i < MAX_VOLUMES; i++)
		if (volumes[i].used && !volumes[i].name[0])
			volumes[i].used = 0;
	if (write_table())
		return -1;
	for (i = 0; i < MAX_VOLUMES; i++)
		show(i);
	return 0;
}

static int remove_volume(int count, char **words)
{
	static const struct option options[] = { { "vol_id", 1, NULL, 'n' }, { "name", 1, NULL, 'N' }, { NULL, 0, NULL, 0 } };
	int option, number = -1;
	const char *name = NULL;

	while ((option = getopt_long(count, words, "n:N:", options, NULL)) != -1) {
		switch (option) {
		case 'n': number = atoi(optarg); break;
		case 'N': name = optarg; break;
		default: return fail("use -h for help");
		}
	}
	if (need_device(count, words))
		return -1;
	if ((number == -1) == !name)
		return fail(name ? "please, specify either volume ID or volume name, not both" :
			    "please, specify either volume ID or volume name");
	if (read_table())
		return -1;
	if (name) {
		number = find(name);
		if (number < 0)
			return fail_with(ENOENT, "cannot find UBI volume \"%s\"", name);
	}
	if (number < 0 || number >= MAX_VOLUMES || !volumes[number].used)
		return fail_with(ENODEV, "cannot UBI remove volume");
	return forget(number);
}

static int set_marker(int number, int marker)
{
	volumes[number].marker = marker;
	if (marker) { /* who looks at /sys must not take for whole what is not */
		show_node(number, 0);
		show(number);
	}
	if (write_table())
		return -1;
	if (!marker) {
		show(number);
		show_node(number, 1);
	}
	return 0;
}

static int fill(int number, int input, const char *image, long long bytes)
{
	static char data[LEB];
	long long left = bytes, at = 0;
	int output;

	output = open_volume(number, 1);
	if (output < 0)
		return fail_with(errno, "cannot start volume \"/dev/ubi0_%d\" update", number);
	if (set_marker(number, 1))
		return -1;
	if (wipe(output) || fsync(output))
		return fail_with(errno, "cannot start volume \"/dev/ubi0_%d\" update", number);
	while (left) {
		size_t part = left < LEB ? left : LEB;
		ssize_t got;

		errno = 0;
		got = read(input, data, part);
		if (got <= 0)
			return fail_with(errno, "cannot read %zu bytes from \"%s\"", part, image);
		if (pwrite(output, data, got, at) != got)
			return fail_with(errno, "cannot write %zd bytes to volume \"/dev/ubi0_%d\"", got, number);
		left -= got;
		at += got;
	}
	if (fsync(output))
		return fail_with(errno, "cannot write to volume \"/dev/ubi0_%d\"", number);
	close(output);
	volumes[number].bytes = bytes;
	return set_marker(number, 0);
}

static int update(int count, char **words)
{
	static const struct option options[] = {
		{ "truncate", 0, NULL, 't' }, { "size", 1, NULL, 's' }, { "skip", 1, NULL, 1 }, { NULL, 0, NULL, 0 }
	};
	long long bytes = 0, skip = 0;
	int option, truncate = 0, number, input = 0;
	const char *node, *image;
	struct stat file;

	while ((option = getopt_long(count, words, "ts:", options, NULL)) != -1) {
		switch (option) {
		case 't': truncate = 1; break;
		case 's':
			bytes = bytes_of(optarg);
			if (bytes < 0)
				return fail("bad size: \"%s\"", optarg);
			break;
		case 1: skip = bytes_of(optarg); break;
		default: return fail("use -h for help");
		}
	}
	if (optind == count)
		return fail("UBI device name was not specified (use -h for help)");
	if (optind != count - 2 && !truncate)
		return fail("specify UBI device name and image file name as first 2 parameters (use -h for help)");
	node = words[optind];
	image = words[optind + 1];
	if (image && truncate)
		return fail("You can't use --truncate and specify an image (use -h for help)");
	if (read_table())
		return -1;
	if (sscanf(node, "/dev/ubi0_%d", &number) != 1 || number < 0 || number >= MAX_VOLUMES || !volumes[number].used)
		return fail_with(ENODEV, "error while probing \"%s\"", node);
	if (truncate)
		return fill(number, -1, "", 0);
	if (strcmp(image, "-")) {
		input = open(image, O_RDONLY | O_CLOEXEC);
		if (input < 0)
			return fail_with(errno, "cannot open \"%s\"", image);
	}
	if (!bytes) {
		if (stat(image, &file))
			return fail_with(errno, "stat failed on \"%s\"", image);
		bytes = file.st_size - skip;
	}
	if (bytes > volumes[number].blocks * LEB)
		return fail("\"%s\" (size %lld) will not fit volume \"%s\" (size %lld)", image, bytes, node,
			    volumes[number].blocks * LEB);
	if (skip && lseek(input, skip, SEEK_CUR) < 0)
		return fail_with(errno, "lseek input by %lld failed", skip);
	return fill(number, input, image, bytes);
}

int main(int count, char **words)
{
	int failed = -1;

	program = strrchr(words[0], '/') ? strrchr(words[0], '/') + 1 : words[0];
	if (!strcmp(program, "ubimkvol"))
		failed = make(count, words);
	else if (!strcmp(program, "ubirmvol"))
		failed = remove_volume(count, words);
	else if (!strcmp(program, "ubirename"))
		failed = rename_volumes(count, words);
	else if (!strcmp(program, "ubiupdatevol"))
		failed = update(count, words);
	return failed ? 255 : 0;
}
