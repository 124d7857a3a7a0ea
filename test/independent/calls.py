"""Durable calls and their envelopes (docs/protocol.md 13, 20)."""
import re
from forms import Bad, decode, fields, is_bytes, is_list, is_name, is_tool_name, is_uint, need, short
from seals import Sealed


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
