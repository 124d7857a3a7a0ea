package main

// Hello and agent keys, docs/protocol.md §11 and §12.

import (
	"bytes"
	"crypto/ed25519"
)

// Who I am in this mesh, while this process runs.
type self struct {
	mesh   id
	person id
	device ed25519.PrivateKey
	boot   []byte
	heads  []id
}

type greeting struct {
	person id
	boot   []byte
	wall   int64
	keys   []*agentKey
}

func helloFrame(me *self, to id, nonce []byte, wall int64) any {
	said := encode(map[string]any{
		"v": 1, "mesh": me.mesh.raw(), "from": []any{me.person.raw(), public(me.device).raw()}, "to": to.raw(),
		"nonce": nonce, "boot": me.boot, "wall": wall, "features": []any{}, "heads": idList(me.heads),
	})
	return map[string]any{"t": "hello", "s": sealOne(me.device, "hello", said).value(), "keys": []any{}}
}

// Unknown fields are ignored in a hello. personOf: whose living device it is.
func openHello(payload []byte, mesh, peer, mine id, nonce []byte, personOf func(id) (id, bool)) (*greeting, error) {
	f, err := expectHello(payload, "hello")
	if err != nil {
		return nil, err
	}
	s, err := parseSealed(f.raw("s"))
	if err != nil {
		return nil, err
	}
	if s.key != peer || !s.good("hello") {
		return nil, fail("BAD_SIGNATURE", "the hello is not sealed by the connected device")
	}
	said := readBytes(s.bytes, "a hello")
	if said.err != nil {
		return nil, said.err
	}
	if v, _ := said.raw("v").(int64); v != 1 {
		return nil, fail("UNSUPPORTED_VERSION", "a hello of another version")
	}
	if theirs := said.id("mesh"); said.err == nil && theirs != mesh {
		return nil, fail("WRONG_MESH", "the peer is in another mesh")
	}
	from := said.list("from", 2, 2)
	to := said.id("to")
	if said.err != nil {
		return nil, said.err
	}
	person, ok1 := idOf(from[0])
	device, ok2 := idOf(from[1])
	if !ok1 || !ok2 {
		return nil, fail("BAD_REQUEST", "a hello is from [person, device]")
	}
	if device != peer || to != mine {
		return nil, fail("BAD_SIGNATURE", "the hello is between other devices")
	}
	if n, _ := said.raw("nonce").([]byte); !bytes.Equal(n, nonce) {
		return nil, fail("REPLAYED", "the hello answers another nonce")
	}
	if owner, ok := personOf(peer); !ok || owner != person {
		return nil, fail("NOT_A_MEMBER", "the device is no living one of that person")
	}
	g := &greeting{person: person, boot: said.bytes("boot", 16), wall: said.integer("wall", 0, maxInteger)}
	said.list("features", 0, 64)
	said.ids("heads", 0, 64, false)
	keys := f.list("keys", 0, 128)
	if said.err != nil {
		return nil, said.err
	}
	if f.err != nil {
		return nil, f.err
	}
	for _, item := range keys {
		key, err := parseAgentKey(item)
		if err != nil {
			return nil, err
		}
		if key.device != peer {
			return nil, fail("BAD_SIGNATURE", "an agent key of another device")
		}
		g.keys = append(g.keys, key)
	}
	return g, nil
}

func expectHello(payload []byte, kind string) (*fields, error) {
	f := readBytes(payload, "a hello message")
	if f.err != nil {
		return nil, f.err
	}
	switch got := f.text("t"); got {
	case kind:
		return f, f.err
	case "refused":
		return nil, readError(f.raw("error"))
	default:
		return nil, fail("BAD_REQUEST", "a hello message %q where %q was expected", got, kind)
	}
}

// ── agent keys ──

type agentKey struct {
	id         id
	ended      bool
	mesh       id
	person     id
	device     id
	agent      string
	key        id
	generation int64
}

func parseAgentKey(value any) (*agentKey, error) {
	s, err := parseSealed(value)
	if err != nil {
		return nil, err
	}
	f := readBytes(s.bytes, "an agent-key record")
	if f.err != nil {
		return nil, f.err
	}
	if v, _ := f.raw("v").(int64); v != 1 {
		return nil, fail("UNSUPPORTED_VERSION", "an agent-key record of another version")
	}
	k := &agentKey{id: leafOf("agent-key", s.bytes)}
	k.ended = f.oneOf("type", "agent-key", "agent-ended") == "agent-ended"
	k.mesh, k.person, k.device, k.agent = f.id("mesh"), f.id("person"), f.id("device"), f.name("agent")
	if !k.ended {
		k.key = f.id("key")
	}
	k.generation = f.integer("generation", 1, maxInteger)
	f.bytes("hlc", 8)
	f.bytes("n", 16)
	if err := f.end(); err != nil {
		return nil, err
	}
	if s.key != k.device || !s.good("agent-key") {
		return nil, fail("BAD_SIGNATURE", "an agent-key record is not sealed by its device")
	}
	if !k.ended && !isAdmissible(k.key[:]) {
		return nil, fail("BAD_REQUEST", "an agent key that is not admissible")
	}
	return k, nil
}

// The key that speaks for an agent of a device now, if there is one.
func currentKey(records []*agentKey, mesh, device id, agent string) *agentKey {
	var newest *agentKey
	var ended int64
	for _, one := range records {
		if one.mesh != mesh || one.device != device || one.agent != agent {
			continue
		}
		if one.ended {
			ended = max(ended, one.generation)
			continue
		}
		if newest == nil || one.generation > newest.generation || (one.generation == newest.generation && one.id.less(newest.id)) {
			newest = one
		}
	}
	if newest == nil || newest.generation <= ended {
		return nil
	}
	return newest
}
