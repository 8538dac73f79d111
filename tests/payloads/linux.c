/* Linux's boot_params: Documentation/x86/zero-page.rst and boot.rst. */
#include "payload.h"

static uint8_t byte(uint64_t address)
{
	return *(const uint8_t *)(uintptr_t)address;
}

static uint32_t word(uint64_t address)
{
	return *(const uint32_t *)(uintptr_t)address;
}

static uint64_t quad(uint64_t address)
{
	return *(const uint64_t *)(uintptr_t)address;
}

void report_protocol(void)
{
	uint64_t params = registers.si;
	line("sentinel", byte(params + 0x1ef));
	line("boot_flag", word(params + 0x1fc) >> 16);
	line("header", word(params + 0x202));
	line("version", word(params + 0x206) & 0xffff);
	line("type_of_loader", byte(params + 0x210));
	line("code32_start", word(params + 0x214));
	uint64_t text = word(params + 0x228) | (uint64_t)word(params + 0xc8) << 32;
	line_text("cmdline", (const char *)(uintptr_t)text);
	uint64_t initrd = word(params + 0x218) | (uint64_t)word(params + 0xc0) << 32;
	line("initrd_length", word(params + 0x21c));
	line_bytes("initrd", initrd, word(params + 0x21c));
	for (uint32_t i = 0; i < byte(params + 0x1e8); i++) {
		uint64_t entry = params + 0x2d0 + 20 * i;
		print("payload: mmap ");
		print_hex(quad(entry));
		print(" ");
		print_hex(quad(entry + 8));
		print(" ");
		print_hex(word(entry + 16));
		print("\r\n");
	}
}
