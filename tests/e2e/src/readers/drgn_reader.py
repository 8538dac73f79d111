"""Opens a dump with drgn. Arguments: the dump, an address, and the kernel with debug information
if there is one. Standard output: what was seen, as JSON; see readers/drgn.rs."""

import json
import sys

import drgn

program = drgn.Program()
program.set_core_dump(sys.argv[1])
seen = {
    "release": program["UTS_RELEASE"].string_().decode(),
    "page_size": program["PAGE_SIZE"].value_(),
    "bytes": None,
}
try:
    seen["bytes"] = program.read(int(sys.argv[2], 0), 8, physical=True).hex()
except drgn.FaultError:
    pass
if len(sys.argv) > 3:
    from drgn.helpers.linux.pid import for_each_task
    from drgn.helpers.linux.printk import get_dmesg

    program.load_debug_info([sys.argv[3]])
    seen["log"] = get_dmesg(program).decode(errors="replace")
    seen["tasks"] = [task.comm.string_().decode() for task in for_each_task(program)]
    thread = program.crashed_thread()
    seen["crashed"] = thread.object.comm.string_().decode()
    seen["stack"] = [frame.name for frame in thread.stack_trace()]
json.dump(seen, sys.stdout)
