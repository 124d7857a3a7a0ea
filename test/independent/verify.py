#!/usr/bin/env python3
"""Verifies an export of kin by itself. Written from docs/protocol.md alone (the numbers are its sections), not from kin's code.

    verify.py [--mesh kinm1...] FILE...  proves each export or says what is wrong with it, one line of JSON each; exit 0 or 1
    verify.py --vectors FOLDER           checks itself against test/vectors/*.json

Needs Python 3.9 and its package cryptography (SHA-2 and big integers are Python's own).
"""
import base64, hashlib, json, os, re, sys

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    sys.exit("verify.py needs the Python package cryptography (Debian: python3-cryptography)")


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


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def encode_point(p):
    inverse = pow(p[2], P - 2, P)
    x, y = p[0] * inverse % P, p[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


admissible_keys = {}


def admissible(key):
    """Canonical, on the curve, of prime order: not small, no torsion part."""
    if key not in admissible_keys:
        point = point_of(key) if is_bytes(key, 32) else None
        good = point is not None and not same_point(times(8, point), IDENTITY)
        admissible_keys[key] = good and same_point(times(L, point), IDENTITY)
    return admissible_keys[key]


def valid_by_hand(key, message, signature):
    """S < L and encode(S*B - k*A) = R, byte for byte."""
    if not (is_bytes(key, 32) and is_bytes(signature, 64)):
        return False
    r, s, a = signature[:32], int.from_bytes(signature[32:], "little"), point_of(key)
    if s >= L or a is None:
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L
    negative = (P - a[0], a[1], a[2], P - a[3])
    return encode_point(add(times(s, BASE), times(k, negative))) == r


def valid(key, message, signature):
    """The same, 40 times faster: for admissible keys and S < L the library computes the same equation."""
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


# -- 8 roster records --

ENDERS = ("remove", "leave", "device-removed", "person-rekeyed", "invite-closed")
TYPES = {
    "genesis": ("name founder personKey device cert policy", "recovery"),
    "admit": ("name personKey role device cert invite use challenge proof", "recovery"),
    "remove": ("person cuts", ""),
    "leave": ("cuts", ""),
    "role": ("person role", ""),
    "device-added": ("person device cert", ""),
    "device-removed": ("device cuts", ""),
    "sealing-key": ("sealing", ""),
    "person-rekeyed": ("person personKey devices cuts", "recovery"),
    "rename": ("person name", ""),
    "invite-opened": ("key name role expires shares", ""),
    "invite-closed": ("invite", ""),
    "epoch": ("after keyHash keys", ""),
    "log-allowed": ("device logs", "word"),
}


def certified(cert, key, scope, device, sealing):
    """Is `cert` a certificate for this device by this person key?"""
    try:
        said = fields(decode(cert.bytes), "a certificate", "v scope device sealing n")
    except Bad:
        return False
    right = said["v"] == 1 and said["scope"] == scope and said["device"] == device and said["sealing"] == sealing
    return right and is_bytes(said["n"], 16) and cert.key == key and cert.good("certificate")


class Record:
    """8: checked alone."""

    def __init__(self, sealed):
        self.sealed = sealed
        need(len(sealed.bytes) <= 261120, "a roster record that is too large")
        body = self.body = decode(sealed.bytes)
        need(isinstance(body, dict) and body.get("v") == 1 and not isinstance(body.get("v"), bool), "a roster record of another version")
        self.type = body.get("type")
        need(self.type in TYPES, "a roster record of an unknown type")
        required, optional = TYPES[self.type]
        first = "v type hlc n " if self.type == "genesis" else "v mesh type author parents hlc n "
        what = 'a roster record "%s"' % self.type
        fields(body, what, first + required, optional)
        need(is_bytes(body["hlc"], 8) and is_bytes(body["n"], 16), what + ": hlc or n")
        self.hlc = body["hlc"]
        if self.type == "genesis":
            self.id = sealed.id("genesis")
            self.mesh, self.parents = self.id, []
            self.person = sha(b"kin/person/1", self.id)
            self.device = body["device"].get("key") if isinstance(body["device"], dict) else None
            need(sealed.key == body["personKey"], what + " is not sealed by its person key")
        else:
            self.id = sealed.id("roster")
            self.mesh, self.parents = body["mesh"], body["parents"]
            need(is_bytes(self.mesh, 32) and is_list(body["author"], 2, 2), what + ": mesh or author")
            self.person, self.device = body["author"]
            need(is_bytes(self.person, 32) and is_bytes(self.device, 32), what + ": author")
            need(is_list(self.parents, 1, 64) and all(is_bytes(one, 32) for one in self.parents), what + ": parents")
            need(ascending(self.parents), what + ": parents are not ascending")
            need(sealed.key == self.device, what + " is not sealed by its author's device")
        self._check(what, body)
        need(sealed.good("genesis" if self.type == "genesis" else "roster"), what + ": its signature is not good")

    def _check(self, what, body):
        keys = []
        for field, check in (
            ("name", lambda v: is_name(v) or (self.type == "invite-opened" and v is None)),
            ("founder", is_name),
            ("personKey", lambda v: is_bytes(v, 32)),
            ("policy", lambda v: v in ("reads-all", "from-epoch")),
            ("role", lambda v: v in ("admin", "member")),
            ("use", lambda v: is_uint(v) and v <= 49),
            ("challenge", lambda v: is_bytes(v, 32)),
            ("proof", lambda v: is_bytes(v, 64)),
            ("person", lambda v: is_bytes(v, 32)),
            ("invite", lambda v: is_bytes(v, 32)),
            ("sealing", lambda v: is_bytes(v, 32)),
            ("key", lambda v: is_bytes(v, 32)),
            ("expires", is_uint),
            ("keyHash", lambda v: is_bytes(v, 32)),
        ):
            need(field not in body or check(body[field]), "%s: %s" % (what, field))
        if "cuts" in body:
            cuts = body["cuts"]
            need(is_list(cuts, 0, 1024), what + ": cuts")
            for cut in cuts:
                need(is_list(cut, 3, 3) and is_bytes(cut[0], 32) and is_uint(cut[1]) and is_bytes(cut[2], 32), what + ": cuts")
            need(ascending([cut[0] for cut in cuts]), what + ": cuts are not ascending")
        scope = body["n"] if self.type == "genesis" else self.mesh
        if self.type in ("device-removed", "log-allowed"):
            need(is_bytes(body["device"], 32), what + ": device")
        elif "device" in body:
            device = self._device(what, body["device"])
            self.cert = Sealed(body["cert"])
            keys.append(device["key"])
            if self.type in ("genesis", "admit"):
                need(certified(self.cert, body["personKey"], scope, device["key"], device["sealing"]), what + ": its certificate is not good")
                keys.append(body["personKey"])
        if "recovery" in body and self.type != "person-rekeyed":
            need(is_bytes(body["recovery"], 32), what + ": recovery")
            keys.append(body["recovery"])
        if self.type == "person-rekeyed":
            keys.append(body["personKey"])
            need(is_list(body["devices"], 1, 16), what + ": devices")
            for entry in body["devices"]:
                fields(entry, what, "device cert")
                device = self._device(what, entry["device"])
                good = certified(Sealed(entry["cert"]), body["personKey"], scope, device["key"], device["sealing"])
                need(good, what + ": a certificate is not good")
                keys.append(device["key"])
            self.recovery = Sealed(body["recovery"]) if "recovery" in body else None
        if self.type == "invite-opened":
            keys.append(body["key"])
            shares = body["shares"]
            need(is_list(shares, 1, 16), what + ": shares")
            for share in shares:
                need(is_list(share, 2, 2) and is_bytes(share[0], 32) and is_uint(share[1]) and 1 <= share[1] <= 50, what + ": shares")
            need(ascending([share[0] for share in shares]) and sum(share[1] for share in shares) <= 50, what + ": shares")
        if self.type == "log-allowed":
            logs = body["logs"]
            need(is_list(logs, 1, 16) and all(is_bytes(one, 32) for one in logs) and ascending(logs), what + ": logs")
            self.word = Sealed(body["word"]) if "word" in body else None
        if self.type == "epoch":
            after, sealed = body["after"], body["keys"]
            need(is_list(after, 0, 64) and all(is_bytes(one, 32) for one in after) and ascending(after), what + ": after")
            need(is_list(sealed, 1, 2000), what + ": keys")
            for one in sealed:
                need(is_list(one, 3, 3) and is_bytes(one[0], 32) and is_bytes(one[1], 32) and is_bytes(one[2], 48), what + ": keys")
            need(ascending([one[0] for one in sealed]), what + ": keys are not ascending")
        for key in keys:
            need(admissible(key), what + " brings a key that is no Ed25519 key of prime order")

    @staticmethod
    def _device(what, value):
        fields(value, what, "key name sealing")
        need(is_bytes(value["key"], 32) and is_name(value["name"]) and is_bytes(value["sealing"], 32), what + ": device")
        return value

    def is_ender(self):
        return self.type in ENDERS or (self.type == "role" and self.body["role"] == "member")

    def brings(self):
        """The devices that a record brings."""
        if self.type in ("genesis", "admit", "device-added"):
            return [self.body["device"]["key"]]
        if self.type == "person-rekeyed":
            return [entry["device"]["key"] for entry in self.body["devices"]]
        return []


# -- 9 the fold --


class Tables:
    def __init__(self):
        self.persons, self.devices, self.invites, self.epochs = {}, {}, {}, {}
        self.accepted, self.void, self.allowances = [], set(), []


class Roster:
    def __init__(self, records):
        self.nodes, self.order, self.folds = {}, [], {}
        waiting = {record.id: record for record in records}
        progress = True
        while progress:
            progress = False
            for record in sorted(waiting.values(), key=lambda one: one.id):
                if all(parent in self.nodes for parent in record.parents):
                    self._place(record)
                    del waiting[record.id]
                    progress = True
        self.waiting = sorted(waiting)
        need(self.order and self.order[0].type == "genesis", "there is no genesis")
        self.all_bits = (1 << len(self.order)) - 1
        self.tables = self.fold(self.all_bits)

    def _place(self, node):
        node.index = len(self.order)
        parents = [self.nodes[one] for one in node.parents]
        node.past = 0
        for parent in parents:
            node.past |= parent.past | 1 << parent.index
        node.depth = max([parent.depth + 1 for parent in parents], default=0)
        self.nodes[node.id] = node
        self.order.append(node)
        if node.type == "genesis":
            node.verdict, node.needs_admin, node.rank = False, False, (0, node.id, 0, b"")
            node.required, node.any_of = [], []
        else:
            self._judge(node)

    # 9.1, 9.2

    @staticmethod
    def before(a, b):
        """a is in the past of b."""
        return b.past >> a.index & 1 == 1

    def maximal(self, nodes):
        return [one for one in nodes if not any(self.before(one, other) for other in nodes)]

    @staticmethod
    def cause(node):
        return (node.depth, node.id)

    def seniority(self, node):
        return (node.rank, self.cause(node))

    def role(self, t, person):
        entry = t.persons[person]
        newest = self.maximal(entry["roles"])
        if not newest:
            return entry["baseRole"]
        return "admin" if all(one.body["role"] == "admin" for one in newest) else "member"

    def admin_grants(self, t, person):
        if self.role(t, person) != "admin":
            return []
        return sorted(self.maximal(t.persons[person]["roles"]), key=self.seniority)

    def grant_of(self, t, person):
        grants = self.admin_grants(t, person)
        return grants[0] if grants else t.persons[person]["admission"]

    def grants(self, t, person):
        return 0 if t.persons[person]["founder"] else 1 + self.grant_of(t, person).rank[0]

    @staticmethod
    def ends_person(e, person):
        return (e.type == "remove" and e.body["person"] == person) or (e.type == "leave" and e.person == person)

    def ends_device(self, e, device, person, grant):
        if e.type == "remove":
            return e.body["person"] == person
        if e.type == "leave":
            return e.person == person
        if e.type == "device-removed":
            return e.body["device"] == device
        if e.type == "person-rekeyed":
            return e.body["person"] == person and device not in e.brings() and not self.before(e, grant)
        return False

    def closes_invite(self, e, invite):
        if self.before(e, invite):
            return False
        if e.type == "invite-closed":
            return e.body["invite"] == invite.id
        if e.type == "role":
            return e.body["person"] == invite.person
        return self.ends_person(e, invite.person) or self.ends_device(e, invite.device, invite.person, invite)

    def living(self, t, person):
        return person in t.persons and not any(self.ends_person(e, person) for e in t.accepted)

    def device_lives(self, t, device):
        entry = t.devices.get(device)
        if entry is None or not self.living(t, entry["person"]):
            return False
        return not any(self.ends_device(e, device, entry["person"], entry["grant"]) for e in t.accepted)

    def is_admin(self, t, person):
        return self.living(t, person) and self.role(t, person) == "admin"

    def admins(self, t):
        return [person for person in t.persons if self.is_admin(t, person)]

    def invite_closed(self, t, invite):
        return any(self.closes_invite(e, invite) for e in t.accepted)

    def named(self, t, name, but=None):
        return any(entry["name"] == name for person, entry in t.persons.items() if person != but)

    def living_devices(self, t, person):
        return [one for one, entry in t.devices.items() if entry["person"] == person and self.device_lives(t, one)]

    # 9.3

    def _judge(self, r):
        v = self.fold(r.past)
        recovers = r.type == "person-rekeyed" and r.recovery is not None
        if recovers:
            return self._judge_recovery(r, v)
        known = r.person in v.persons and r.device in v.devices and v.devices[r.device]["person"] == r.person
        if not known:
            r.verdict, r.needs_admin, r.required, r.any_of = True, True, [], []
            r.rank = (float("inf"), b"", 0, b"")
            return
        entry = v.devices[r.device]
        grant = self.grant_of(v, r.person)
        r.rank = (self.grants(v, r.person), grant.id, entry["grants"], entry["grant"].id)
        r.needs_admin = self._needs_admin(r, v)
        admission = v.persons[r.person]["admission"]
        r.required = [admission] + ([entry["grant"]] if entry["grant"] is not admission else [])
        if r.type == "admit" and r.body["invite"] in v.invites:
            r.required.append(v.invites[r.body["invite"]]["record"])
        r.any_of = self.admin_grants(v, r.person) if r.needs_admin else []
        dead = not self.living(v, r.person) or not self.device_lives(v, r.device)
        weak = r.needs_admin and self.role(v, r.person) != "admin"
        r.verdict = dead or weak or self._void_by_type(r, v)

    def _judge_recovery(self, r, v):
        body = r.body
        r.needs_admin, r.any_of, r.required = False, [], []
        if r.person != body["person"] or r.person not in v.persons:
            r.verdict, r.needs_admin, r.rank = True, True, (float("inf"), b"", 0, b"")
            return
        person = v.persons[r.person]
        r.required, r.rank = [person["admission"]], (-1, person["admission"].id, 0, b"")
        r.verdict = r.device not in r.brings() or not self._recovered(r, person["recovery"]) or self._void_by_type(r, v)

    def _recovered(self, r, key):
        if key is None or r.recovery.key != key or not r.recovery.good("certificate"):
            return False
        try:
            said = fields(decode(r.recovery.bytes), "a recovery", "v mesh person personKey devices n")
        except Bad:
            return False
        right = said["v"] == 1 and said["mesh"] == r.mesh and said["person"] == r.body["person"]
        right = right and said["personKey"] == r.body["personKey"] and said["devices"] == r.brings()
        return right and is_bytes(said["n"], 16)

    def _needs_admin(self, r, v):
        body = r.body
        if r.type in ("leave", "sealing-key", "epoch"):
            return False
        if r.type == "role" and body["role"] == "member":
            return body["person"] != r.person
        if r.type in ("device-added", "rename"):
            return body["person"] != r.person
        if r.type == "device-removed":
            entry = v.devices.get(body["device"])
            return entry is None or entry["person"] != r.person
        if r.type == "log-allowed" and r.word is not None:
            entry = v.devices.get(body["device"])
            return entry is None or entry["person"] != r.person
        return True

    @staticmethod
    def _word_spent(t, device):
        return any(one.word is not None and one.body["device"] == device for one in t.allowances)

    def _worded(self, r, key):
        """Is its word by this person key, for exactly these logs?"""
        if r.word.key != key or not r.word.good("certificate"):
            return False
        try:
            said = fields(decode(r.word.bytes), "a word", "v mesh device logs n")
        except Bad:
            return False
        right = said["v"] == 1 and said["mesh"] == r.mesh and said["device"] == r.body["device"]
        return right and said["logs"] == r.body["logs"] and is_bytes(said["n"], 16)

    def _void_by_type(self, r, v):
        body, kind = r.body, r.type
        if kind == "leave":
            return self.admins(v) == [r.person]
        if kind == "admit":
            return self._void_admit(r, v)
        if kind == "remove":
            person = body["person"]
            if not self.living(v, person) or person == r.person or v.persons[person]["founder"]:
                return True
            return self.admins(v) == [person]
        if kind == "role":
            person, role = body["person"], body["role"]
            if not self.living(v, person) or (person == r.person and role == "admin") or self.role(v, person) == role:
                return True
            if role == "admin":
                return False
            return (v.persons[person]["founder"] and person != r.person) or self.admins(v) == [person]
        if kind == "device-added":
            person, device = body["person"], body["device"]
            if not self.living(v, person) or device["key"] in v.devices:
                return True
            living = self.living_devices(v, person)
            if len(living) >= 16 or any(v.devices[one]["name"] == device["name"] for one in living):
                return True
            return not certified(r.cert, v.persons[person]["personKey"], r.mesh, device["key"], device["sealing"])
        if kind == "device-removed":
            device = body["device"]
            if device not in v.devices or not self.device_lives(v, device):
                return True
            owner = v.devices[device]["person"]
            if owner != r.person:
                return v.persons[owner]["founder"]
            return self.living_devices(v, owner) == [device]
        if kind == "person-rekeyed":
            person, devices = body["person"], [entry["device"] for entry in body["devices"]]
            if not self.living(v, person):
                return True
            if len({one["key"] for one in devices}) < len(devices) or len({one["name"] for one in devices}) < len(devices):
                return True
            known = [one["key"] for one in devices if one["key"] in v.devices]
            return any(v.devices[one]["person"] != person or not self.device_lives(v, one) for one in known)
        if kind == "rename":
            return not self.living(v, body["person"]) or self.named(v, body["name"], but=body["person"])
        if kind == "invite-opened":
            for device, _ in body["shares"]:
                if not self.device_lives(v, device) or self.role(v, v.devices[device]["person"]) != "admin":
                    return True
            return False
        if kind == "invite-closed":
            invite = v.invites.get(body["invite"])
            return invite is None or self.invite_closed(v, invite["record"])
        if kind == "epoch":
            return any(one not in v.epochs for one in body["after"])
        if kind == "log-allowed":
            device = body["device"]
            if device not in v.devices or not self.device_lives(v, device):
                return True
            if r.word is None:
                return False
            person = v.persons[v.devices[device]["person"]]
            return not self._worded(r, person["personKey"]) or self._word_spent(v, device)
        return False  # sealing-key

    def _void_admit(self, r, v):
        body = r.body
        invite = v.invites.get(body["invite"])
        if invite is None or self.invite_closed(v, invite["record"]):
            return True
        opened = invite["record"].body
        uses = dict((device, count) for device, count in opened["shares"]).get(r.device)
        if body["role"] != opened["role"] or uses is None or body["use"] >= uses:
            return True
        if any((device, use) == (r.device, body["use"]) for device, use, _ in invite["used"]):
            return True
        if int.from_bytes(r.hlc[:6], "big") > opened["expires"]:
            return True
        device = body["device"]
        said = [r.mesh, body["invite"], body["personKey"], device["key"], device["sealing"], r.device, body["challenge"]]
        if not valid(opened["key"], b"kin/join/1" + encode(said), body["proof"]):
            return True
        return self.named(v, body["name"]) or device["key"] in v.devices

    # 9.4

    def voids(self, e, r):
        if e is r or self.before(r, e):
            return False
        if r.type == "admit":
            invite = next((one for one in r.required if one.type == "invite-opened"), None)
            if invite is not None and self.closes_invite(e, invite):
                return True
        if e.type == "role":
            return e.body["person"] == r.person and r.needs_admin and not self.before(e, r)
        return self.ends_person(e, r.person) or self.ends_author_device(e, r)

    def ends_author_device(self, e, r):
        grant = next((one for one in r.required if r.device in one.brings()), None)
        return grant is not None and self.ends_device(e, r.device, r.person, grant)

    # 9.5

    def fold(self, bits):
        if bits not in self.folds:
            nodes = sorted((one for one in self.order if bits >> one.index & 1), key=self.cause)
            excluded = set()
            while True:
                outcome = self._round(nodes, excluded)
                if isinstance(outcome, Tables):
                    self.folds[bits] = outcome
                    break
                excluded.add(outcome)
        return self.folds[bits]

    def _round(self, nodes, excluded):
        """The tables, or the loser."""
        accepted, voided = [], set()
        candidates = [one for one in nodes if one.is_ender() and not one.verdict and one not in excluded]
        for e in sorted(candidates, key=self.seniority):
            if any(self.voids(a, e) for a in accepted) or self._chain_broken(e, accepted, {}):
                voided.add(e)
            else:
                accepted.append(e)
        t, valid_ones, brought = Tables(), {nodes[0]}, {}
        self._apply(t, nodes[0])
        for device in nodes[0].brings():
            brought[device] = nodes[0]
        for r in nodes[1:]:
            ends = r in accepted
            void = bool(r.verdict) or r in excluded or r in voided
            if not void and not ends:
                void = any(self.voids(e, r) for e in accepted)
            if not void and self._lost_ground(r, t, accepted, valid_ones):
                if ends:
                    return r
                void = True
            if not void and not ends:
                void = self._clashes(r, t)
            if void:
                t.void.add(r.id)
                continue
            for device in r.brings():
                if device in brought and not self.before(brought[device], r):
                    return max(brought[device], r, key=self.seniority)
                brought.setdefault(device, r)
            valid_ones.add(r)
            self._apply(t, r)
        if not self.admins(t):
            ended = [one for one in accepted if one.type in ("remove", "leave", "role")]
            if ended:
                return max(self.maximal(ended), key=self.seniority)
        return t

    def _chain_broken(self, r, accepted, known):
        def broken(grant):
            if grant not in known:
                known[grant] = any(self.voids(a, grant) for a in accepted) or self._chain_broken(grant, accepted, known)
            return known[grant]

        return any(broken(g) for g in r.required) or (bool(r.any_of) and all(broken(g) for g in r.any_of))

    def _lost_ground(self, r, t, accepted, valid_ones):
        if any(g not in valid_ones for g in r.required):
            return True
        known = [e for e in accepted if self.before(e, r)]
        if any(self.ends_person(e, r.person) or self.ends_author_device(e, r) for e in known):
            return True
        if r.needs_admin and (r.person not in t.persons or self._role_before(r, t) != "admin"):
            return True
        body = r.body
        if "person" in body and body["person"] not in t.persons:
            return True
        if r.type in ("device-removed", "log-allowed") and body["device"] not in t.devices:
            return True
        return r.type == "invite-closed" and body["invite"] not in t.invites

    def _role_before(self, r, t):
        entry = t.persons[r.person]
        newest = self.maximal([one for one in entry["roles"] if self.before(one, r)])
        if not newest:
            return entry["baseRole"]
        return "admin" if all(one.body["role"] == "admin" for one in newest) else "member"

    def _clashes(self, r, t):
        if r.type == "admit":
            invite = t.invites.get(r.body["invite"])
            return invite is not None and any((d, u) == (r.device, r.body["use"]) for d, u, _ in invite["used"])
        if r.type == "log-allowed":
            return r.word is not None and self._word_spent(t, r.body["device"])
        return r.type == "device-added" and len(self.living_devices(t, r.body["person"])) >= 16

    # 9.6

    def _concedes(self, r, by):
        """The one that set it last is concurrent with r and more senior."""
        return by is not None and not self.before(by, r) and self.seniority(by) < self.seniority(r)

    def _add_device(self, t, r, person, device, grants):
        t.devices[device["key"]] = {"person": person, "grant": r, "grants": grants, "name": device["name"], "sealing": device["sealing"], "sealingBy": r}

    def _apply(self, t, r):
        body = r.body
        if r.is_ender():
            t.accepted.append(r)
        if r.type in ("genesis", "admit"):
            first = r.type == "genesis"
            person = sha(b"kin/person/1", r.id)
            t.persons[person] = {
                "admission": r, "founder": first, "baseRole": "admin" if first else body["role"], "roles": [],
                "name": body["founder"] if first else body["name"], "nameBy": r,
                "personKey": body["personKey"], "keyBy": r, "recovery": body.get("recovery"),
            }
            self._add_device(t, r, person, body["device"], 0)
            if not first:
                t.invites[body["invite"]]["used"].append((r.device, body["use"], r))
        elif r.type == "role":
            t.persons[body["person"]]["roles"].append(r)
        elif r.type == "rename":
            entry = t.persons[body["person"]]
            if not self._concedes(r, entry["nameBy"]):
                entry["name"], entry["nameBy"] = body["name"], r
        elif r.type == "sealing-key":
            entry = t.devices[r.device]
            if not self._concedes(r, entry["sealingBy"]):
                entry["sealing"], entry["sealingBy"] = body["sealing"], r
        elif r.type == "device-added":
            self._add_device(t, r, body["person"], body["device"], self._device_grants(t, r, body["person"]))
        elif r.type == "person-rekeyed":
            entry = t.persons[body["person"]]
            if not self._concedes(r, entry["keyBy"]):
                entry["personKey"], entry["keyBy"] = body["personKey"], r
            for one in body["devices"]:
                device = one["device"]
                known = t.devices.get(device["key"])
                if known is None:
                    self._add_device(t, r, body["person"], device, self._device_grants(t, r, body["person"]))
                elif known["person"] == body["person"] and not self._concedes(r, known["sealingBy"]):
                    known["name"], known["sealing"], known["sealingBy"] = device["name"], device["sealing"], r
        elif r.type == "invite-opened":
            t.invites[r.id] = {"record": r, "used": []}
        elif r.type == "epoch":
            t.epochs[r.id] = r
        elif r.type == "log-allowed":
            t.allowances.append(r)

    def _device_grants(self, t, r, person):
        author = t.devices.get(r.device)
        return 1 + author["grants"] if author is not None and author["person"] == person else 1

    # 9.7

    def members(self):
        t = self.tables
        return {person: entry for person, entry in t.persons.items() if self.living(t, person)}

    def device_person(self, device):
        """Whose device it is or was, None if it never was a member's."""
        entry = self.tables.devices.get(device)
        return None if entry is None else entry["person"]

    def lives(self, device):
        return self.device_lives(self.tables, device)

    def allowed(self, device, log):
        return any(one.body["device"] == device and log in one.body["logs"] for one in self.tables.allowances)

    def _cuts_of(self, enders):
        last = [e for e in enders if not any(self.before(other, e) for other in enders)]
        cuts = [{log: (seq, event) for log, seq, event in e.body["cuts"]} for e in last]
        common = set(cuts[0]).intersection(*cuts) if cuts else set()
        return {log: min(one[log] for one in cuts) for log in common}

    def cuts(self, device):
        """Where the logs of an ended device end; a log that is not in it ends at once."""
        entry = self.tables.devices[device]
        ends = [e for e in self.tables.accepted if self.ends_device(e, device, entry["person"], entry["grant"])]
        return self._cuts_of(ends)

    def person_cuts(self, person):
        return self._cuts_of([e for e in self.tables.accepted if self.ends_person(e, person)])


# -- 12 agent keys --


class AgentKeys:
    def __init__(self, mesh):
        self.mesh, self.ids, self.bound = mesh, set(), set()

    def add(self, sealed):
        body = decode(sealed.bytes)
        need(isinstance(body, dict) and body.get("type") in ("agent-key", "agent-ended"), "an agent-key record of no known type")
        names = "v type mesh person device agent generation hlc n"
        fields(body, "an agent-key record", names + (" key" if body["type"] == "agent-key" else ""))
        need(body["v"] == 1, "an agent-key record of another version")
        need(body["mesh"] == self.mesh, "an agent-key record of another mesh")
        need(is_bytes(body["person"], 32) and is_bytes(body["device"], 32) and is_name(body["agent"]), "a malformed agent-key record")
        need(is_uint(body["generation"]) and body["generation"] >= 1, "a malformed agent-key record")
        need(is_bytes(body["hlc"], 8) and is_bytes(body["n"], 16), "a malformed agent-key record")
        need(sealed.key == body["device"] and sealed.good("agent-key"), "the agent-key record of %s is not sealed by its device" % body["agent"])
        if body["type"] == "agent-key":
            need(admissible(body["key"]), "the key of %s is no Ed25519 key of prime order" % body["agent"])
            self.bound.add((body["key"], body["person"], body["device"], body["agent"]))
        record = sealed.id("agent-key")
        need(record not in self.ids, "an agent-key record is in the file twice")
        self.ids.add(record)
        return body["person"], body["device"]

    def may_have_spoken(self, key, sender):
        person, device, agent = sender
        return key == device if agent is None else (key, person, device, agent) in self.bound


# -- 16 logs, events, heads --


def log_id(mesh, device, incarnation, chain):
    return sha(b"kin/log/1", encode({"mesh": mesh, "device": device, "incarnation": incarnation, "chain": chain}))


class Event:
    def __init__(self, value):
        need(is_list(value, 2, 2), "an event is [header, body]")
        self.bytes, self.body = value
        need(isinstance(self.bytes, bytes) and (self.body is None or isinstance(self.body, bytes)), "an event is bytes")
        h = self.header = parse_header(self.bytes)
        self.id = sha(self.bytes)
        self.log, self.seq, self.prev, self.hlc, self.kind = h["log"], h["seq"], h["prev"], h["hlc"], h["kind"]
        if self.body is not None:
            right = len(self.body) <= 262144 and sha(self.body) == h["bodyHash"]
            need(right, "the body of event %d of log %s does not match its header" % (self.seq, short(self.log)))


def parse_header(data):
    need(len(data) <= 4096, "an event's header that is too large")
    h = fields(decode(data), "an event's header", "v log seq prev deps hlc kind audience bodyHash")
    need(h["v"] == 1 and not isinstance(h["v"], bool), "an event of another version")
    need(is_bytes(h["log"], 32) and is_uint(h["seq"]) and is_bytes(h["hlc"], 8) and is_bytes(h["bodyHash"], 32), "a malformed header")
    need(h["prev"] is None if h["seq"] == 0 else is_bytes(h["prev"], 32), "prev is null exactly at seq 0")
    deps = h["deps"]
    need(is_list(deps, 0, 64) and all(is_bytes(one, 32) for one in deps) and ascending(deps), "malformed deps")
    need(h["prev"] not in deps, "prev is among deps")
    need(is_name(h["kind"]) and (h["kind"] == "log-opened") == (h["seq"] == 0), "seq 0, and nothing else, is log-opened")
    need(h["audience"] in ("mesh", "direct", "here"), "an unknown audience")
    return h


class Head:
    def __init__(self, value):
        need(is_list(value, 2, 2) and isinstance(value[0], bytes) and is_bytes(value[1], 64), "a malformed signed head")
        self.bytes, self.sig = value
        head = fields(decode(self.bytes), "a head", "log seq id hlc")
        self.log, self.seq, self.id, self.hlc = head["log"], head["seq"], head["id"], head["hlc"]
        need(is_bytes(self.log, 32) and is_uint(self.seq) and is_bytes(self.id, 32) and is_bytes(self.hlc, 8), "a malformed head")

    def good(self, device):
        return valid(device, b"kin/head/1" + self.bytes, self.sig)


def check_run(log, opening, tip, events, head):
    """tip: (seq, id, hlc) of the event before, None at the beginning. Returns the new tip."""
    need(1 <= len(events) <= 1024, "a run of no or more than 1,024 events")
    device, incarnation, chain = opening
    for event in events:
        at = "event %d of log %s" % (event.seq, short(log))
        need(event.log == log, "an event of log %s in log %s" % (short(event.log), short(log)))
        need(event.seq == (0 if tip is None else tip[0] + 1), at + " is not the next one")
        need(event.prev == (None if tip is None else tip[1]), at + " does not follow the one before it")
        need(tip is None or event.hlc > tip[2], at + " is not stamped after the one before it")
        need((event.header["audience"] == "here") == (chain == "here"), at + " does not belong to a %s chain" % chain)
        if event.seq == 0 and event.body is not None:
            said = clear_value(event)
            need(said == {"device": device, "incarnation": incarnation, "chain": chain}, at + " opens another log")
        tip = (event.seq, event.id, event.hlc)
    need(head.log == log and (head.seq, head.id, head.hlc) == tip, "the head of log %s is not that of its last event" % short(log))
    need(head.good(device), "the head %d of log %s is not signed by its device" % (head.seq, short(log)))
    return tip


def check_fork(mesh, device, incarnation, frame):
    """Returns the log and the seq from which on it has no effect."""
    log = log_id(mesh, device, incarnation, "mesh")
    what = "the fork proof of log " + short(log)
    a, b, headers = Head(frame["a"]), Head(frame["b"]), frame["hs"]
    need(a.log == log and b.log == log, what + " is about another log")
    need(a.good(device) and b.good(device), what + " holds a head that is not its device's")
    need(is_list(headers, 0, 1024) and len(headers) == b.seq - a.seq, what + " does not lead from one head to the other")
    at_a = check_way(log, headers, a.seq + 1, b.id, what)["prev"] if headers else b.id
    need(at_a != a.id, what + " proves nothing: one chain holds both heads")
    need(("pa" in frame) == ("pb" in frame), what + " shows one way from the parting")
    if "pa" not in frame:
        return log, a.seq
    one, other = frame["pa"], frame["pb"]
    need(is_list(one, 1, 1024) and is_list(other, 1, 1024) and len(one) == len(other), what + ": ways of other lengths")
    need(len(one) <= a.seq + 1, what + ": ways that are too long")
    start = a.seq - len(one) + 1
    first_a, first_b = check_way(log, one, start, a.id, what), check_way(log, other, start, at_a, what)
    need(first_a["prev"] == first_b["prev"], what + ": its histories part before what it shows")
    need(one[0] != other[0], what + ": its histories part after what it says")
    return log, start


def check_way(log, headers, start, last, what):
    """Headers of one chain from `start` to the event `last`. Returns the first."""
    first, prev = None, None
    for i, data in enumerate(headers):
        need(isinstance(data, bytes), what + " is malformed")
        header = parse_header(data)
        need(header["log"] == log and header["seq"] == start + i, what + " does not follow")
        need(i == 0 or header["prev"] == prev, what + " is no chain")
        first, prev = first or header, sha(data)
    need(prev == last, what + " does not end where it says")
    return first


# -- 17 bodies --

CLEAR = ("log-opened", "roster", "agent-key", "re-issued")


def parse_body(event):
    """("clear" | "mesh" | "direct", map). Raises where this kind and audience have no such body."""
    body, kind, audience = decode(event.body), event.kind, event.header["audience"]
    need(isinstance(body, dict) and is_bytes(body.get("n"), 16), "a malformed body")
    form = {"c n": "clear", "e n x": "mesh", "n r x": "direct"}.get(" ".join(sorted(body)))
    need(form is not None, "a malformed body")
    if form != "clear":
        need(isinstance(body["x"], bytes), "a malformed body")
    if audience == "here":
        allowed = ("clear",)
    elif audience == "direct":
        allowed = () if kind in CLEAR else ("direct",)
    else:
        allowed = ("clear",) if kind in CLEAR else ("clear", "mesh") if kind in ("card", "here-head") else ("mesh",)
    need(form in allowed, "a %s body of a %s event for %s" % (form, kind, audience))
    if form == "mesh":
        need(is_bytes(body["e"], 32), "a malformed body")
    if form == "direct":
        need(is_list(body["r"], 1, 256), "a malformed body")
        for one in body["r"]:
            need(is_list(one, 3, 3) and is_bytes(one[0], 32) and is_bytes(one[1], 32) and is_bytes(one[2], 48), "a malformed body")
        need(ascending([one[0] for one in body["r"]]), "a malformed body")
    return form, body


def clear_value(event):
    form, body = parse_body(event)
    return body["c"] if form == "clear" else None


def open_with_key(mesh, event, key):
    form, body = parse_body(event)
    need(form == "direct", "a key is shown for a body that is not direct")
    header = {name: value for name, value in event.header.items() if name != "bodyHash"}
    aad = encode({"mesh": mesh, "header": header})
    try:
        return decode(AESGCM(key).decrypt(body["n"][:12], body["x"], aad))
    except InvalidTag:
        raise Bad("the key that is shown for event %s does not open it" % short(event.id))


# -- 13, 20 the envelopes of durable calls --

LIVE = 31 * 86400000
KINDS = "request accepted refused progress result failure cancel resume".split()


class Envelope:
    def __init__(self, value, mesh, keys):
        sealed = Sealed(value)
        need(len(sealed.bytes) <= 262144, "an envelope that is too large")
        e = decode(sealed.bytes)
        fields(e, "an envelope", "v mesh from to kind id iat exp hlc caps", "boot trace re body bodyHash")
        need(e["v"] == 1 and not isinstance(e["v"], bool), "an envelope of another version")
        need(e["mesh"] == mesh, "an envelope of another mesh")
        self.sender, self.to, self.iat, self.exp = e["from"], e["to"], e["iat"], e["exp"]
        self.re, self.boot, self.body = e.get("re"), e.get("boot"), e.get("body")
        need(is_list(self.sender, 3, 3) and is_bytes(self.sender[0], 32) and is_bytes(self.sender[1], 32), "an envelope's from")
        need(self.sender[2] is None or is_name(self.sender[2]), "an envelope's from")
        need(is_list(self.to, 3, 3) and is_bytes(self.to[0], 32) and (self.to[1] is None or is_bytes(self.to[1], 32)), "an envelope's to")
        need(self.to[2] is None or is_tool_name(self.to[2]), "an envelope's to")
        need(isinstance(e["kind"], str) and e["kind"][:7] == "invoke/" and e["kind"][7:] in KINDS, "an envelope of an unknown kind")
        self.kind = e["kind"][7:]
        need(is_bytes(e["id"], 16) and is_bytes(e["hlc"], 8) and is_uint(self.iat) and is_uint(self.exp), "a malformed envelope")
        need("boot" not in e or is_bytes(self.boot, 16), "an envelope's boot")
        need("re" not in e or is_bytes(self.re, 32), "an envelope's re")
        need("trace" not in e or re.fullmatch("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", str(e["trace"])), "an envelope's trace")
        need(is_list(e["caps"], 0, 32) and all(isinstance(one, bytes) for one in e["caps"]), "an envelope's caps")
        need(("body" in e) != ("bodyHash" in e), "an envelope has a body or a bodyHash")
        need("bodyHash" not in e or is_bytes(e["bodyHash"], 32), "an envelope's bodyHash")
        kind = "envelope/device" if self.sender[2] is None else "envelope/agent"
        self.id = sealed.id(kind)
        need(keys.may_have_spoken(sealed.key, self.sender), "an envelope is sealed by a key that never spoke for its sender")
        need(sealed.good(kind), "an envelope's signature is not good")


def error_of(body, *more):
    fields(body, "a failure", "code message " + " ".join(more), "hint")
    code = isinstance(body["code"], str) and re.fullmatch("[A-Z][A-Z0-9_]{0,63}", body["code"])
    need(code and isinstance(body["message"], str), "a malformed failure")
    return body["code"]


def check_calls(shown, mesh, keys):
    """shown: [(event, device, person, value)]. Returns what is proved of each call."""
    calls, named = {}, {}

    def call_of(request):
        need(is_bytes(request, 32), "an event of a call that names no request")
        return calls.setdefault(request, {"asked": None, "answers": [], "declined": [], "withdrawn": 0})

    def asked(event, device, person, value):
        fields(value, "invocation-asked", "q device exp", "only")
        need(value.get("only", True) is True, "only is true or is not there")
        e = Envelope(value["q"], mesh, keys)
        need(e.kind == "request" and e.re is None and e.boot is None and e.body is not None, "it holds no durable request")
        need(e.sender[0] == person and e.sender[1] == device, "it holds a request of somebody else than its author")
        need(is_bytes(e.to[1], 32) and e.to[1] == value["device"] and e.exp == value["exp"], "its device or expiry is not the request's")
        need(0 < e.exp - e.iat <= LIVE, "its request lives too long")
        fields(e.body, "a request", "target parts args key deadline budget chain", "retry")
        call = call_of(e.id)
        call["asked"] = call["asked"] or e

    def declined(event, device, person, value):
        need(isinstance(value, dict), "it is no map")
        following = value.get("next")
        error_of({name: one for name, one in value.items() if name not in ("re", "next")})
        call_of(value.get("re"))["declined"].append((device, following))

    def answered(event, device, person, value):
        fields(value, "invocation-answered", "re ev")
        call = call_of(value["re"])
        need(is_list(value["ev"], 1, 4), "it holds 1 to 4 envelopes")
        outcome = None
        for one in value["ev"]:
            e = Envelope(one, mesh, keys)
            need(e.re == value["re"], "it holds an answer to another request")
            need(e.sender[0] == person and e.sender[1] == device, "it holds an answer of somebody else than its author")
            need(e.kind in ("accepted", "refused", "result", "failure"), "it holds an envelope that is no answer")
            need(isinstance(e.body, dict), "an answer without a body")
            if e.kind in ("refused", "failure"):
                error_of(e.body, *(["n"] if e.kind == "failure" else []))
            outcome = e.kind
            if call["asked"] is not None:
                devices = {call["asked"].to[1]}
                for _ in call["declined"]:
                    devices |= {to for by, to in call["declined"] if by in devices and to is not None}
                need(device in devices, "it answers what another device was asked")
                need(e.to == call["asked"].sender, "it answers somebody else than who asked")
                need(e.sender[2] in (None, call["asked"].to[2]), "it is an answer of another agent")
        call["answers"].append(outcome)

    def withdrawn(event, device, person, value):
        fields(value, "invocation-withdrawn", "re")
        call = call_of(value["re"])
        need(call["asked"] is None or call["asked"].sender[1] == device, "it takes back what another device asked")
        call["withdrawn"] += 1

    for kind, check in (("asked", asked), ("declined", declined), ("answered", answered), ("withdrawn", withdrawn)):
        for event, device, person, value in shown:
            if event.kind == "invocation-" + kind:
                try:
                    check(event, device, person, value)
                except Bad as why:
                    raise Bad("the %s event %s: %s" % (event.kind, short(event.id), why))
    return calls


# -- 26 the export --

LINE = b"kin export 1\n"


def frames(data):
    """(offset, payload) of each."""
    if data[: len(LINE)] != LINE:
        other = re.match(rb"kin export (\d+)\n", data)
        raise Bad("an export of another version" if other else "this is no export of kin")
    at = len(LINE)
    while at < len(data):
        length, size = 0, 0
        while True:
            need(at + size < len(data), "the file is cut off")
            byte = data[at + size]
            length |= (byte & 127) << (7 * size)
            size += 1
            if byte < 128:
                break
            need(size < 4, "a frame's length of more than 4 bytes")
        need(size == 1 or byte != 0, "a frame's length that is not minimal")
        need(1 <= length <= 1048576, "a frame of %d bytes" % length)
        need(at + size + length <= len(data), "the file is cut off")
        yield at, data[at + size : at + size + length]
        at += size + length


ORDER = ["export", "records", "keys", "fork", "open", "log", "run", "end"]
SHAPES = {
    "export": "v mesh all here", "records": "r", "keys": "k", "fork": "o a b hs",
    "open": "e", "log": "o from to stop", "run": "ev h", "end": "s",
}


class Export:
    def __init__(self, given):
        self.given, self.mesh, self.last, self.done, self.at = given, None, None, False, 0
        self.records, self.roster, self.forks, self.opened, self.shown = {}, None, {}, {}, []
        self.forked_devices, self.proved = set(), []
        self.log, self.logs, self.events, self.sealed = None, [], 0, 0
        self.witnessed, self.audit = {}, {}

    def verify(self, data):
        try:
            self._verify(data)
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise Bad("something is of another shape than the page says: %s" % error)

    def _verify(self, data):
        self.data = data
        for self.at, payload in frames(data):
            frame = decode(payload)
            need(isinstance(frame, dict) and frame.get("t") in SHAPES, "a frame of an unknown type")
            fields(frame, "a frame", "t " + SHAPES[frame["t"]], "pa pb" if frame["t"] == "fork" else "")
            self._order(frame["t"])
            getattr(self, "_" + frame["t"])(frame)
        self.at = len(data)
        need(self.done, "the file is cut off: its end is missing")
        self.calls = check_calls(self.proved, self.mesh, self.keys)

    def _order(self, kind):
        need(not self.done, "something follows the end of the export")
        back = self.last is not None and ORDER.index(kind) < ORDER.index(self.last)
        need(not back or (self.last == "run" and kind == "log"), "a %s frame after %s" % (kind, self.last))
        need((self.last is None) == (kind == "export"), "a %s frame after %s" % (kind, self.last))
        need(self.last != "export" or kind == "records", "an export without roster records")
        need(kind != "run" or self.log is not None, "events of no log")
        if kind in ("log", "end") and self.log is not None:
            self._end_log()
        if kind not in ("export", "records") and self.roster is None:
            self.roster, self.keys = Roster(self.records.values()), AgentKeys(self.mesh)
        self.last = kind

    def _export(self, frame):
        need(frame["v"] == 1 and not isinstance(frame["v"], bool), "an export of another version")
        need(is_bytes(frame["mesh"], 32) and isinstance(frame["all"], bool) and isinstance(frame["here"], bool), "a malformed frame")
        self.mesh, self.all, self.here = frame["mesh"], frame["all"], frame["here"]
        need(self.given in (None, self.mesh), "the export is of the mesh %s, not of the one given" % format_mesh(self.mesh))

    def _records(self, frame):
        need(is_list(frame["r"], 1, 256), "a malformed frame")
        for value in frame["r"]:
            record = Record(Sealed(value))
            need(record.mesh == self.mesh, "a roster record of another mesh")
            need(record.id not in self.records, "a roster record is in the file twice")
            need((record.type == "genesis") == (not self.records), "the first record, and no other, is the genesis")
            need(all(parent in self.records for parent in record.parents), "a roster record whose parents are left out")
            self.records[record.id] = record

    def _keys(self, frame):
        need(is_list(frame["k"], 1, 256), "a malformed frame")
        for value in frame["k"]:
            person, device = self.keys.add(Sealed(value))
            need(self.roster.device_person(device) == person, "an agent-key record of a device that was never that person's")

    def _opening(self, value, size):
        need(is_list(value, size, size) and is_bytes(value[0], 32) and is_bytes(value[1], 16), "a malformed frame")
        need(self.roster.device_person(value[0]) is not None, "device %s never was a member's" % short(value[0]))
        return value

    def _fork(self, frame):
        device, incarnation = self._opening(frame["o"], 2)
        log, seq = check_fork(self.mesh, device, incarnation, frame)
        need(log not in self.forks, "two fork proofs of one log")
        self.forks[log] = seq
        self.forked_devices.add(device)

    def _open(self, frame):
        need(is_list(frame["e"], 1, 64), "a malformed frame")
        for entry in frame["e"]:
            need(is_list(entry, 3, 3) and is_bytes(entry[0], 32) and entry[1] in ("key", "said"), "a malformed frame")
            need(isinstance(entry[2], bytes) and (entry[1] == "said" or len(entry[2]) == 32), "a malformed frame")
            need(not self.opened or entry[0] > max(self.opened), "opened events out of order")
            self.opened[entry[0]] = entry[1:]
        need(len(self.opened) <= 256, "too many opened events")
        self.unopened = dict(self.opened)

    def _log(self, frame):
        opening = self._opening(frame["o"], 3)
        start, to, stop = frame["from"], frame["to"], frame["stop"]
        need(opening[2] in ("mesh", "here") and is_uint(start) and is_uint(to) and start <= to, "a malformed frame")
        need(stop is None or (is_uint(stop) and start <= stop <= to), "a malformed frame")
        log = log_id(self.mesh, *opening)
        need(opening[2] == "mesh" or self.here, "a here chain in an export that says it has none")
        place = (opening[2] == "here", log, start)
        if self.logs:
            last = self.logs[-1]
            need(last["place"] < place and (last["log"] != log or last["to"] < start), "ranges of logs out of order, or twice")
        self.log = {
            "log": log, "opening": opening, "from": start, "to": to, "stop": stop, "place": place,
            "run": [], "tip": None, "at_cut": None, "first": None, "cut": self._cut(log, opening[0]),
        }

    def _cut(self, log, device):
        """None: the device lives; else (seq, id), or "none" if nothing of the log counts."""
        return None if self.roster.lives(device) else self.roster.cuts(device).get(log, "none")

    def _run(self, frame):
        log = self.log
        need(is_list(frame["ev"], 1, 1024), "a malformed frame")
        for value in frame["ev"]:
            self._event(Event(value))
        if frame["h"] is None:
            return
        run, head = log["run"], Head(frame["h"])
        tip = log["tip"]
        if tip is None and log["from"] > 0:
            tip = (log["from"] - 1, run[0].prev, bytes(8))
        log["tip"], log["run"] = check_run(log["log"], log["opening"], tip, run, head), []
        need(head.seq <= log["to"], "a log goes on behind its range")

    def _event(self, event):
        log = self.log
        need(len(log["run"]) < 1024, "a run of more than 1,024 events")
        log["run"].append(event)
        self.events += 1
        if isinstance(log["cut"], tuple) and log["cut"][0] == event.seq:
            log["at_cut"] = event.id
        if log["opening"][2] == "here":
            witness = self.witnessed.get(log["log"], {"heads": {}})["heads"].get(event.seq)
            need(witness in (None, event.id), "event %d of the audit was rewritten: the mesh chain witnessed another one" % event.seq)
        elif event.body is not None:
            self._body(event)

    def _body(self, event):
        device = self.log["opening"][0]
        if event.kind == "roster":
            self._carried(event)
        if event.kind == "here-head":
            self._witness(event, device)
        if event.id not in self.opened:
            self.sealed += event.body[:1] == b"\xa3"  # {n, e, x} or {n, r, x}; clear is {n, c}
            return
        need(event.kind != "epoch-sealed", "event %s holds the key of an epoch, and the export opens it" % short(event.id))
        how, data = self.unopened.pop(event.id)
        if how == "key":
            value = open_with_key(self.mesh, event, data)
        else:
            form, body = parse_body(event)
            fits = form == "mesh" and len(body["x"]) == len(data) + 16
            need(fits, "event %s can't say what the export says" % short(event.id))
            value = decode(data)
        self.shown.append((event, device, self.roster.device_person(device), value))
        if how == "key":
            self.proved.append(self.shown[-1])

    def _carried(self, event):
        try:
            value = clear_value(event)
            if Sealed(value).id("roster") in self.records:
                return
            record = Record(Sealed(value))
        except Bad:
            return  # signed nonsense has no effect
        if record.mesh != self.mesh or record.id in self.records or any(one not in self.records for one in record.parents):
            return
        raise Bad("event %s carries a roster record (%s) that the file leaves out" % (short(event.id), record.type))

    def _witness(self, event, device):
        try:
            value = clear_value(event)
        except Bad:
            return
        if value is None:
            return
        entry = {"device": device, "bad": True}
        try:
            head = Head(fields(value, "a here-head", "h")["h"])
            if head.good(device):
                entry = self.witnessed.setdefault(head.log, {"device": device, "heads": {}})
                if entry["heads"].setdefault(head.seq, head.id) != head.id:
                    entry["twice"] = head.seq
        except Bad:
            pass
        if entry.get("bad"):
            self.witnessed[event.id] = entry

    def _end_log(self):
        log = self.log
        name = short(log["log"])
        need(not log["run"], "log %s ends with events that no signed head proves" % name)
        need(log["tip"] is not None and log["tip"][0] == log["to"], "log %s does not reach event %d" % (name, log["to"]))
        stop = self._stop(log)
        need(stop == log["stop"], "the file says that log %s ends at %s; it ends at %s" % (name, log["stop"], stop))
        if log["opening"][2] == "here":
            self.audit[log["log"]] = (log["opening"][0], log["from"], log["to"])
        self.logs.append(log)
        self.log = None

    def _stop(self, log):
        start, to, cut = log["from"], log["to"], log["cut"]
        if log["opening"][2] == "here":
            return None
        ends = [self.forks[log["log"]]] if log["log"] in self.forks else []
        if not ends and log["opening"][0] in self.forked_devices and not self.roster.allowed(log["opening"][0], log["log"]):
            ends.append(0)
        if cut == "none":
            ends.append(0)
        elif cut is not None:
            if start > cut[0]:
                ends.append(cut[0] + 1)
            elif to < cut[0]:
                ends.append(start)
            else:
                ends.append(cut[0] + 1 if log["at_cut"] == cut[1] else cut[0])
        return max(min(ends), start) if ends and min(ends) <= to else None

    def _end(self, frame):
        need(not getattr(self, "unopened", {}), "the export opens an event that it does not hold")
        sealed = Sealed(frame["s"])
        end = fields(decode(sealed.bytes), "the end", "v mesh by at file n")
        need(end["v"] == 1 and is_list(end["by"], 2, 2) and is_uint(end["at"]) and is_bytes(end["n"], 16), "a malformed end")
        person, device = end["by"]
        need(is_bytes(device, 32) and sealed.key == device and sealed.good("export"), "the export is not sealed by the device that it names")
        need(end["mesh"] == self.mesh, "the end is of another mesh")
        need(self.roster.device_person(device) == person, "the exporter's device never was that person's")
        need(end["file"] == sha(self.data[: self.at]), "the file was changed after its exporter sealed it")
        if self.here:
            self._check_audit(device)
        need(all(owner == device for owner, _, _ in self.audit.values()), "a here chain of another device")
        self.by, self.done = person, True

    def _check_audit(self, device):
        for log, entry in self.witnessed.items():
            if entry["device"] != device:
                continue
            need("bad" not in entry, "a here-head that is no head of the exporter's")
            need("twice" not in entry, "the mesh chain witnessed two different events %s of the audit" % entry.get("twice"))
            most = max(entry["heads"])
            need(log in self.audit, "a here chain is missing, of which the mesh chain witnessed %d events" % (most + 1))
            _, start, to = self.audit[log]
            need(start == 0 and to >= most, "the audit goes from %d to %d; the mesh chain witnessed it up to %d" % (start, to, most))

    def summary(self):
        roster = self.roster
        return {
            "ok": True,
            "mesh": format_mesh(self.mesh),
            "members": sorted(entry["name"] for entry in roster.members().values()),
            "by": roster.tables.persons[self.by]["name"],
            "records": len(self.records),
            "events": self.events,
            "logs": [{"log": l["log"].hex(), "from": l["from"], "to": l["to"], "stop": l["stop"], "last": l["tip"][1].hex()} for l in self.logs],
            "forks": sorted(log.hex() for log in self.forks),
            "shown": sorted(event.id.hex() for event, _, _, _ in self.shown),
            "calls": [{"id": request.hex(), "asked": call["asked"] is not None, "answers": call["answers"]} for request, call in self.calls.items()],
            "sealed": self.sealed,
        }


# -- vectors --


def check_vectors(folder):
    def load(name):
        with open(os.path.join(folder, name + ".json")) as file:
            return json.load(file)

    def refused(check):
        try:
            return check() is False
        except Bad:
            return True

    unhex, count = bytes.fromhex, 0

    def expect(condition, what):
        nonlocal count
        count += 1
        need(condition, "vector: " + what)

    cbor = load("cbor")
    for one in cbor["accepted"]:
        expect(encode(decode(unhex(one["bytes"]))) == unhex(one["bytes"]), one["name"])
    for one in cbor["refused"]:
        expect(refused(lambda: decode(unhex(one["bytes"]))), one["name"])
    keys = load("ed25519")
    for one in keys["keys"]:
        expect(admissible(unhex(one["key"])) == one["admissible"], one["name"])
    for one in keys["signatures"]:
        key, message, signature = unhex(one["key"]), unhex(one["message"]), unhex(one["signature"])
        expect(valid_by_hand(key, message, signature) == one["valid"], one["name"])
        expect(not admissible(key) or valid(key, message, signature) == one["valid"], one["name"])
    seals = load("seals")
    for batch in seals["batches"]:
        for one in batch["seals"]:
            sealed = Sealed(decode(unhex(one["sealed"])))
            expect(sealed.good(one["kind"]) and sealed.id(one["kind"]).hex() == batch["leaves"][one["index"]], "a seal of %d" % batch["size"])
    for one in seals["refused"]:
        expect(refused(lambda: Sealed(decode(unhex(one["sealed"]))).good(one["kind"])), one["name"])
    roster = load("roster")
    for case in roster["cases"]:
        fold = Roster([Record(Sealed(decode(unhex(one)))) for one in case["records"]])
        check_fold(fold, case["membership"], lambda good, what: expect(good, case["name"] + ": " + what))
    for one in roster["refused"]:
        expect(refused(lambda: Record(Sealed(decode(unhex(one["sealed"]))))), one["name"])
    events = load("events")
    mesh = unhex(events["mesh"])
    opening = events["openings"][0]
    opening = (unhex(opening["device"]), unhex(opening["incarnation"]), opening["chain"])
    for one in events["openings"]:
        expect(log_id(mesh, unhex(one["device"]), unhex(one["incarnation"]), one["chain"]).hex() == one["log"], "a log's id")
    log, run = log_id(mesh, *opening), [Event([unhex(one["header"]), unhex(one["body"])]) for one in events["events"]]
    expect([one.id.hex() for one in run] == [one["id"] for one in events["events"]], "event ids")
    expect(check_run(log, opening, None, run, Head(decode(unhex(events["head"]))))[0] == len(run) - 1, "a run")
    for one in events["refused"]:
        expect(refused(lambda: parse_header(unhex(one["header"]))), one["name"])
    for one in events["badRuns"]:
        bad = lambda: check_run(log, opening, None, [Event(decode(unhex(e))) for e in one["events"]], Head(decode(unhex(one["head"]))))
        expect(refused(bad), one["name"])
    fork = events["fork"]
    frame = {"a": decode(unhex(fork["a"])), "b": decode(unhex(fork["b"])), "hs": [unhex(one) for one in fork["headers"]]}
    expect(check_fork(mesh, opening[0], opening[1], frame) == (log, 2), "a fork")
    ways = lambda one: {name: [unhex(header) for header in one[name]] for name in ("pa", "pb") if name in one}
    expect(check_fork(mesh, opening[0], opening[1], {**frame, **ways(fork)}) == (log, 2), "a fork that says where it parts")
    for one in events["badForks"]:
        expect(refused(lambda: check_fork(mesh, opening[0], opening[1], {**frame, **ways(one)})), one["name"])
    exported = load("export")
    export = Export(parse_mesh(exported["mesh"]))
    export.verify(unhex(exported["file"]))
    said = export.summary()
    expect(said["members"] == exported["members"], "the members of an export")
    expect(sorted(log["last"] for log in said["logs"]) == exported["last"], "the logs of an export")
    wanted = [{"id": exported["call"], "asked": True, "answers": exported["answers"]}]
    expect(said["calls"] == wanted, "the call of an export")
    for one in exported["refused"]:
        expect(refused(lambda: Export(export.given).verify(unhex(one["file"]))), "an export, " + one["name"])
    print("%d vectors are as this program reads the page" % count)


def check_fold(fold, wanted, expect):
    t, expected = fold.tables, lambda one, names: {name: one[name] for name in names.split()}
    members = []
    for person, entry in sorted(fold.members().items()):
        devices = [
            {"id": d.hex(), "name": t.devices[d]["name"], "sealing": t.devices[d]["sealing"].hex()}
            for d in sorted(fold.living_devices(t, person))
        ]
        members.append({
            "person": person.hex(), "name": entry["name"], "role": fold.role(t, person), "rank": fold.grants(t, person),
            "personKey": entry["personKey"].hex(), "devices": devices,
        })
    expect(members == wanted["members"], "members")
    cuts = lambda found: [[log.hex(), seq, event.hex()] for log, (seq, event) in sorted(found.items())]
    removed = [person for person in sorted(t.persons) if not fold.living(t, person)]
    found = [{"person": person.hex(), "cuts": cuts(fold.person_cuts(person))} for person in removed]
    expect(found == [expected(one, "person cuts") for one in wanted["removed"]], "removed")
    former = [device for device in sorted(t.devices) if not fold.lives(device)]
    found = [{"device": d.hex(), "person": t.devices[d]["person"].hex(), "cuts": cuts(fold.cuts(d))} for d in former]
    expect(found == [expected(one, "device person cuts") for one in wanted["formerDevices"]], "former devices")
    expect(sorted(one.id.hex() for one in fold.maximal(fold.order)) == wanted["heads"], "heads")
    expect([one.hex() for one in fold.waiting] == wanted["waiting"], "waiting")
    expect(sorted(one.hex() for one in t.void) == wanted["void"], "void")
    allowed = {(one.body["device"].hex(), log.hex()) for one in t.allowances for log in one.body["logs"]}
    expect(sorted(allowed) == [tuple(one) for one in wanted["allowed"]], "allowed logs")


def main(argv):
    if len(argv) == 2 and argv[0] == "--vectors":
        return check_vectors(argv[1])
    mesh = None
    if len(argv) > 2 and argv[0] == "--mesh":
        mesh, argv = parse_mesh(argv[1]), argv[2:]
    if not argv or argv[0].startswith("-"):
        sys.exit(__doc__)
    failed = False
    for name in argv:
        export = Export(mesh)
        try:
            with open(name, "rb") as file:
                export.verify(file.read())
            print(json.dumps(export.summary()))
        except Bad as why:
            failed = True
            print(json.dumps({"ok": False, "at": export.at, "why": str(why)}))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Bad as why:
        sys.exit(str(why))
