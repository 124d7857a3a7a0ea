#!/usr/bin/env python3
"""Checks the verifier against the vectors of the page.

    vectors.py FOLDER  of test/vectors/*.json; says how many there are, or which one it reads otherwise
"""
import hashlib, json, os, sys

sys.dont_write_bytecode = True  # no __pycache__ beside the tests
from forms import Bad, decode, encode, is_bytes, need, parse_mesh
from logs import Event, Head, check_fork, check_run, log_id, parse_header
from roster import Record, Roster
from seals import L, P, Sealed, add, admissible, point_of, times, valid
from verify import Export


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def encode_point(p):
    inverse = pow(p[2], P - 2, P)
    x, y = p[0] * inverse % P, p[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


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


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        check_vectors(sys.argv[1])
    except Bad as why:
        sys.exit(str(why))
