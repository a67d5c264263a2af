// SPDX-License-Identifier: GPL-2.0-only
/* A kernel that stands still: no interrupt is taken any more. Only a watchdog ends it. */

#include <linux/irqflags.h>
#include <linux/module.h>

static int __init hang_start(void)
{
	pr_emerg("hang: standing still\n");
	local_irq_disable();
	for (;;)
		cpu_relax();
	return 0;
}
module_init(hang_start);
MODULE_DESCRIPTION("stands still");
MODULE_LICENSE("GPL");
