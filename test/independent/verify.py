#!/usr/bin/env python3
"""Verifies an export of kin by itself. This folder's Python is written from docs/protocol.md alone (the numbers are its sections),
not from kin's code. This file is the export (26); what it is made of is in the files beside it.

    verify.py [--mesh kinm1...] FILE...  proves each export or says what is wrong with it, one line of JSON each; exit 0 or 1

Needs Python 3.9 and its package cryptography (SHA-2 and big integers are Python's own).
"""
import json, re, sys

sys.dont_write_bytecode = True  # no __pycache__ beside the tests
from calls import check_calls
from forms import Bad, decode, fields, format_mesh, is_bytes, is_list, is_uint, need, parse_mesh, sha, short
from logs import Event, Head, check_fork, check_run, clear_value, log_id, open_with_key, parse_body
from roster import AgentKeys, Record, Roster
from seals import Sealed


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
        self.witnessed, self.bad_witness, self.audit = {}, set(), {}

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
            witness = self.witnessed.get((log["opening"][0], log["log"]), {}).get("heads", {}).get(event.seq)
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
        private = event.kind == "note-shared" or (event.kind == "note-opened" and event.header["audience"] == "direct")
        need(event.kind != "epoch-sealed", "event %s holds the key of an epoch, and the export opens it" % short(event.id))
        need(not private, "event %s holds the key of a private note, and the export opens it" % short(event.id))
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
        try:
            head = Head(fields(value, "a here-head", "h")["h"])
            need(head.good(device), "a head of another device")
        except Bad:
            self.bad_witness.add(device)
            return
        entry = self.witnessed.setdefault((device, head.log), {"heads": {}})
        if entry["heads"].setdefault(head.seq, head.id) != head.id:
            entry["twice"] = head.seq

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
        need(device not in self.bad_witness, "a here-head that is no head of the exporter's")
        for (witness, log), entry in self.witnessed.items():
            if witness != device:
                continue
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


def main(argv):
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
