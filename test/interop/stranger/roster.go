package main

// Roster records, docs/protocol.md §8.

import (
	"bytes"
	"encoding/binary"
)

type device struct {
	key     id
	name    string
	sealing id
}

type certified struct {
	device device
	cert   *sealed
}

type cut struct {
	log id
	seq int64
	id  id
}

type share struct {
	device id
	uses   int64
}

type record struct {
	id      id
	mesh    id
	kind    string // its type
	author  id     // person
	by      id     // device
	parents []id
	hlc     []byte
	sealed  *sealed

	name      string
	founder   string
	policy    string
	personKey id
	device    device
	cert      *sealed
	recovery  *id
	role      string
	invite    id
	use       int64
	challenge []byte
	proof     []byte
	person    id
	target    id // device-removed, log-allowed
	cuts      []cut
	sealing   id
	devices   []certified
	word      *sealed // recovery of person-rekeyed, word of log-allowed
	logs      []id
	key       id
	expires   int64
	shares    []share
	after     []id
	keyHash   []byte
	keys      []sealedKey
}

type sealedKey struct {
	device id
	enc    []byte
	ct     []byte
}

const maxRecord = 261_120

func personOf(admission id) id { return hash([]byte("kin/person/1"), admission[:]) }

func (r *record) ms() int64 {
	return int64(binary.BigEndian.Uint64(r.hlc) >> 16)
}

func readDevice(value any) (device, error) {
	f := readFields(value, "a device")
	d := device{key: f.id("key"), name: f.name("name"), sealing: f.id("sealing")}
	return d, f.end()
}

func readSealedKey(value any) (sealedKey, bool) {
	items, ok := value.([]any)
	if !ok || len(items) != 3 {
		return sealedKey{}, false
	}
	device, ok1 := idOf(items[0])
	enc, ok2 := items[1].([]byte)
	ct, ok3 := items[2].([]byte)
	return sealedKey{device, enc, ct}, ok1 && ok2 && ok3 && len(enc) == 32 && len(ct) == 48
}

func parseRecord(value any) (*record, error) {
	s, err := parseSealed(value)
	if err != nil {
		return nil, err
	}
	if len(s.bytes) > maxRecord {
		return nil, fail("TOO_LARGE", "a roster record of %d bytes", len(s.bytes))
	}
	f := readBytes(s.bytes, "a roster record")
	if f.err != nil {
		return nil, f.err
	}
	if v, _ := f.raw("v").(int64); v != 1 {
		return nil, fail("UNSUPPORTED_VERSION", "a roster record of another version")
	}
	r := &record{kind: f.text("type"), sealed: s, hlc: f.bytes("hlc", 8)}
	f.bytes("n", 16)
	readOwn(f, r)
	if r.kind == "genesis" {
		if err := f.end(); err != nil {
			return nil, err
		}
		return r, checkGenesis(r, f.bytes("n", 16))
	}
	r.mesh = f.id("mesh")
	author := f.list("author", 2, 2)
	r.parents = f.ids("parents", 1, 64, true)
	if err := f.end(); err != nil {
		return nil, err
	}
	var ok1, ok2 bool
	r.author, ok1 = idOf(author[0])
	r.by, ok2 = idOf(author[1])
	if !ok1 || !ok2 {
		return nil, fail("BAD_REQUEST", "an author is [person, device]")
	}
	if s.key != r.by || !s.good("roster") {
		return nil, fail("BAD_SIGNATURE", "a roster record is not sealed by its author's device")
	}
	r.id = leafOf("roster", s.bytes)
	return r, checkNew(r)
}

// The fields of each type.
func readOwn(f *fields, r *record) {
	switch r.kind {
	case "genesis":
		r.name, r.founder = f.name("name"), f.name("founder")
		r.personKey = f.id("personKey")
		r.readDevice(f)
		r.policy = f.oneOf("policy", "reads-all", "from-epoch")
		r.readRecovery(f)
	case "admit":
		r.name, r.personKey = f.name("name"), f.id("personKey")
		r.role = f.oneOf("role", "admin", "member")
		r.readDevice(f)
		r.invite, r.use = f.id("invite"), f.integer("use", 0, 49)
		r.challenge, r.proof = f.bytes("challenge", 32), f.bytes("proof", 64)
		r.readRecovery(f)
	case "remove":
		r.person = f.id("person")
		r.readCuts(f)
	case "leave":
		r.readCuts(f)
	case "role":
		r.person, r.role = f.id("person"), f.oneOf("role", "admin", "member")
	case "device-added":
		r.person = f.id("person")
		r.readDevice(f)
	case "device-removed":
		r.target = f.id("device")
		r.readCuts(f)
	case "sealing-key":
		r.sealing = f.id("sealing")
	case "person-rekeyed":
		r.person, r.personKey = f.id("person"), f.id("personKey")
		for _, item := range f.list("devices", 1, 16) {
			entry := readFields(item, "a certified device")
			d, err := readDevice(entry.raw("device"))
			cert, err2 := parseSealed(entry.raw("cert"))
			if err != nil || err2 != nil || entry.end() != nil {
				f.wrong("devices", "a list of certified devices")
				return
			}
			r.devices = append(r.devices, certified{d, cert})
		}
		r.readCuts(f)
		if f.has("recovery") {
			word, err := parseSealed(f.raw("recovery"))
			if err != nil {
				f.wrong("recovery", "a sealed message")
			}
			r.word = word
		}
	case "rename":
		r.person, r.name = f.id("person"), f.name("name")
	case "invite-opened":
		r.key = f.id("key")
		if f.raw("name") != nil || !f.has("name") {
			r.name = f.name("name")
		}
		r.role = f.oneOf("role", "admin", "member")
		r.expires = f.integer("expires", 0, maxInteger)
		r.readShares(f)
	case "invite-closed":
		r.invite = f.id("invite")
	case "log-allowed":
		r.target, r.logs = f.id("device"), f.ids("logs", 1, 16, true)
		if f.has("word") {
			word, err := parseSealed(f.raw("word"))
			if err != nil {
				f.wrong("word", "a sealed message")
			}
			r.word = word
		}
	case "epoch":
		r.after = f.ids("after", 0, 64, true)
		r.keyHash = f.bytes("keyHash", 32)
		for _, item := range f.list("keys", 1, 2000) {
			key, ok := readSealedKey(item)
			if !ok || (len(r.keys) > 0 && !r.keys[len(r.keys)-1].device.less(key.device)) {
				f.wrong("keys", "a list of sealed keys in order")
				return
			}
			r.keys = append(r.keys, key)
		}
	default:
		f.wrong("type", "a known type")
	}
}

func (r *record) readDevice(f *fields) {
	d, err := readDevice(f.raw("device"))
	cert, err2 := parseSealed(f.raw("cert"))
	if err != nil || err2 != nil {
		f.wrong("device", "a device with its certificate")
		return
	}
	r.device, r.cert = d, cert
}

func (r *record) readRecovery(f *fields) {
	if f.has("recovery") {
		key := f.id("recovery")
		r.recovery = &key
	}
}

func (r *record) readCuts(f *fields) {
	for _, item := range f.list("cuts", 0, 1024) {
		items, ok := item.([]any)
		if !ok || len(items) != 3 {
			f.wrong("cuts", "a list of [log, seq, event]")
			return
		}
		log, ok1 := idOf(items[0])
		seq, ok2 := items[1].(int64)
		event, ok3 := idOf(items[2])
		if !ok1 || !ok2 || !ok3 || seq < 0 || (len(r.cuts) > 0 && !r.cuts[len(r.cuts)-1].log.less(log)) {
			f.wrong("cuts", "a list of [log, seq, event] in order")
			return
		}
		r.cuts = append(r.cuts, cut{log, seq, event})
	}
}

func (r *record) readShares(f *fields) {
	total := int64(0)
	for _, item := range f.list("shares", 1, 16) {
		items, ok := item.([]any)
		if !ok || len(items) != 2 {
			f.wrong("shares", "a list of [device, uses]")
			return
		}
		device, ok1 := idOf(items[0])
		uses, ok2 := items[1].(int64)
		if !ok1 || !ok2 || uses < 1 || uses > 50 || (len(r.shares) > 0 && !r.shares[len(r.shares)-1].device.less(device)) {
			f.wrong("shares", "a list of [device, uses] in order")
			return
		}
		total += uses
		r.shares = append(r.shares, share{device, uses})
	}
	if total > 50 {
		f.wrong("shares", "at most 50 uses")
	}
}

func checkGenesis(r *record, n []byte) error {
	s := r.sealed
	if s.key != r.personKey || !s.good("genesis") {
		return fail("BAD_SIGNATURE", "the genesis is not sealed by its person key")
	}
	r.id = leafOf("genesis", s.bytes)
	r.mesh, r.author, r.by = r.id, personOf(r.id), r.device.key
	if err := admissible(r.personKey, r.device.key); err != nil {
		return err
	}
	if r.recovery != nil && !isAdmissible(r.recovery[:]) {
		return fail("BAD_REQUEST", "a recovery key that is not admissible")
	}
	if !isCertified(r.cert, r.personKey, n, r.device) {
		return fail("BAD_SIGNATURE", "the founder's certificate is wrong")
	}
	return nil
}

func admissible(keys ...id) error {
	for _, key := range keys {
		if !isAdmissible(key[:]) {
			return fail("BAD_REQUEST", "a roster record brings a key that is not admissible")
		}
	}
	return nil
}

func checkNew(r *record) error {
	var err error
	switch r.kind {
	case "admit":
		err = admissible(r.personKey, r.device.key)
		if err == nil && r.recovery != nil {
			err = admissible(*r.recovery)
		}
		if err == nil && !isCertified(r.cert, r.personKey, r.mesh[:], r.device) {
			err = fail("BAD_SIGNATURE", "a certificate is not its person key's")
		}
	case "device-added":
		err = admissible(r.device.key)
	case "person-rekeyed":
		err = admissible(r.personKey)
		for _, entry := range r.devices {
			if err == nil {
				err = admissible(entry.device.key)
			}
			if err == nil && !isCertified(entry.cert, r.personKey, r.mesh[:], entry.device) {
				err = fail("BAD_SIGNATURE", "a certificate is not its person key's")
			}
		}
	case "invite-opened":
		err = admissible(r.key)
	}
	return err
}

func isCertified(cert *sealed, personKey id, scope []byte, d device) bool {
	f := readBytes(cert.bytes, "a certificate")
	f.integer("v", 1, 1)
	same := bytes.Equal(f.bytes("scope", -1), scope) && f.id("device") == d.key && f.id("sealing") == d.sealing
	f.bytes("n", 16)
	return f.end() == nil && same && cert.key == personKey && cert.good("certificate")
}

// Whether the recovery key has said exactly this rekeying.
func isRecovery(r *record, key id) bool {
	value, err := decode(r.word.bytes)
	said, ok := value.(map[string]any)
	if err != nil || !ok {
		return false
	}
	n, _ := said["n"].([]byte)
	var devices []id
	for _, entry := range r.devices {
		devices = append(devices, entry.device.key)
	}
	want := encode(map[string]any{"v": 1, "mesh": r.mesh.raw(), "person": r.person.raw(), "personKey": r.personKey.raw(), "devices": idList(devices), "n": n})
	return len(n) == 16 && bytes.Equal(want, r.word.bytes) && r.word.key == key && r.word.good("certificate")
}

// Whether a person key has said that exactly these logs of the device go on.
func isLogWord(r *record, key id) bool {
	value, err := decode(r.word.bytes)
	said, ok := value.(map[string]any)
	if err != nil || !ok {
		return false
	}
	n, _ := said["n"].([]byte)
	want := encode(map[string]any{"v": 1, "mesh": r.mesh.raw(), "device": r.target.raw(), "logs": idList(r.logs), "n": n})
	return len(n) == 16 && bytes.Equal(want, r.word.bytes) && r.word.key == key && r.word.good("certificate")
}

func isProof(r *record, key id) bool {
	return verify(key[:], proofMessage(r.mesh, r.invite, r.personKey, r.device.key, r.device.sealing, r.by, r.challenge), r.proof)
}

// §10: what the ticket key signs.
func proofMessage(mesh, invite, personKey, device, sealing, admitting id, challenge []byte) []byte {
	list := []any{mesh.raw(), invite.raw(), personKey.raw(), device.raw(), sealing.raw(), admitting.raw(), challenge}
	return append([]byte("kin/join/1"), encode(list)...)
}
