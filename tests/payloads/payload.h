/* What the payloads' files share. */
#include <stdint.h>

/* The registers at the first instruction, as entry.S saves them. */
struct registers {
	uint64_t a, b, c, d, si, di, bp, sp, flags;
	uint16_t cs, ds, es, fs, gs, ss;
};
extern struct registers registers;

void print(const char *text);
void print_hex(uint64_t value);
/* "payload: NAME VALUE" */
void line(const char *name, uint64_t value);
void line_text(const char *name, const char *text);
/* The first bytes at ADDRESS as text, up to a newline. */
void line_bytes(const char *name, uint64_t address, uint64_t length);

/* Prints what the protocol hands over. */
void report_protocol(void);
