// SPDX-License-Identifier: GPL-2.0-only
/*
 * The root in a FIT image as a block device: a stand-in, in own words, for OpenWrt's driver of the same purpose.
 *
 * /chosen/rootdisk, which U-Boot sets, is the phandle of a node of the device tree. That node is a UBI volume, or it
 * has a property "partname" with the name of an MMC partition. When a block device appears there, the FIT header at
 * its start is read; the image that the booted configuration (/chosen/u-boot,bootconf) lists as "loadables" becomes
 * /dev/fit0, read-only. On a partition that can be written, all that follows the FIT becomes /dev/fitrw.
 *
 * Simpler than the real one: it looks for the device ten times a second, it uses the first loadable only, and it checks
 * no hash (nor does the real one). Before a sysupgrade its devices go when something is written to the parameter
 * "release"; the real one has an ioctl for that.
 */

#define pr_fmt(fmt) "fitblk: " fmt

#include <linux/blkdev.h>
#include <linux/libfdt.h>
#include <linux/moduleparam.h>
#include <linux/of.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#define HEADER_BYTES	SZ_64K
#define LEAST_SECTORS	16	/* less than this behind the FIT is not worth a device */

/* A piece of the device below: what /dev/fit0 or /dev/fitrw is. */
struct fit_piece {
	struct block_device *below;
	sector_t start;
};

static struct device_node *rootdisk;
static struct file *opened;		/* the device below, as long as there are pieces of it */
static struct gendisk *pieces[2];
static unsigned int piece_count;
static void look(struct work_struct *work);
static DECLARE_DELAYED_WORK(looking, look);

static void fit_submit(struct bio *bio)
{
	struct fit_piece *piece = bio->bi_bdev->bd_disk->private_data;

	bio_set_dev(bio, piece->below);
	bio->bi_iter.bi_sector += piece->start;
	submit_bio_noacct(bio);
}

static const struct block_device_operations fit_operations = {
	.owner = THIS_MODULE,
	.submit_bio = fit_submit,
};

static int add_piece(struct block_device *below, const char *name, sector_t start, sector_t sectors, bool read_only)
{
	int failed;
	static int minors;
	static int major;
	struct queue_limits limits;
	struct fit_piece *piece;
	struct gendisk *disk;

	if (!major)
		major = register_blkdev(0, "fit");
	piece = kzalloc(sizeof(*piece), GFP_KERNEL);
	if (!piece)
		return -ENOMEM;
	piece->below = below;
	piece->start = start;
	blk_set_stacking_limits(&limits);
	queue_limits_stack_bdev(&limits, below, start, name);
	disk = blk_alloc_disk(&limits, NUMA_NO_NODE);
	if (IS_ERR(disk))
		return PTR_ERR(disk);
	disk->major = major;
	disk->first_minor = minors++;
	disk->minors = 1;
	disk->flags |= GENHD_FL_NO_PART;
	disk->fops = &fit_operations;
	disk->private_data = piece;
	strscpy(disk->disk_name, name, DISK_NAME_LEN);
	set_capacity(disk, sectors);
	set_disk_ro(disk, read_only);
	pr_info("%pg: %s is %llu sectors from sector %llu\n", below, name, (u64)sectors, (u64)start);
	failed = add_disk(disk);
	if (!failed)
		pieces[piece_count++] = disk;
	return failed;
}

/* Remove the devices and close the one below: a UBI volume in use cannot be removed. Nothing may be mounted any more. */
static int release(const char *value, const struct kernel_param *parameter)
{
	while (piece_count) {
		struct gendisk *disk = pieces[--piece_count];

		del_gendisk(disk);
		kfree(disk->private_data);
		put_disk(disk);
	}
	if (opened)
		bdev_fput(opened);
	opened = NULL;
	return 0;
}

static const struct kernel_param_ops release_operations = { .set = release };
module_param_cb(release, &release_operations, NULL, 0200);

static u32 number_of(const void *fit, int node, const char *property, u32 otherwise)
{
	int bytes;
	const fdt32_t *value = fdt_getprop(fit, node, property, &bytes);

	return value && bytes == sizeof(*value) ? fdt32_to_cpu(*value) : otherwise;
}

/* Return the first byte of an image's data, counted from the FIT's start, or 0 when the data is in the header. */
static u64 data_start(const void *fit, int image)
{
	u32 position = number_of(fit, image, "data-position", 0);
	u32 offset = number_of(fit, image, "data-offset", U32_MAX);

	if (position)
		return position;
	return offset == U32_MAX ? 0 : ALIGN(fdt_totalsize(fit), 4) + (u64)offset;
}

static int loadable_of(const void *fit)
{
	const char *configuration = NULL, *image;
	int node;

	of_property_read_string(of_chosen, "u-boot,bootconf", &configuration);
	node = fdt_path_offset(fit, "/configurations");
	if (!configuration)
		configuration = fdt_getprop(fit, node, "default", NULL);
	if (!configuration)
		return -FDT_ERR_NOTFOUND;
	/* overlays follow the name of the configuration, each after a "#" */
	node = fdt_subnode_offset_namelen(fit, node, configuration, strcspn(configuration, "#"));
	image = fdt_getprop(fit, node, "loadables", NULL);
	return image ? fdt_subnode_offset(fit, fdt_path_offset(fit, "/images"), image) : -FDT_ERR_NOTFOUND;
}

static int add_pieces(struct block_device *below, const void *fit, bool writable)
{
	u64 end = fdt_totalsize(fit), start, bytes;
	int image, loadable, failed;
	sector_t first;

	loadable = loadable_of(fit);
	if (loadable < 0 || !data_start(fit, loadable)) {
		pr_err("%pg: the configuration has no image that can be a root\n", below);
		return -ENOENT;
	}
	fdt_for_each_subnode(image, fit, fdt_path_offset(fit, "/images"))
		if (data_start(fit, image))
			end = max(end, data_start(fit, image) + number_of(fit, image, "data-size", 0));
	start = data_start(fit, loadable);
	bytes = number_of(fit, loadable, "data-size", 0);
	if (!IS_ALIGNED(start, SECTOR_SIZE) || end > bdev_nr_bytes(below)) {
		pr_err("%pg: the FIT is not aligned or longer than the device\n", below);
		return -EINVAL;
	}
	failed = add_piece(below, "fit0", start >> SECTOR_SHIFT, DIV_ROUND_UP(bytes, SECTOR_SIZE), true);
	first = ALIGN(end, PAGE_SIZE) >> SECTOR_SHIFT;
	if (failed || !writable || bdev_nr_sectors(below) < first + LEAST_SECTORS)
		return failed;
	return add_piece(below, "fitrw", first, bdev_nr_sectors(below) - first, false);
}

/* Tell whether a block device is the one that the node names. */
static int is_rootdisk(struct device *device, const void *node)
{
	struct block_device *bdev = dev_to_bdev(device);
	const char *name;

	if (device->parent && device->parent->of_node == node)
		return true;
	if (of_property_read_string(node, "partname", &name) || !bdev->bd_meta_info)
		return false;
	return !strncmp(bdev->bd_disk->disk_name, "mmcblk", 6) && !strcmp((char *)bdev->bd_meta_info->volname, name);
}

static void look(struct work_struct *work)
{
	struct device *device = class_find_device(&block_class, NULL, rootdisk, is_rootdisk);
	bool writable;
	struct file *file;
	loff_t place = 0;
	void *fit;
	ssize_t got;

	if (!device) {
		schedule_delayed_work(&looking, HZ / 10);
		return;
	}
	/* a UBI volume as a block device says only when it is opened that it cannot be written */
	file = bdev_file_open_by_dev(device->devt, BLK_OPEN_READ | BLK_OPEN_WRITE, NULL, NULL);
	writable = !IS_ERR(file);
	if (!writable)
		file = bdev_file_open_by_dev(device->devt, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(file)) {
		pr_err("%s: cannot be opened: %ld\n", dev_name(device), PTR_ERR(file));
		return;
	}
	fit = kzalloc(HEADER_BYTES, GFP_KERNEL);
	got = fit ? kernel_read(file, fit, HEADER_BYTES, &place) : -ENOMEM;
	if (got <= 0 || fdt_check_header(fit) || fdt_totalsize(fit) > got)
		pr_err("%s: no FIT\n", dev_name(device));
	else
		add_pieces(file_bdev(file), fit, writable);
	kfree(fit);
	opened = file;
}

static int __init fitblk_start(void)
{
	u32 phandle;

	if (of_chosen && !of_property_read_u32(of_chosen, "rootdisk", &phandle))
		rootdisk = of_find_node_by_phandle(phandle);
	if (rootdisk)
		schedule_delayed_work(&looking, 0);
	return 0;
}
late_initcall(fitblk_start);
