/* The state of the machine at the entry, on the first serial port; then a reset. */
#include "payload.h"

static void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put(char byte)
{
	while (!(inb(0x3fd) & 0x20))
		;
	outb(0x3f8, byte);
}

void print(const char *text)
{
	while (*text)
		put(*text++);
}

void print_hex(uint64_t value)
{
	int shift = 60;
	while (shift && !(value >> shift & 15))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

void line(const char *name, uint64_t value)
{
	print("payload: ");
	print(name);
	put(' ');
	print_hex(value);
	print("\r\n");
}

void line_text(const char *name, const char *text)
{
	print("payload: ");
	print(name);
	put(' ');
	print(text);
	print("\r\n");
}

void line_bytes(const char *name, uint64_t address, uint64_t length)
{
	const char *bytes = (const char *)(uintptr_t)address;
	print("payload: ");
	print(name);
	put(' ');
	for (uint64_t i = 0; i < length && bytes[i] >= ' '; i++)
		put(bytes[i]);
	print("\r\n");
}

struct __attribute__((packed)) table {
	uint16_t limit;
	uintptr_t base;
};

/* The descriptor of a selector as the table in memory has it. */
static void line_descriptor(const char *name, uint16_t selector)
{
	struct table gdt;
	__asm__ volatile("sgdt %0" : "=m"(gdt));
	line(name, selector);
	uint64_t descriptor = 0;
	if ((selector | 7) <= gdt.limit)
		descriptor = *(const uint64_t *)(gdt.base + (selector & ~7));
	print("payload: ");
	print(name);
	print("_descriptor ");
	print_hex(descriptor);
	print("\r\n");
}

/* Whether addresses of the first and second MiB are different memory. */
static int is_a20_open(void)
{
	volatile uint32_t *low = (volatile uint32_t *)0x500;
	volatile uint32_t *high = (volatile uint32_t *)0x100500;
	uint32_t was_low = *low, was_high = *high;
	*low = 0x12345678;
	*high = 0x87654321;
	int open = *low == 0x12345678;
	*high = was_high;
	*low = was_low;
	return open;
}

/* Large, so that some of it is where the file has nothing. */
static uint8_t must_be_zero[64 << 10];

static uint64_t sum_of_bss(void)
{
	uint64_t sum = 0;
	volatile uint8_t *bytes = must_be_zero;
	for (uint32_t i = 0; i < sizeof must_be_zero; i++)
		sum += bytes[i];
	return sum;
}

static void control_registers(void)
{
	uintptr_t value;
	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
	line("cr0", value);
	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	line("cr4", value);
	uint32_t a = 0x80000000, b, c, d, low = 0, high;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	if (a >= 0x80000001) {
		a = 0x80000001;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
		if (d & (1u << 29)) /* long mode: there is EFER */
			__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000080));
	}
	line("efer", low);
}

void report(void)
{
	line("bits", sizeof(uintptr_t) * 8);
	line("a", registers.a);
	line("b", registers.b);
	line("c", registers.c);
	line("d", registers.d);
	line("si", registers.si);
	line("di", registers.di);
	line("bp", registers.bp);
	line("flags", registers.flags);
	control_registers();
	line_descriptor("cs", registers.cs);
	line_descriptor("ds", registers.ds);
	line_descriptor("es", registers.es);
	line_descriptor("fs", registers.fs);
	line_descriptor("gs", registers.gs);
	line_descriptor("ss", registers.ss);
	line("a20", is_a20_open());
	line("bss", sum_of_bss());
	report_protocol();
	print("payload: end\r\n");
	/* The keyboard controller's reset line. */
	while (inb(0x64) & 2)
		;
	outb(0x64, 0xfe);
	for (;;)
		__asm__ volatile("hlt");
}
