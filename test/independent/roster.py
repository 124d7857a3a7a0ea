"""Who is a member of a mesh: roster records, their fold, agent keys (docs/protocol.md 8, 9, 12)."""
from forms import Bad, ascending, decode, encode, fields, is_bytes, is_list, is_name, is_uint, need, sha
from seals import Sealed, admissible, valid


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


def certifies(cert, key, **wanted):
    """Does this key say in `cert` just what is wanted, and no more than v and n besides?"""
    if key is None or cert.key != key:
        return False
    try:
        said = fields(decode(cert.bytes), "a certificate", "v n " + " ".join(wanted))
    except Bad:
        return False
    right = said["v"] == 1 and is_bytes(said["n"], 16) and all(said[name] == wanted[name] for name in wanted)
    return right and cert.good("certificate")


def certified(cert, key, scope, device, sealing):
    """Is `cert` a certificate for this device by this person key?"""
    return certifies(cert, key, scope=scope, device=device, sealing=sealing)


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

    def role(self, t, person, before=None):
        """The role, or the one that was known to the record `before`."""
        entry = t.persons[person]
        newest = self.maximal([one for one in entry["roles"] if before is None or self.before(one, before)])
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
        person, person_key = r.body["person"], r.body["personKey"]
        return certifies(r.recovery, key, mesh=r.mesh, person=person, personKey=person_key, devices=r.brings())

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
        return certifies(r.word, key, mesh=r.mesh, device=r.body["device"], logs=r.body["logs"])

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
        if r.needs_admin and (r.person not in t.persons or self.role(t, r.person, before=r) != "admin"):
            return True
        body = r.body
        if "person" in body and body["person"] not in t.persons:
            return True
        if r.type in ("device-removed", "log-allowed") and body["device"] not in t.devices:
            return True
        return r.type == "invite-closed" and body["invite"] not in t.invites

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
