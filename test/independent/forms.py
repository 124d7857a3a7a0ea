"""Canonical CBOR and the text form of a mesh id (docs/protocol.md 1.1, 2)."""
import base64, hashlib, re


class Bad(Exception):
    """What is wrong, in words."""


def need(condition, why):
    if not condition:
        raise Bad(why)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def short(some_id):
    return some_id.hex()[:12]


# -- 1.1 canonical CBOR --

MAX_INT = 2**53 - 1


def decode(data):
    need(len(data) > 0, "empty CBOR")
    value, end = _decode(data, 0, 1)
    need(end == len(data), "bytes after a CBOR value")
    return value


def _decode(data, at, depth):
    need(at < len(data), "CBOR is cut off")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        need(info in (20, 21, 22), "a float, undefined or simple value")
        return {20: False, 21: True, 22: None}[info], at
    need(info <= 27, "an indefinite or reserved length")
    number = info
    if info >= 24:
        size = 1 << (info - 24)
        need(at + size <= len(data), "CBOR is cut off")
        number = int.from_bytes(data[at : at + size], "big")
        at += size
        need(number >= (24 if size == 1 else 1 << (4 * size)), "a number that is not in its shortest form")
    if major in (0, 1):
        value = number if major == 0 else -1 - number
        need(-MAX_INT <= value <= MAX_INT, "an integer beyond 2^53 - 1")
        return value, at
    if major in (2, 3):
        need(at + number <= len(data), "CBOR is cut off")
        raw = bytes(data[at : at + number])
        if major == 2:
            return raw, at + number
        try:
            return raw.decode("utf-8"), at + number
        except UnicodeDecodeError:
            raise Bad("invalid UTF-8")
    need(major in (4, 5), "a tag")
    need(depth <= 16, "more than 16 containers deep")
    if major == 4:
        need(number <= 4096, "an array of more than 4,096 items")
        items = []
        for _ in range(number):
            item, at = _decode(data, at, depth + 1)
            items.append(item)
        return items, at
    need(number <= 1024, "a map of more than 1,024 entries")
    result, last = {}, None
    for _ in range(number):
        key, at = _decode(data, at, depth + 1)
        need(isinstance(key, str) and key.isascii(), "a map key that is no ASCII text")
        need(key not in ("__proto__", "constructor", "prototype"), "a forbidden map key")
        order = (len(key), key)
        need(last is None or last < order, "map keys out of order or twice")
        last = order
        result[key], at = _decode(data, at, depth + 1)
    return result, at


def encode(value):
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        raw = value.encode("utf-8")
        return _head(3, len(raw)) + raw
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b"".join(encode(item) for item in value)
    keys = sorted(value, key=lambda key: (len(key), key))
    return _head(5, len(keys)) + b"".join(encode(key) + encode(value[key]) for key in keys)


def _head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise Bad("a number that is too large")


def fields(value, what, required, optional=""):
    """A map with exactly these keys."""
    need(isinstance(value, dict), what + " is no map")
    required, optional = required.split(), optional.split()
    for key in value:
        need(key in required or key in optional, '%s has no field "%s"' % (what, key))
    for key in required:
        need(key in value, '%s lacks "%s"' % (what, key))
    return value


def is_bytes(value, size):
    return isinstance(value, bytes) and len(value) == size


def is_uint(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_name(value):
    return isinstance(value, str) and re.fullmatch("[a-z][a-z0-9-]{0,31}", value) is not None


def is_tool_name(value):
    pattern = r"[a-z][a-z0-9-]{0,31}(\.[a-zA-Z0-9_-]{1,64}){0,3}"
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def is_list(value, low, high):
    return isinstance(value, list) and low <= len(value) <= high


def ascending(ids):
    return all(a < b for a, b in zip(ids, ids[1:]))


# -- 2 text forms --


def parse_mesh(text):
    text = "".join(text.split()).lower()
    need(text.startswith("kinm1"), '"%s" is no mesh id: that starts with kinm1' % text[:24])
    body = text[5:].upper()
    try:
        raw = base64.b32decode(body + "=" * (-len(body) % 8))
    except ValueError:
        raise Bad("the mesh id is damaged")
    canonical = base64.b32encode(raw).decode().rstrip("=") == body
    need(canonical and len(raw) == 37 and raw[0] == 1 and sha(raw[:33])[:4] == raw[33:], "the mesh id is damaged")
    return raw[1:33]


def format_mesh(mesh):
    raw = b"\x01" + mesh
    return "kinm1" + base64.b32encode(raw + sha(raw)[:4]).decode().lower().rstrip("=")
