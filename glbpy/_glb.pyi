# The cffi extension, built from native/ffi. Its types are C's: glbpy._native gives them Python ones.
from typing import Any

ffi: Any
lib: Any
