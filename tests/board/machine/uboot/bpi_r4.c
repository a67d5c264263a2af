// SPDX-License-Identifier: GPL-2.0+
/*
 * What OpenWrt adds to the BPI-R4's U-Boot, in own words, for QEMU's virt machine.
 *
 * imsz and imszb say how long the image at an address is, in bytes and in blocks. led and button are there so that the
 * boot scripts run as they are: the machine has neither, led says what it would do and no button is ever pressed.
 * ft_system_setup tells the kernel which medium it came from. The board reads its boot switch for that; here each
 * medium has a U-Boot of its own, and SD card and eMMC are told apart by asking the card.
 */

#include <command.h>
#include <env.h>
#include <fdt_support.h>
#include <image.h>
#include <mmc.h>
#include <stdio.h>
#include <vsprintf.h>
#include <linux/kernel.h>

/* Return the bytes of a FIT with its data behind the header, or of a legacy image; 0 for anything else. */
static ulong image_bytes(const void *image)
{
	ulong end, data;
	int node, bytes;

	if (genimg_get_format(image) == IMAGE_FORMAT_LEGACY)
		return image_get_image_size(image);
	if (genimg_get_format(image) != IMAGE_FORMAT_FIT)
		return 0;
	end = fdt_totalsize(image);
	fdt_for_each_subnode(node, image, fdt_path_offset(image, FIT_IMAGES_PATH)) {
		if (fit_image_get_data_size(image, node, &bytes))
			continue;
		if (!fit_image_get_data_position(image, node, (int *)&bytes))
			data = bytes;
		else if (!fit_image_get_data_offset(image, node, &bytes))
			data = ALIGN(fdt_totalsize(image), 4) + bytes;
		else
			continue;
		fit_image_get_data_size(image, node, &bytes);
		end = max(end, data + bytes);
	}
	return end;
}

static int do_imsz(struct cmd_tbl *cmdtp, int flag, int argc, char *const argv[])
{
	ulong size;

	if (argc < 2)
		return CMD_RET_USAGE;
	size = image_bytes((void *)hextoul(argv[1], NULL));
	if (!size)
		return CMD_RET_FAILURE;
	if (!strcmp(argv[0], "imszb"))
		size = DIV_ROUND_UP(size, 512);
	if (argc > 2)
		env_set_hex(argv[2], size);
	else
		printf("%lx\n", size);
	return CMD_RET_SUCCESS;
}

static int do_led(struct cmd_tbl *cmdtp, int flag, int argc, char *const argv[])
{
	if (argc != 3)
		return CMD_RET_USAGE;
	printf("led %s %s\n", argv[1], argv[2]);
	return CMD_RET_SUCCESS;
}

static int do_button(struct cmd_tbl *cmdtp, int flag, int argc, char *const argv[])
{
	return CMD_RET_FAILURE;
}

U_BOOT_CMD(imsz, 3, 0, do_imsz, "bytes of an image", "address [variable]");
U_BOOT_CMD(imszb, 3, 0, do_imsz, "blocks of an image", "address [variable]");
U_BOOT_CMD(led, 3, 0, do_led, "no light here, only a line", "name on|off");
U_BOOT_CMD(button, 2, 0, do_button, "no button here: never pressed", "name");

static const char *medium(void)
{
	struct mmc *card;

	if (IS_ENABLED(CONFIG_ENV_IS_IN_UBI))
		return "rootdisk-spim-nand";
	card = find_mmc_device(0);
	return card && !mmc_init(card) && IS_SD(card) ? "rootdisk-sd" : "rootdisk-emmc";
}

int ft_system_setup(void *blob, struct bd_info *bd)
{
	int chosen = fdt_path_offset(blob, "/chosen");
	const fdt32_t *handle = fdt_getprop(blob, chosen, medium(), NULL);

	return handle ? fdt_setprop_u32(blob, chosen, "rootdisk", fdt32_to_cpu(*handle)) : 0;
}
