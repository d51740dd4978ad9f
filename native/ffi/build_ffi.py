"""Write the C source of the extension ``glbpy._glb`` from libglb's public headers.

The headers are the only definition: each is run through the C preprocessor with
``GLB_CFFI`` defined (which leaves out inline bodies and byte-order types), what the
system headers bring is dropped by its line markers, and cffi lets the compiler fill in every constant and
layout, so nothing here can drift from the C.
"""

import argparse
import re
import subprocess
from pathlib import Path

from cffi import FFI


def definitions(cc: str, include: str, headers: list[Path]) -> str:
    """Return the declarations of all headers, each once, as cffi's cdef takes them."""
    source = "".join(f'#include "glb/{header.name}"\n' for header in headers)
    text = subprocess.run(
        [cc, "-E", "-DGLB_CFFI", f"-I{include}", "-x", "c", "-"],
        input=source, capture_output=True, text=True, check=True,
    ).stdout
    lines = []
    ours = False
    for line in text.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            ours = "/glb/" in marker.group(1)
        elif ours and line.strip():
            lines.append(line)
    cdef = "\n".join(lines)
    # The compiler, not cffi, says what a constant is worth and how long an array is.
    cdef = re.sub(r"=\s*[^,}]+?(?=\s*[,}])", "= ...", cdef)
    return re.sub(r"\[GLB_\w+\]", "[...]", cdef)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--cc", required=True)
    parser.add_argument("--include", required=True)
    parser.add_argument("headers", nargs="+", type=Path)
    arguments = parser.parse_args()

    ffi = FFI()
    ffi.cdef(definitions(arguments.cc, arguments.include, arguments.headers))
    ffi.set_source(
        "glbpy._glb",
        "".join(f"#include <glb/{header.name}>\n" for header in arguments.headers),
    )
    ffi.emit_c_code(arguments.out)


if __name__ == "__main__":
    main()
