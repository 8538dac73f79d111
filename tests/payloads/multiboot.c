/* Multiboot 0.6.96, 3.3 "Boot information format". */
#include "payload.h"

static uint32_t word(uint32_t address)
{
	return *(const uint32_t *)(uintptr_t)address;
}

void report_protocol(void)
{
	uint32_t info = registers.b;
	uint32_t flags = word(info);
	line("info_flags", flags);
	if (flags & 1 << 0) {
		line("mem_lower", word(info + 4));
		line("mem_upper", word(info + 8));
	}
	if (flags & 1 << 2)
		line_text("cmdline", (const char *)(uintptr_t)word(info + 16));
	if (flags & 1 << 3) {
		line("modules", word(info + 20));
		for (uint32_t i = 0; i < word(info + 20); i++) {
			uint32_t module = word(info + 24) + 16 * i;
			line("module_start", word(module));
			line("module_length", word(module + 4) - word(module));
			line_text("module_text", (const char *)(uintptr_t)word(module + 8));
			line_bytes("module_data", word(module), word(module + 4) - word(module));
		}
	}
	if (flags & 1 << 6) {
		uint32_t entry = word(info + 48), end = entry + word(info + 44);
		for (; entry < end; entry += word(entry) + 4) {
			print("payload: mmap ");
			print_hex(*(const uint64_t *)(uintptr_t)(entry + 4));
			print(" ");
			print_hex(*(const uint64_t *)(uintptr_t)(entry + 12));
			print(" ");
			print_hex(word(entry + 20));
			print("\r\n");
		}
	}
	if (flags & 1 << 9)
		line_text("loader", (const char *)(uintptr_t)word(info + 64));
}
