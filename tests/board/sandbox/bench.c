// SPDX-License-Identifier: GPL-2.0+
/*
 * What the sandbox needs to stand for the board, and the two commands that OpenWrt adds to U-Boot: imsz and imszb.
 *
 * Everything the bench reads from U-Boot is a line that begins with "bench: ". The files are in the folder in which the
 * program runs: nand.img, writes.log (recorded to only if it is there), crash.bin, handed-over.dtb.
 */
#include <button.h>
#include <command.h>
#include <dm.h>
#include <env.h>
#include <env_internal.h>
#include <image.h>
#include <init.h>
#include <mapmem.h>
#include <os.h>
#include <stdio.h>
#include <asm/global_data.h>
#include <asm/state.h>
#include <linux/kernel.h>
#include <linux/libfdt.h>
#include <linux/string.h>

DECLARE_GLOBAL_DATA_PTR;

#define NAND_FILE "nand.img"
#define LOG_FILE "writes.log"
#define CRASH_FILE "crash.bin"
#define TREE_FILE "handed-over.dtb"
#define POLLS_OF_A_WAIT 20000
#define CHUNK 8192

void bench_hand_over(struct bootm_headers *images);
void bench_reset(void);
void bench_delay(unsigned long usec);
void bench_keys(int ended);
void bench_late_init(void);
void bench_record(char kind, u64 place, const void *data, unsigned int length);
int bench_nand_open(off_t size);
int bench_nand_read(int fd, u32 page, void *data, u32 length);
int bench_nand_program(int fd, u32 page, const void *data, u32 length);
int bench_nand_erase(int fd, u32 page, u32 pages, u32 length);

extern void timer_test_add_offset(unsigned long offset);

/* Where Linux would start: tell what is in memory, and end. */
void bench_hand_over(struct bootm_headers *images)
{
	const char *kernel = map_sysmem(images->ep, 0);
	const char *arguments = NULL;

	if (images->ft_len) {
		os_write_file(TREE_FILE, images->ft_addr, fdt_totalsize(images->ft_addr));
		arguments = fdt_getprop(images->ft_addr, fdt_path_offset(images->ft_addr, "/chosen"), "bootargs", NULL);
	}
	printf("bench: kernel=%.*s\n", (int)strcspn(kernel, "\n"), kernel);
	printf("bench: configuration=%s\n", images->fit_uname_cfg ? images->fit_uname_cfg : "");
	printf("bench: bootargs=%s\n", arguments ? arguments : "");
	printf("bench: started\n");
	os_exit(0);
}

void bench_reset(void)
{
	printf("\nbench: reset\n");
	os_exit(0);
}

/* A delay moves the clock; nobody waits. */
void bench_delay(unsigned long usec)
{
	static unsigned long rest;

	rest += usec;
	timer_test_add_offset(rest / 1000);
	rest %= 1000;
}

/* Called at each look for a key; `ended` says that none is left and none will come. */
void bench_keys(int ended)
{
	static int polls;

	polls = ended ? polls + 1 : 0;
	if (polls > POLLS_OF_A_WAIT) {
		printf("\nbench: waits for a key\n");
		os_exit(0);
	}
}

/* RAM keeps what a kernel wrote there before the reset: the file has it. */
static void load_crash_record(void)
{
	int fd = os_open(CRASH_FILE, OS_O_RDONLY);

	if (fd < 0)
		return;
	os_read(fd, map_sysmem(CONFIG_CMD_PSTORE_MEM_ADDR, CONFIG_CMD_PSTORE_MEM_SIZE), CONFIG_CMD_PSTORE_MEM_SIZE);
	os_close(fd);
}

/* As OpenWrt's U-Boot does: the environment is loaded again, or set back when the button is held. */
void bench_late_init(void)
{
	struct udevice *dev;

	load_crash_record();
	gd->env_valid = ENV_VALID;
	if (!button_get_by_label("reset", &dev) && button_get_state(dev) == BUTTON_ON) {
		printf("button held, the environment is set back\n");
		gd->env_valid = ENV_INVALID;
	}
	env_relocate();
}

/* Append a write to the log: kind, place and length as little-endian numbers, data. */
void bench_record(char kind, u64 place, const void *data, unsigned int length)
{
	struct __packed { char kind; u64 place; u32 length; } head = { kind, place, length };
	int fd = os_open(LOG_FILE, OS_O_RDWR);

	if (fd < 0)
		return;
	os_lseek(fd, 0, OS_SEEK_END);
	os_write(fd, &head, sizeof(head));
	if (data)
		os_write(fd, data, length);
	os_close(fd);
}

/* The file has a flash page after the other, each with its spare bytes, all bits inverted: a hole is erased flash. */
int bench_nand_open(off_t size)
{
	int fd = os_open(NAND_FILE, OS_O_RDWR);

	if (fd >= 0 && os_filesize(fd) != size) {
		printf("bench: %s has %lld bytes, not %lld\n", NAND_FILE, (long long)os_filesize(fd), (long long)size);
		os_exit(1);
	}
	return fd;
}

int bench_nand_read(int fd, u32 page, void *data, u32 length)
{
	u8 *bytes = data;
	u32 i;

	if (os_lseek(fd, (off_t)page * length, OS_SEEK_SET) < 0 || os_read(fd, data, length) != length)
		return -EIO;
	for (i = 0; i < length; i++)
		bytes[i] = ~bytes[i];
	return 0;
}

/* A page can be written once after its block was erased. */
int bench_nand_program(int fd, u32 page, const void *data, u32 length)
{
	const u8 *bytes = data;
	u8 stored[CHUNK];
	u32 i;

	if (length > CHUNK || bench_nand_read(fd, page, stored, length))
		return -EIO;
	for (i = 0; i < length; i++) {
		if (stored[i] != 0xff)
			return -EIO;
		stored[i] = ~bytes[i];
	}
	bench_record('p', page, data, length);
	if (os_lseek(fd, (off_t)page * length, OS_SEEK_SET) < 0 || os_write(fd, stored, length) != length)
		return -EIO;
	return 0;
}

/* Pages that are erased already are left alone, so that holes in the file stay holes. */
int bench_nand_erase(int fd, u32 page, u32 pages, u32 length)
{
	static const u8 erased[CHUNK];
	u8 stored[CHUNK];

	bench_record('e', page, NULL, pages);
	for (; pages; pages--, page++) {
		if (length > CHUNK || bench_nand_read(fd, page, stored, length))
			return -EIO;
		if (!memchr_inv(stored, 0xff, length))
			continue;
		if (os_lseek(fd, (off_t)page * length, OS_SEEK_SET) < 0 || os_write(fd, erased, length) != length)
			return -EIO;
	}
	return 0;
}

/* Bytes of a FIT image: its tree, and what lies behind it; 0 when there is none or a size is missing. */
static size_t fit_bytes(const void *fit)
{
	size_t end, total;
	int image, images;

	if (fdt_check_header(fit))
		return 0;
	total = fdt_totalsize(fit);
	images = fdt_path_offset(fit, FIT_IMAGES_PATH);
	if (images < 0)
		return 0;
	fdt_for_each_subnode(image, fit, images) {
		const void *data;
		size_t length;

		if (fit_image_get_data_and_size(fit, image, &data, &length))
			return 0;
		end = (size_t)(data - fit) + length;
		total = max(total, end);
	}
	return total;
}

static int do_imsz(struct cmd_tbl *cmdtp, int flag, int argc, char *const argv[])
{
	size_t size = fit_bytes(map_sysmem(argc > 1 ? hextoul(argv[1], NULL) : image_load_addr, 0));
	char text[20];

	if (!size)
		return CMD_RET_FAILURE;
	if (!strcmp(argv[0], "imszb"))
		size = DIV_ROUND_UP(size, 512);
	snprintf(text, sizeof(text), "%zx", size);
	if (argc > 2)
		return env_set(argv[2], text);
	printf("%s\n", text);
	return 0;
}

U_BOOT_CMD(imsz, 3, 1, do_imsz, "bytes of a FIT image", "[address [variable]]");
U_BOOT_CMD(imszb, 3, 1, do_imsz, "blocks of 512 bytes of a FIT image", "[address [variable]]");
