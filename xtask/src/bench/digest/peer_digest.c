/*
 * peer_digest FILE PASSES
 *
 * Times kexec-tools' SHA-256, which it is linked with: prints the file's digest, then the
 * nanoseconds of each pass, one to a line, as tests/digest does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sha256.h"

static long long nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void digest_of(const uint8_t *message, size_t length, sha256_digest_t digest)
{
	sha256_context context;

	sha256_starts(&context);
	sha256_update(&context, message, length);
	sha256_finish(&context, digest);
}

int main(int argc, char **argv)
{
	sha256_digest_t digest;
	uint8_t *message;
	long length;
	int passes;
	FILE *file;

	if (argc != 3 || !(file = fopen(argv[1], "rb")) || fseek(file, 0, SEEK_END)) {
		fprintf(stderr, "usage: peer_digest FILE PASSES\n");
		return 1;
	}
	length = ftell(file);
	rewind(file);
	message = length > 0 ? malloc(length) : NULL;
	if (!message || fread(message, 1, length, file) != (size_t)length) {
		fprintf(stderr, "peer_digest: cannot read %s\n", argv[1]);
		return 1;
	}
	digest_of(message, length, digest);
	for (size_t i = 0; i < sizeof digest; i++)
		printf("%02x", digest[i]);
	printf("\n");
	for (passes = atoi(argv[2]); passes > 0; passes--) {
		long long start = nanoseconds();

		digest_of(message, length, digest);
		printf("%lld\n", nanoseconds() - start);
	}
	return 0;
}
