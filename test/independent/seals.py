"""Signatures and what is sealed with them (docs/protocol.md 3, 4)."""
import sys
from forms import fields, is_bytes, is_list, is_uint, need, sha

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.exit("verify.py needs the Python package cryptography (Debian: python3-cryptography)")


# -- 3 Ed25519, by hand where libraries differ --

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
IDENTITY = (0, 1, 1, 0)


def point_of(key):
    """The point, in extended coordinates; None if it is none or not canonically encoded."""
    y = int.from_bytes(key, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
        if (v * x * x - u) % P:
            return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(number, point):
    result = IDENTITY
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def same_point(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


admissible_keys = {}


def admissible(key):
    """Canonical, on the curve, of prime order: not small, no torsion part."""
    if key not in admissible_keys:
        point = point_of(key) if is_bytes(key, 32) else None
        good = point is not None and not same_point(times(8, point), IDENTITY)
        admissible_keys[key] = good and same_point(times(L, point), IDENTITY)
    return admissible_keys[key]


def valid(key, message, signature):
    """S < L and encode(S*B - k*A) = R, byte for byte: for admissible keys and S < L the library computes just that."""
    if not (is_bytes(signature, 64) and admissible(key)):
        return False
    if int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


# -- 4 seals --


def leaf_hash(kind, data):
    name = kind.encode()
    return sha(b"\x00", len(data).to_bytes(4, "big"), bytes([len(name)]), name, data)


class Sealed:
    def __init__(self, value):
        fields(value, "a sealed message", "b k s", "p")
        self.bytes, self.key, self.sig = value["b"], value["k"], value["s"]
        need(isinstance(self.bytes, bytes) and is_bytes(self.key, 32) and is_bytes(self.sig, 64), "a malformed seal")
        self.index, self.size, self.hashes = 0, 1, []
        if "p" in value:
            path = value["p"]
            need(is_list(path, 3, 3), "a malformed path")
            self.index, self.size, self.hashes = path
            need(is_uint(self.index) and is_uint(self.size) and 2 <= self.size <= 128, "a malformed path")
            need(self.index < self.size and isinstance(self.hashes, list), "a malformed path")
            need(all(is_bytes(one, 32) for one in self.hashes), "a malformed path")

    def id(self, kind):
        return leaf_hash(kind, self.bytes)

    def good(self, kind):
        steps, start, end = [], 0, self.size
        while end - start > 1:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            if self.index < middle:
                steps, end = steps + [True], middle
            else:
                steps, start = steps + [False], middle
        if len(steps) != len(self.hashes):
            return False
        node = self.id(kind)
        for is_right, sibling in zip(reversed(steps), self.hashes):
            node = sha(b"\x01", node, sibling) if is_right else sha(b"\x01", sibling, node)
        return valid(self.key, b"kin/seal/1" + node, self.sig)
