package main

// Checks test/vectors/*.json with this program's own code: `stranger vectors DIR`.

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// A JSON object, read without ceremony: a vector that lacks a field is a failed check.
type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }
func (o object) hex(name string) []byte  { return unhex(o.text(name)) }
func (o object) id(name string) id       { return toId(o.text(name)) }
func (o object) in(name string) object   { m, _ := o[name].(map[string]any); return m }
func (o object) number(name string) int64 {
	n, _ := o[name].(float64)
	return int64(n)
}

func (o object) list(name string) []object {
	var out []object
	items, _ := o[name].([]any)
	for _, item := range items {
		m, _ := item.(map[string]any)
		out = append(out, m)
	}
	return out
}

func (o object) texts(name string) []string {
	var out []string
	items, _ := o[name].([]any)
	for _, item := range items {
		s, _ := item.(string)
		out = append(out, s)
	}
	return out
}

func unhex(s string) []byte {
	out, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return out
}

func toId(s string) id {
	b := unhex(s)
	if len(b) != 32 {
		return id{}
	}
	return id(b)
}

type checker struct {
	file   string
	checks int
	failed []string
}

func (c *checker) that(ok bool, format string, args ...any) {
	c.checks++
	if !ok {
		c.failed = append(c.failed, c.file+": "+fmt.Sprintf(format, args...))
	}
}

func (c *checker) no(err error, format string, args ...any) {
	c.that(err == nil, "%s: %v", fmt.Sprintf(format, args...), err)
}

var readers = map[string]func(*checker, object){
	"text-forms.json": checkTexts,
	"cbor.json":       checkCbor,
	"ed25519.json":    checkKeys,
	"seals.json":      checkSeals,
	"ticket.json":     checkTickets,
	"roster.json":     checkRoster,
	"join.json":       checkJoin,
	"hello.json":      checkHello,
	"envelope.json":   checkEnvelopes,
	"card.json":       checkCards,
	"events.json":     checkEvents,
	"bodies.json":     checkBodies,
	"sync.json":       checkSync,
	"export.json":     checkExport,
	"document.json":   checkDocuments,
	"snapshot.json":   checkSnapshot,
}

func checkVectors(folder string) int {
	found, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(found) == 0 {
		say(map[string]any{"event": "error", "message": "no vectors in " + folder})
		return 1
	}
	failed := 0
	for _, path := range found {
		c := &checker{file: filepath.Base(path)}
		c.read(path)
		failed += len(c.failed)
		say(map[string]any{"event": "vectors", "file": c.file, "checks": c.checks, "failed": c.failed})
	}
	if failed > 0 {
		return 1
	}
	return 0
}

func (c *checker) read(path string) {
	defer func() {
		if broken := recover(); broken != nil {
			c.that(false, "a reader broke: %v", broken)
		}
	}()
	data, err := os.ReadFile(path)
	var all object
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	c.no(err, "reading")
	reader := readers[c.file]
	c.that(reader != nil, "a file that no reader knows")
	if err == nil && reader != nil {
		reader(c, all)
	}
}

func decoded(in []byte) any {
	value, err := decode(in)
	if err != nil {
		panic(err)
	}
	return value
}

func checkTexts(c *checker, v object) {
	for _, one := range v.list("meshTags") {
		c.that(meshTag(one.id("mesh")) == one.text("tag"), "tag of %s", one.text("mesh"))
	}
	for _, one := range v.list("good") {
		c.that(formatText(one.text("prefix"), one.hex("body")) == one.text("text"), "formatting %s", one.text("text"))
	}
	for _, one := range append(v.list("good"), v.list("pasted")...) {
		body, err := parseText(one.text("prefix"), one.text("text"))
		c.that(err == nil && bytes.Equal(body, one.hex("body")), "reading %q", one.text("text"))
	}
	for _, one := range v.list("refused") {
		_, err := parseText(one.text("prefix"), one.text("text"))
		c.that(err != nil, "took what is %s", one.text("why"))
	}
}

func checkCbor(c *checker, v object) {
	for _, one := range v.list("accepted") {
		value, err := decode(one.hex("bytes"))
		c.no(err, "%s", one.text("name"))
		c.that(bytes.Equal(encode(value), one.hex("bytes")), "encoding %s again", one.text("name"))
		if one["value"] != nil {
			c.that(bytes.Equal(encode(fromJson(one["value"])), one.hex("bytes")), "encoding %s", one.text("name"))
		}
	}
	for _, one := range v.list("refused") {
		_, err := decode(one.hex("bytes"))
		c.that(err != nil, "took %s", one.text("name"))
	}
	for _, one := range v.list("frames") {
		c.that(bytes.Equal(frame(one.hex("payload")), one.hex("frame")), "frame of %.40s", one.text("payload"))
		in := bytes.NewReader(one.hex("frame"))
		payload, err := readFrame(in, func(p []byte) error { _, err := in.Read(p); return err })
		c.that(err == nil && bytes.Equal(payload, one.hex("payload")), "reading a frame")
	}
	for _, one := range v.list("framesRefused") {
		in := bytes.NewReader(one.hex("bytes"))
		_, err := readFrame(in, func(p []byte) error { return nil })
		c.that(err != nil, "took %s", one.text("name"))
	}
}

// {"hex"} is a byte string, {"map": [[key, value]]} a map.
func fromJson(value any) any {
	switch v := value.(type) {
	case float64:
		return int64(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = fromJson(item)
		}
		return out
	case map[string]any:
		if text, ok := v["hex"].(string); ok {
			return unhex(text)
		}
		out := map[string]any{}
		for _, pair := range v["map"].([]any) {
			entry := pair.([]any)
			out[entry[0].(string)] = fromJson(entry[1])
		}
		return out
	}
	return value
}

func checkKeys(c *checker, v object) {
	for _, one := range v.list("seeds") {
		c.that(public(ed25519.NewKeyFromSeed(one.hex("seed"))) == one.id("key"), "key of a seed")
	}
	for _, one := range v.list("keys") {
		c.that(isAdmissible(one.hex("key")) == (one["admissible"] == true), "admissible: %s", one.text("name"))
	}
	for _, one := range v.list("signatures") {
		c.that(verify(one.hex("key"), one.hex("message"), one.hex("signature")) == (one["valid"] == true), "signature: %s", one.text("name"))
	}
}

func checkSeals(c *checker, v object) {
	key := ed25519.NewKeyFromSeed(v.hex("seed"))
	example := v.in("example")
	c.that(leafOf(example.text("kind"), example.hex("bytes")) == example.id("leaf"), "the example's leaf")
	mine := encode(sealOne(key, example.text("kind"), example.hex("bytes")).value())
	c.that(bytes.Equal(mine, example.hex("sealed")), "the example sealed")
	kinds := []string{"roster", "envelope/device", "hello", "card"}
	for _, batch := range v.list("batches") {
		leaves := batch.texts("leaves")
		c.that(int64(len(leaves)) == batch.number("size"), "leaves of %d", len(leaves))
		for i, leaf := range leaves {
			c.that(leafOf(kinds[i%4], encode(map[string]any{"i": i})) == toId(leaf), "leaf %d of %d", i, len(leaves))
		}
		for _, one := range batch.list("seals") {
			s, err := parseSealed(decoded(one.hex("sealed")))
			c.no(err, "seal %d of %d", one.number("index"), len(leaves))
			c.that(s.good(one.text("kind")), "seal %d of %d", one.number("index"), len(leaves))
			c.that(bytes.Equal(s.sig, batch.hex("signature")), "signature of %d", len(leaves))
			c.that(bytes.Equal(encode(s.value()), one.hex("sealed")), "encoding seal %d of %d again", one.number("index"), len(leaves))
		}
	}
	for _, one := range v.list("refused") {
		s, err := parseSealed(decoded(one.hex("sealed")))
		c.that(err != nil || !s.good(one.text("kind")), "took %s", one.text("name"))
	}
}

func checkTickets(c *checker, v object) {
	for _, one := range v.list("tickets") {
		t, err := parseTicket(one.text("text"))
		c.no(err, "a ticket")
		guest, _ := one["guestName"].(string)
		c.that(t.mesh == one.id("mesh") && t.meshName == one.text("meshName") && t.inviter == one.id("inviter") && t.inviterName == one.text("inviterName") &&
			t.role == one.text("role") && t.expires*1000 == one.number("expiresAt") && t.uses == one.number("uses") && t.guest == guest &&
			t.invite == one.id("invite") && bytes.Equal(t.seed, one.hex("seed")), "a ticket's fields")
		c.that(slices.Equal(t.addresses, one.texts("addresses")) && slices.Equal(t.relays, one.texts("relays")), "a ticket's addresses")
		c.that(public(t.key()) == one.id("ticketKey"), "a ticket's key")
	}
	for _, one := range v.list("refused") {
		_, err := parseTicket(one.text("text"))
		c.that(err != nil, "took what is %s", one.text("why"))
	}
}

func checkRoster(c *checker, v object) {
	genesis := v.in("genesis")
	g, err := parseRecord(decoded(genesis.hex("sealed")))
	c.no(err, "the genesis")
	c.that(g.id == genesis.id("id") && g.mesh == genesis.id("mesh") && g.author == genesis.id("person"), "the genesis' ids")
	for _, one := range v.list("cases") {
		name := one.text("name")
		var records []*record
		for _, sealed := range one.texts("records") {
			r, err := parseRecord(decoded(unhex(sealed)))
			c.no(err, "a record of %q", name)
			records = append(records, r)
		}
		for range 2 {
			r := newRoster(records[0].mesh)
			c.no(r.add(records...), "%q", name)
			c.sameMembership(name, r, one["membership"].(map[string]any))
			slices.Reverse(records)
		}
	}
	for _, one := range v.list("refused") {
		_, err := parseRecord(decoded(one.hex("sealed")))
		c.that(err != nil, "took %s", one.text("name"))
	}
}

func (c *checker) sameMembership(name string, r *roster, want map[string]any) {
	data, err := json.Marshal(membershipOf(r))
	c.no(err, "%q", name)
	var got map[string]any
	c.no(json.Unmarshal(data, &got), "%q", name)
	for field := range want {
		c.that(reflect.DeepEqual(got[field], want[field]), "%q: %s is %v, expected %v", name, field, got[field], want[field])
	}
}

// As roster.json writes it: hex, in the order of ids.
func membershipOf(r *roster) map[string]any {
	t := fold(r.all())
	genesis := r.nodes[r.mesh]
	members, removed, former, invites, epochs := []any{}, []any{}, []any{}, []any{}, []any{}
	for _, key := range sortedKeys(t.persons) {
		p := t.persons[key]
		enders := t.endersOf(func(e *node) bool { return endsPerson(e, p.id) })
		if len(enders) > 0 {
			removed = append(removed, map[string]any{"person": p.id.String(), "name": p.name, "record": enders[0].id.String(), "cuts": cutsValue(enders)})
			continue
		}
		devices := []any{}
		for _, key := range sortedKeys(t.devices) {
			if d := t.devices[key]; d.person == p.id && t.livingDevice(d) {
				devices = append(devices, map[string]any{"id": d.id.String(), "name": d.name, "sealing": d.sealing.String()})
			}
		}
		members = append(members, map[string]any{"person": p.id.String(), "name": p.name, "role": p.role(), "rank": p.grants(), "personKey": p.personKey.String(), "devices": devices})
	}
	for _, key := range sortedKeys(t.devices) {
		d := t.devices[key]
		if t.livingDevice(d) {
			continue
		}
		enders := t.endersOf(func(e *node) bool { return endsDevice(e, d.id, d.person, d.grant) })
		former = append(former, map[string]any{"device": d.id.String(), "person": d.person.String(), "record": enders[0].id.String(), "cuts": cutsValue(enders)})
	}
	for _, key := range sortedKeys(t.invites) {
		invite := t.invites[key]
		left := []any{}
		for _, s := range invite.node.shares {
			uses := s.uses
			for _, used := range invite.used {
				if used.device == s.device {
					uses--
				}
			}
			left = append(left, []any{s.device.String(), uses})
		}
		invites = append(invites, map[string]any{"record": key.String(), "closed": t.closed(invite.node), "usesLeft": left})
	}
	for _, key := range sortedKeys(t.epochs) {
		epochs = append(epochs, map[string]any{"id": key.String(), "usable": t.usable(t.epochs[key])})
	}
	allowed := []any{}
	for _, pair := range t.allowedLogs() {
		allowed = append(allowed, []any{pair[0].String(), pair[1].String()})
	}
	var heads []id
	for _, n := range maximal(r.all()) {
		heads = append(heads, n.id)
	}
	return map[string]any{
		"mesh": r.mesh.String(), "name": genesis.name, "founder": genesis.author.String(), "policy": genesis.policy,
		"members": members, "removed": removed, "formerDevices": former, "invites": invites, "epochs": epochs, "allowed": allowed,
		"heads": texts(heads), "waiting": texts(sortedKeys(r.waiting)), "void": texts(sortedKeys(t.void)),
	}
}

func (t *tables) endersOf(ends func(*node) bool) []*node {
	var out []*node
	for _, e := range t.accepted {
		if ends(e) {
			out = append(out, e)
		}
	}
	return firstOf(out)
}

func cutsValue(enders []*node) []any {
	out := []any{}
	for _, one := range cutsOf(enders) {
		out = append(out, []any{one.log.String(), one.seq, one.id.String()})
	}
	return out
}

func sortedKeys[V any](m map[id]V) []id {
	var out []id
	for key := range m {
		out = append(out, key)
	}
	slices.SortFunc(out, compareIds)
	return out
}

func texts(ids []id) []any {
	slices.SortFunc(ids, compareIds)
	out := []any{}
	for _, one := range ids {
		out = append(out, one.String())
	}
	return out
}

func checkJoin(c *checker, v object) {
	t, err := parseTicket(v.text("ticket"))
	c.no(err, "the ticket")
	who := v.in("guest")
	sealing, err := ecdh.X25519().NewPrivateKey(who.hex("sealingPrivateKey"))
	c.no(err, "the sealing key")
	g := &guest{ed25519.NewKeyFromSeed(who.hex("personSeed")), ed25519.NewKeyFromSeed(who.hex("deviceSeed")), sealing, "ana"}
	var payloads [][]byte
	for _, one := range v.list("frames") {
		payloads = append(payloads, one.hex("payload"))
	}
	c.that(bytes.Equal(encode(joinFrame(t)), payloads[0]), "the first frame")
	admitting := v.id("admitting")
	challenge, err := openChallenge(payloads[1], t, admitting)
	c.no(err, "the challenge")
	_, err = openChallenge(payloads[1], t, public(g.device))
	c.that(err != nil, "took another device's challenge")
	message := proofMessage(t.mesh, t.invite, public(g.person), public(g.device), id(sealing.PublicKey().Bytes()), admitting, challenge)
	c.that(bytes.Equal(message, v.hex("proofMessage")), "the proof's message")
	theirs := decoded(payloads[2]).(map[string]any)
	cert, err := parseSealed(theirs["cert"])
	c.no(err, "the certificate")
	certN := decoded(cert.bytes).(map[string]any)["n"].([]byte)
	c.that(bytes.Equal(encode(proofFrame(t, g, admitting, challenge, certN)), payloads[2]), "the proof frame")
	at := 3
	next := func() ([]byte, error) { at++; return payloads[at-1], nil }
	joined, err := receiveAdmission(next, t, g, admitting)
	c.no(err, "the admission")
	if err == nil {
		c.that(joined.person == v.id("person"), "the person id")
		for _, one := range v.list("epochs") {
			c.that(bytes.Equal(joined.epochs[one.id("id")], one.hex("key")), "an epoch's key")
		}
	}
}

func checkHello(c *checker, v object) {
	ana, ben := v.in("ana"), v.in("ben")
	open := func(payload []byte) (*greeting, error) {
		return openHello(payload, v.id("mesh"), ben.id("device"), ana.id("device"), v.hex("nonce"), func(device id) (id, bool) {
			return ben.id("person"), device == ben.id("device")
		})
	}
	frames := v.texts("frames")
	_, err := expectHello(unhex(frames[0]), "nonce")
	c.no(err, "the nonce")
	g, err := open(unhex(frames[1]))
	c.no(err, "the hello")
	if err == nil {
		c.that(g.person == ben.id("person") && bytes.Equal(g.boot, v.hex("boot")) && g.wall == v.number("now") && len(g.keys) == 2, "what the hello says")
	}
	for _, one := range v.list("refused") {
		_, err := open(one.hex("payload"))
		wrong, ok := err.(*protocolError)
		c.that(ok && wrong.Code == one.text("code"), "%s: %v, expected %s", one.text("name"), err, one.text("code"))
	}
	var keys []*agentKey
	for _, one := range v.list("agentKeys") {
		k, err := parseAgentKey(decoded(one.hex("sealed")))
		c.no(err, "an agent key")
		c.that(k.id == one.id("id"), "an agent key's id")
		keys = append(keys, k)
	}
	for _, one := range v.list("current") {
		var known []*agentKey
		for _, at := range one["records"].([]any) {
			known = append(known, keys[int(at.(float64))])
		}
		got := currentKey(known, v.id("mesh"), ben.id("device"), "reviewer")
		want, _ := one["key"].(string)
		c.that((got == nil && want == "") || (got != nil && got.key.String() == want), "the current key of %v", one["records"])
	}
}

func checkEnvelopes(c *checker, v object) {
	ana, ben := v.in("ana"), v.in("ben")
	now := v.number("now")
	mine, theirs := ana.id("device"), ben.id("device")
	newCall := func(t target, request id, next int64) *call {
		return &call{
			mesh: v.id("mesh"), me: party{ana.id("person"), &mine, ""}, callee: party{ben.id("person"), &theirs, ""}, target: t, request: request, next: next,
			agentKey: &agentKey{person: ben.id("person"), device: theirs, agent: "reviewer", key: v.id("agentKey")},
		}
	}
	c.that(leafOf("envelope/device", v.in("request").hex("bytes")) == v.id("re"), "the request's id")
	ids := map[string]id{}
	frames := map[string][]byte{}
	for _, one := range v.list("frames") {
		name, payload := one.text("name"), one.hex("payload")
		frames[name] = payload
		c.that(bytes.Equal(encode(decoded(payload)), payload), "encoding %s again", name)
		if name == "ack" {
			continue
		}
		s, err := parseSealed(decoded(payload).(map[string]any)["e"])
		c.no(err, "%s", name)
		e, err := parseEnvelope(s)
		c.no(err, "%s", name)
		if err == nil {
			c.that(e.id == one.id("id"), "the id of %s", name)
			c.no(checkTimes(e, now), "the times of %s", name)
			ids[name] = e.id
		}
	}
	agent := newCall(target{agent: "reviewer"}, ids["request"], 0)
	for _, name := range []string{"accepted", "progress", "result"} {
		heard, err := agent.hear(frames[name], 1, now)
		c.no(err, "%s", name)
		if name == "result" && err == nil {
			c.that(len(heard.Parts) == 3 && heard.BatchSize == 3 && partsText(heard.Parts) == "two", "the result")
		}
	}
	tool := newCall(target{tool: "git.log"}, ids["tool request"], 0)
	for _, name := range []string{"tool accepted", "tool result"} {
		_, err := tool.hear(frames[name], 2, now)
		c.no(err, "%s", name)
	}
	refused, err := newCall(target{agent: "reviewer"}, ids["request"], 0).hear(frames["refused"], 1, now)
	c.that(err == nil && refused.Error.Code == "DENIED" && refused.Error.Hint == "ask ben", "refused: %v", err)
	failed, err := newCall(target{agent: "reviewer"}, ids["request"], 1).hear(frames["failure"], 1, now)
	c.that(err == nil && failed.Error.Code == "DENIED", "failure: %v", err)
	for _, one := range v.list("refused") {
		_, err := newCall(target{agent: "reviewer"}, v.id("re"), 0).hear(one.hex("payload"), 1, now)
		c.that(err != nil, "took %s", one.text("name"))
	}
}

func checkCards(c *checker, v object) {
	for _, one := range v.list("cards") {
		kind, name, err := checkCard(decoded(one.hex("sealed")), v.id("mesh"))
		c.that(err == nil && kind == one.text("kind") && name == one.text("name"), "card %s: %v", one.text("name"), err)
	}
	for _, one := range v.list("directory") {
		sum := hash([]byte("kin/directory/1 " + one.text("key")))
		encoded, err := multihash.Encode(sum[:], multihash.SHA2_256)
		c.no(err, "a multihash")
		c.that(cid.NewCidV1(cid.Raw, encoded).String() == one.text("cid"), "cid of %s", one.text("key"))
	}
	for _, payload := range v.texts("frames") {
		c.that(bytes.Equal(encode(decoded(unhex(payload))), unhex(payload)), "a frame")
	}
}

func checkEvents(c *checker, v object) {
	var openings []opening
	for _, one := range v.list("openings") {
		o := opening{one.id("device"), one.hex("incarnation"), one.text("chain")}
		openings = append(openings, o)
		c.that(logOf(v.id("mesh"), o) == one.id("log"), "a log's id")
	}
	var run []any
	for _, one := range v.list("events") {
		h, err := parseHeader(one.hex("header"))
		c.no(err, "event %d", one.number("seq"))
		if err == nil {
			c.that(h.id == one.id("id") && h.seq == one.number("seq") && h.kind == one.text("kind") && len(h.deps) == len(one.texts("deps")), "event %d", h.seq)
		}
		run = append(run, []any{one.hex("header"), one.hex("body")})
	}
	c.no(verifyRun(v.id("mesh"), openings[0], run, decoded(v.hex("head"))), "the run")
	for _, one := range v.list("refused") {
		_, err := parseHeader(one.hex("header"))
		c.that(err != nil, "took %s", one.text("name"))
	}
	for _, one := range v.list("badRuns") {
		var events []any
		for _, event := range one.texts("events") {
			events = append(events, decoded(unhex(event)))
		}
		c.that(verifyRun(v.id("mesh"), openings[0], events, decoded(one.hex("head"))) != nil, "took a run: %s", one.text("name"))
	}
	fork := v.in("fork")
	var headers [][]byte
	for _, one := range fork.texts("headers") {
		headers = append(headers, unhex(one))
	}
	a, b := decoded(fork.hex("a")), decoded(fork.hex("b"))
	c.that(isFork(openings[0], a, b, headers), "the fork")
	first, err := parseHeader(headers[0])
	c.no(err, "a fork's header")
	ways := func(one object) ([][]byte, [][]byte) {
		read := func(field string) (out [][]byte) {
			if _, ok := one[field]; ok {
				for _, text := range one.texts(field) {
					out = append(out, unhex(text))
				}
			}
			return out
		}
		return read("pa"), read("pb")
	}
	one, other := ways(fork)
	point, ok := isParting(a, openings[0].device, *first.prev, one, other)
	c.that(ok && point == 1, "where the fork parts")
	for _, bad := range v.list("badForks") {
		one, other := ways(bad)
		_, ok := isParting(a, openings[0].device, *first.prev, one, other)
		c.that(!ok, "took a parting: %s", bad.text("name"))
	}
	c.that(!isFork(openings[0], a, decoded(v.hex("head")), [][]byte{run[3].([]any)[0].([]byte)}), "one chain is no fork")
}

func checkExport(c *checker, v object) {
	raw, err := parseText("kinm", v.text("mesh"))
	c.no(err, "the mesh id")
	mesh := id(raw)
	out, err := verifyExport(mesh, v.hex("file"))
	c.no(err, "the export")
	if err == nil {
		names := memberNames(out.tables)
		slices.Sort(names)
		c.that(slices.Equal(names, v.texts("members")), "its members")
		c.that(reflect.DeepEqual(texts(out.last), anyOf(v.texts("last"))), "its logs")
		c.that(reflect.DeepEqual(out.answers, []string{"invoke/accepted", "invoke/" + v.texts("answers")[0]}), "its answers")
	}
	for _, one := range v.list("refused") {
		_, err := verifyExport(mesh, one.hex("file"))
		c.that(err != nil, "took an export: %s", one.text("name"))
	}
	_, err = verifyExport(hash([]byte("x")), v.hex("file"))
	c.that(err != nil, "took an export of another mesh")
}

func anyOf(all []string) (out []any) {
	for _, one := range all {
		out = append(out, one)
	}
	return out
}

func checkDocuments(c *checker, v object) {
	mesh, log, note := v.id("mesh"), v.id("log"), v.id("note")
	c.that(yjsClient(log, note) == v.number("client"), "the client")
	record := recordId(mesh, v.id("person"), "reviewer")
	c.that(record == v.id("record") && bytes.Equal(automergeActor(log, record), v.hex("actor")), "the record and its actor")
	private := v.in("privateUpdate")
	update, err := openUpdate(mesh, note, private.id("author"), private.hex("key"), private.hex("n"), private.hex("x"))
	c.no(err, "a private update")
	c.that(bytes.Equal(update, private.hex("update")), "a private update")
	var facts []*fact
	for _, one := range v.in("facts").list("events") {
		if f, err := parseFact(one.id("id"), one.id("person"), one.hex("hlc"), one.hex("value")); err == nil {
			facts = append(facts, f)
		}
	}
	for range 2 {
		for _, one := range v.in("facts").list("standing") {
			scope := ""
			if items, ok := one["scope"].([]any); ok {
				scope = string(encode([]any{unhex(items[0].(string)), items[1]}))
			}
			var got []string
			for _, event := range standing(facts, scope, one.text("key")) {
				got = append(got, event.String())
			}
			c.that(slices.Equal(got, one.texts("ids")), "what stands of %s", one.text("key"))
		}
		slices.Reverse(facts)
	}
	for _, one := range v.list("refused") {
		_, err := parseFact(id{}, v.id("person"), nil, one.hex("value"))
		c.that(err != nil, "took a fact: %s", one.text("name"))
	}
}

func checkSnapshot(c *checker, v object) {
	var rows [][]byte
	for _, row := range v.texts("rows") {
		rows = append(rows, unhex(row))
	}
	state := snapshotState(rows)
	c.that(bytes.Equal(state, v.hex("state")), "the state's bytes")
	c.that(hash([]byte("kin/snapshot-state/1"), state) == v.id("stateHash"), "the state's hash")
	snapshot, named, length, err := readProposal(v.id("mesh"), v.hex("proposal"))
	c.no(err, "the proposal")
	c.that(snapshot == v.id("id") && named == v.id("stateHash") && length == int64(len(state)), "the snapshot's id")
	var of int64
	for _, one := range v.list("frames") {
		f := readBytes(one.hex("frame"), "a frame")
		switch {
		case f.has("of"):
			of = f.integer("of", 1, maxInteger)
			c.that(f.id("e") == v.in("epoch").id("id"), "the epoch of the parts")
		case f.has("n"):
			part, err := openPart(v.id("mesh"), snapshot, v.in("epoch").hex("key"), f.integer("n", 0, of-1), of, f.bytes("i", 12), f.bytes("x", -1))
			c.no(err, "a part")
			c.that(bytes.Equal(part, state), "what the part holds")
		default:
			c.that(f.id("s") == snapshot, "what is asked for")
		}
		c.no(f.end(), "a frame")
	}
}

func checkBodies(c *checker, v object) {
	epoch := v.in("epoch")
	sum := hash([]byte("kin/epoch/1"), epoch.hex("key"))
	c.that(sum == epoch.id("keyHash"), "the epoch's hash")
	for _, one := range v.list("recipients") {
		private, err := ecdh.X25519().NewPrivateKey(one.hex("sealingPrivateKey"))
		c.no(err, "a recipient's key")
		keys := &bodyKeys{v.id("mesh"), v.id("author"), map[id][]byte{epoch.id("id"): epoch.hex("key")}, one.id("device"), private}
		for _, body := range v.list("bodies") {
			h, err := parseHeader(body.hex("header"))
			c.no(err, "a header")
			value, err := openBody(h, body.hex("body"), keys)
			c.no(err, "a %s body", body.text("form"))
			c.that(err == nil && bytes.Equal(encode(value), body.hex("value")), "a %s body's value", body.text("form"))
		}
		for _, body := range v.list("refused") {
			h, err := parseHeader(body.hex("header"))
			if err == nil {
				_, err = openBody(h, body.hex("body"), keys)
			}
			c.that(err != nil, "opened a body %s", body.text("name"))
		}
	}
	key := v.in("epochKey")
	sealed, ok := readSealedKey(decoded(key.hex("sealed")))
	c.that(ok, "a sealed epoch key")
	c.that(bytes.Equal(epochInfo(v.id("mesh"), epoch.hex("keyHash"), key.id("author"), sealed.device), key.hex("info")), "its info")
	for _, one := range v.list("recipients") {
		if one.id("device") != sealed.device {
			continue
		}
		private, _ := ecdh.X25519().NewPrivateKey(one.hex("sealingPrivateKey"))
		opened, err := openEpochKey(v.id("mesh"), epoch.hex("keyHash"), sealed, key.id("author"), private)
		c.that(err == nil && bytes.Equal(opened, epoch.hex("key")), "opening it: %v", err)
		_, err = openEpochKey(v.id("mesh"), epoch.hex("keyHash"), sealed, one.id("device"), private)
		c.that(err != nil, "opened it for another author")
	}
}

func checkSync(c *checker, v object) {
	for _, one := range v.list("frames") {
		logs, err := checkSyncFrame(v.id("mesh"), one.hex("payload"))
		c.no(err, "%s", one.text("name"))
		for _, log := range logs {
			c.that(log == v.id("log"), "the log of %s", one.text("name"))
		}
	}
	for _, one := range v.list("refused") {
		_, err := checkSyncFrame(v.id("mesh"), one.hex("payload"))
		c.that(err != nil, "took %s", one.text("name"))
	}
}
