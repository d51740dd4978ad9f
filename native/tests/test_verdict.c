/* Reasons: each has a name of its own, a verdict and a text. */
#include "check.h"

#include <glb/verdict.h>

#include <string.h>

static void every_reason_is_complete(void)
{
	for (unsigned i = 0; i < GLB_REASON_COUNT; i++) {
		const char *name = glb_reason_name(i), *text = glb_reason_text(i);

		CHECK(name != NULL && strcmp(name, "unknown") != 0);
		CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name));
		CHECK(text != NULL && strlen(text) > 10 && text[strlen(text) - 1] != '.');
		CHECK((glb_reason_verdict(i) == GLB_VERDICT_FORWARD) ==
		      (i == GLB_REASON_FORWARDED || i == GLB_REASON_OVERSIZE_FRAGMENTED || i == GLB_REASON_FRAGMENT_FROM_PEER));
		for (unsigned j = 0; j < i; j++)
			CHECK(strcmp(name, glb_reason_name(j)) != 0);
	}
}

static void numbers_out_of_range_are_safe(void)
{
	CHECK(strcmp(glb_reason_name(GLB_REASON_COUNT), "unknown") == 0);
	CHECK(strcmp(glb_reason_text(GLB_REASON_COUNT), "unknown") == 0);
	CHECK(glb_reason_verdict(GLB_REASON_COUNT) == GLB_VERDICT_DROP);
	CHECK(strcmp(glb_verdict_name(5), "unknown") == 0);
	CHECK(strcmp(glb_verdict_name(GLB_VERDICT_PUNT), "punt") == 0);
}

int main(void)
{
	static const struct check_case cases[] = {
		{"every reason is complete", every_reason_is_complete},
		{"numbers out of range are safe", numbers_out_of_range_are_safe},
	};

	return check_run(cases, sizeof(cases) / sizeof(cases[0]));
}
