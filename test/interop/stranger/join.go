package main

// Joining by ticket, docs/protocol.md §10, and sealed epoch keys, §18.

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
)

type guest struct {
	person  ed25519.PrivateKey
	device  ed25519.PrivateKey
	sealing *ecdh.PrivateKey
	name    string
}

func public(key ed25519.PrivateKey) id { return id(key.Public().(ed25519.PublicKey)) }

func random(count int) []byte {
	out := make([]byte, count)
	rand.Read(out)
	return out
}

func newGuest(name string) (*guest, error) {
	_, person, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	_, device, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	sealing, err := ecdh.X25519().GenerateKey(rand.Reader)
	return &guest{person, device, sealing, name}, err
}

// What a join gives: who I am, and the whole roster.
type joined struct {
	person id
	roster *roster
	tables *tables
	epochs map[id][]byte
}

func joinFrame(t *ticket) any {
	return map[string]any{"t": "join", "v": 1, "mesh": t.mesh.raw(), "invite": t.invite.raw()}
}

// Frames of a join have t and no unknown fields.
func expectJoin(payload []byte, types ...string) (*fields, string, error) {
	if len(payload) > 525_312 {
		return nil, "", fail("TOO_LARGE", "a join frame of %d bytes", len(payload))
	}
	f := readBytes(payload, "a join frame")
	if f.err != nil {
		return nil, "", f.err
	}
	kind := f.text("t")
	if kind == "refused" {
		return nil, "", readError(f.raw("error"))
	}
	for _, one := range types {
		if kind == one {
			return f, kind, f.err
		}
	}
	return nil, "", fail("BAD_REQUEST", "a join frame %q where %v was expected", kind, types)
}

func readError(value any) error {
	f := readFields(value, "an error")
	e := &protocolError{Code: f.text("code"), Message: f.text("message")}
	if f.has("hint") {
		e.Hint = f.text("hint")
	}
	if err := f.end(); err != nil {
		return err
	}
	return &remoteError{e}
}

func openChallenge(payload []byte, t *ticket, peer id) ([]byte, error) {
	f, _, err := expectJoin(payload, "challenge")
	if err != nil {
		return nil, err
	}
	s, err := parseSealed(f.raw("s"))
	if err != nil {
		return nil, err
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	said := readBytes(s.bytes, "a challenge")
	said.integer("v", 1, 1)
	mesh, invite, challenge := said.id("mesh"), said.id("invite"), said.bytes("challenge", 32)
	said.bytes("n", 16)
	if err := said.end(); err != nil {
		return nil, err
	}
	if mesh != t.mesh || invite != t.invite {
		return nil, fail("WRONG_MESH", "the challenge is for another mesh or invite")
	}
	if s.key != peer || !s.good("join") {
		return nil, fail("BAD_SIGNATURE", "the challenge is not the connected device's")
	}
	return challenge, nil
}

func proofFrame(t *ticket, g *guest, peer id, challenge, certN []byte) map[string]any {
	device, sealing := public(g.device), id(g.sealing.PublicKey().Bytes())
	cert := encode(map[string]any{"v": 1, "scope": t.mesh.raw(), "device": device.raw(), "sealing": sealing.raw(), "n": certN})
	message := proofMessage(t.mesh, t.invite, public(g.person), device, sealing, peer, challenge)
	return map[string]any{
		"t":         "proof",
		"personKey": public(g.person).raw(),
		"device":    map[string]any{"key": device.raw(), "name": "laptop", "sealing": sealing.raw()},
		"cert":      sealOne(g.person, "certificate", cert).value(),
		"name":      g.name,
		"proof":     ed25519.Sign(t.key(), message),
	}
}

// Reads records frames until admitted; next gives payloads.
func receiveAdmission(next func() ([]byte, error), t *ticket, g *guest, peer id) (*joined, error) {
	var records []*record
	for {
		payload, err := next()
		if err != nil {
			return nil, err
		}
		f, kind, err := expectJoin(payload, "records", "admitted")
		if err != nil {
			return nil, err
		}
		if kind == "admitted" {
			return checkAdmission(f, records, t, g, peer)
		}
		for _, item := range f.list("records", 1, 4096) {
			one, err := parseRecord(item)
			if err != nil {
				return nil, err
			}
			records = append(records, one)
		}
		if err := f.end(); err != nil {
			return nil, err
		}
	}
}

func checkAdmission(f *fields, records []*record, t *ticket, g *guest, peer id) (*joined, error) {
	admission, epochs := f.id("admission"), f.list("epochs", 0, maxArray)
	if err := f.end(); err != nil {
		return nil, err
	}
	lie := func(what string) (*joined, error) {
		return nil, fail("BAD_SIGNATURE", "the admission is not good: %s", what)
	}
	r := newRoster(t.mesh)
	if err := r.add(records...); err != nil {
		return nil, err
	}
	if r.nodes[t.mesh] == nil {
		return lie("the mesh's genesis is missing")
	}
	tables := fold(r.all())
	mine := r.nodes[admission]
	device := public(g.device)
	switch {
	case mine == nil || tables.void[admission]:
		return lie("it has no effect")
	case mine.kind != "admit" || mine.invite != t.invite || mine.role != t.role:
		return lie("it is not what the ticket says")
	case mine.device.key != device || mine.personKey != public(g.person):
		return lie("it admits somebody else")
	}
	if entry := tables.devices[device]; entry == nil || !tables.livingDevice(entry) {
		return lie("our device is no living one")
	}
	out := &joined{person: personOf(admission), roster: r, tables: tables, epochs: map[id][]byte{}}
	for _, item := range epochs {
		items, ok := item.([]any)
		if !ok || len(items) != 4 {
			return lie("an epoch is [id, device, enc, ct]")
		}
		epoch, ok1 := idOf(items[0])
		sealed, ok2 := readSealedKey(items[1:])
		opened := tables.epochs[epoch]
		if !ok1 || !ok2 || opened == nil || sealed.device != device {
			return lie("an epoch is unknown or sealed to another device")
		}
		key, err := openEpochKey(t.mesh, opened.keyHash, sealed, peer, g.sealing)
		if err != nil {
			return nil, err
		}
		out.epochs[epoch] = key
	}
	return out, nil
}

func epochInfo(mesh id, keyHash []byte, author, recipient id) []byte {
	return encode([]any{"kin/epoch-key/1", mesh.raw(), keyHash, author.raw(), recipient.raw()})
}

func openEpochKey(mesh id, keyHash []byte, sealed sealedKey, author id, mine *ecdh.PrivateKey) ([]byte, error) {
	key, err := hpkeOpen(mine, sealed.enc, sealed.ct, epochInfo(mesh, keyHash, author, sealed.device), nil)
	if err != nil {
		return nil, fail("BAD_SIGNATURE", "an epoch key does not open: %v", err)
	}
	if got := hash([]byte("kin/epoch/1"), key); !bytes.Equal(got[:], keyHash) {
		return nil, fail("BAD_SIGNATURE", "an epoch key is not the one of its record")
	}
	return key, nil
}
