/* ELF boot notes: a pointer to them is the first argument of the entry, as of a C function. */
#include "payload.h"

static uint32_t word(uintptr_t address)
{
	return *(const uint32_t *)address;
}

void report_protocol(void)
{
#ifdef __x86_64__
	uintptr_t notes = registers.di;
#else
	line("return_address", word(registers.sp));
	uintptr_t notes = word(registers.sp + 4);
#endif
	line("signature", word(notes));
	uint32_t size = word(notes + 4), sum = 0;
	for (uint32_t at = 0; at < size; at += 2)
		sum += *(const uint16_t *)(notes + at);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	line("sum", sum);
	line("records", *(const uint16_t *)(notes + 10));
	uintptr_t note = notes + 12;
	while (note < notes + size) {
		uint32_t name = (word(note) + 3) & ~3u, text = (word(note + 4) + 3) & ~3u;
		if (word(note + 8) == 2)
			line_text("loader", (const char *)(note + 12 + name));
		if (word(note + 8) == 4)
			line_text("cmdline", (const char *)(note + 12 + name));
		note += 12 + name + text;
	}
	line("behind_end", note - notes - size);
}
