/* Multiboot2 2.0, 3.6 "Boot information format". */
#include "payload.h"

static uint32_t word(uint32_t address)
{
	return *(const uint32_t *)(uintptr_t)address;
}

static uint64_t quad(uint32_t address)
{
	return *(const uint64_t *)(uintptr_t)address;
}

static void memory_map(uint32_t tag)
{
	uint32_t entry = tag + 16, end = tag + word(tag + 4);
	line("mmap_entry_version", word(tag + 12));
	for (; entry < end; entry += word(tag + 8)) {
		print("payload: mmap ");
		print_hex(quad(entry));
		print(" ");
		print_hex(quad(entry + 8));
		print(" ");
		print_hex(word(entry + 16));
		print("\r\n");
	}
}

void report_protocol(void)
{
	uint32_t info = registers.b;
	uint32_t end = info + word(info), modules = 0;
	line("info_misalignment", info & 7);
	line("info_reserved", word(info + 4));
	uint32_t tag = info + 8;
	while (tag < end && word(tag) != 0) {
		switch (word(tag)) {
		case 1:
			line_text("cmdline", (const char *)(uintptr_t)(tag + 8));
			break;
		case 2:
			line_text("loader", (const char *)(uintptr_t)(tag + 8));
			break;
		case 3:
			modules++;
			line("module_start", word(tag + 8));
			line("module_length", word(tag + 12) - word(tag + 8));
			line_text("module_text", (const char *)(uintptr_t)(tag + 16));
			line_bytes("module_data", word(tag + 8), word(tag + 12) - word(tag + 8));
			break;
		case 4:
			line("mem_lower", word(tag + 8));
			line("mem_upper", word(tag + 12));
			break;
		case 6:
			memory_map(tag);
			break;
		default:
			line("tag", word(tag));
		}
		tag += (word(tag + 4) + 7) & ~7u;
	}
	line("modules", modules);
	/* The tag that ends the list, and then nothing. */
	line("end_tag_size", word(tag + 4));
	line("behind_end", end - tag - 8);
}
