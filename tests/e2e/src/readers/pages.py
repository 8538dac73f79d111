"""Compares kdump-compressed dumps, read by libkdumpfile, with the ELF core they were made from.

Standard input: {"core": FILE, "loads": [[physical, size, offset], ...], "dumps": {LEVEL: FILE}}.
Standard output: what was found, as JSON; see readers/pages.rs.
"""

import json
import sys

import kdumpfile
from kdumpfile.exceptions import NoDataException


def page_of_core(core, loads, address, size):
    """What the core has of a page, with zeroes for the rest; None if it has nothing of it."""
    page = None
    for physical, length, offset in loads:
        start, end = max(address, physical), min(address + size, physical + length)
        if start < end:
            page = page or bytearray(size)
            core.seek(offset + start - physical)
            page[start - address:end - address] = core.read(end - start)
    return page and bytes(page)


def page_of_dump(dump, address, size):
    try:
        return dump.read(kdumpfile.KDUMP_MACHPHYSADDR, address, size)
    except NoDataException:
        return None


def main():
    task = json.load(sys.stdin)
    core = open(task["core"], "rb")
    dumps = {int(level): kdumpfile.kdumpfile(path) for level, path in task["dumps"].items()}
    size = dumps[0].attr["arch.page_size"]
    top = max(physical + length for physical, length, _ in task["loads"])
    report = {
        "page_size": size,
        "architecture": dumps[0].attr["arch.name"],
        "in_core": 0,
        "kept": {level: 0 for level in dumps},
        "different": {level: [] for level in dumps},
        "lost": [],
        "invented": [],
        "dropped_but_not_zero": [],
        "unexplained": [],
        "dropped": [],
    }
    kinds = [level for level in dumps if level not in (0, 31)]
    for address in range(0, top, size):
        wanted = page_of_core(core, task["loads"], address, size)
        seen = {level: page_of_dump(dump, address, size) for level, dump in dumps.items()}
        if wanted is None:
            if any(page is not None for page in seen.values()):
                report["invented"].append(address)
            continue
        report["in_core"] += 1
        for level, page in seen.items():
            if page is not None:
                report["kept"][level] += 1
                if page != wanted:
                    report["different"][level].append(address)
        if seen[0] is None:
            report["lost"].append(address)
        if seen[1] is None and any(wanted):
            report["dropped_but_not_zero"].append(address)
        dropped = seen[31] is None
        if dropped:
            report["dropped"].append(address)
        if dropped != any(seen[level] is None for level in kinds):
            report["unexplained"].append(address)
    json.dump(report, sys.stdout)


main()
