"""Logs, their events and heads, forks of them, and what the bodies of events hold (docs/protocol.md 16, 17)."""
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from forms import Bad, ascending, decode, encode, fields, is_bytes, is_list, is_name, is_uint, need, sha, short
from seals import valid


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
