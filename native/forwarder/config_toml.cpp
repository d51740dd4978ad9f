/* TOML to JSON text with toml++ (config_toml.h). Knows no keys. */
#undef NDEBUG /* see refuse_text() */

extern "C" {
#include "config_toml.h"
}

#include <cerrno>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

/* toml++ 3.3 asserts in places that malformed text reaches (a control character where a key begins): here that is an
 * error of the text. With NDEBUG it would go on as if nothing were. */
[[noreturn]] static void refuse_text()
{
	throw std::runtime_error("not TOML");
}

#define TOML_ASSERT(condition) ((condition) ? (void)0 : refuse_text())
#include <toml++/toml.h>

char *config_toml_to_json(const char *text, size_t len, const char *origin, struct glb_error *error)
{
	try {
		std::ostringstream out;

		out << toml::json_formatter{toml::parse(std::string_view(text, len), std::string_view(origin))};
		return strdup(out.str().c_str());
	} catch (const toml::parse_error &wrong) {
		glb_error_set(error, -EINVAL, "%s:%u:%u: not TOML: %s", origin, wrong.source().begin.line,
			      wrong.source().begin.column, std::string(wrong.description()).c_str());
	} catch (const std::exception &wrong) {
		glb_error_set(error, -EINVAL, "%s: %s", origin, wrong.what());
	}
	return nullptr;
}
