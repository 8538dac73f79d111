// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
/*
 * Brings the kernel down from inside, in the way that is asked for: what user space cannot do, and
 * lkdtm could if distributions built it. Loading the module is the trigger.
 */
#include <linux/bug.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/string.h>

static char *how = "";
module_param(how, charp, 0);

static int __init trigger(void)
{
	if (!strcmp(how, "null")) {
		*(volatile int *)NULL = 1;
	} else if (!strcmp(how, "bug")) {
		BUG();
	} else if (!strcmp(how, "warn")) {
		WARN(1, "e2e: a warning\n");
	} else if (!strcmp(how, "panic")) {
		panic("e2e: panic of a module");
	} else if (!strcmp(how, "hung-task")) {
		for (;;) {
			set_current_state(TASK_UNINTERRUPTIBLE);
			schedule();
		}
	} else if (!strcmp(how, "soft-lockup")) {
		preempt_disable();
		for (;;)
			cpu_relax();
	}
	return -EINVAL;
}

module_init(trigger);
MODULE_DESCRIPTION("Brings the kernel down in the way that is asked for");
MODULE_LICENSE("Dual MIT/GPL");
