package main

// Logs, events, heads, bodies, sync frames: docs/protocol.md §16, §17, §19.

import (
	"bytes"
	"crypto/ecdh"
)

type opening struct {
	device      id
	incarnation []byte
	chain       string
}

func logOf(mesh id, o opening) id {
	return hash([]byte("kin/log/1"), encode(map[string]any{"mesh": mesh.raw(), "device": o.device.raw(), "incarnation": o.incarnation, "chain": o.chain}))
}

type header struct {
	id       id
	log      id
	seq      int64
	prev     *id
	deps     []id
	hlc      []byte
	kind     string
	audience string
	bodyHash []byte
	value    map[string]any
}

func parseHeader(in []byte) (*header, error) {
	if len(in) > 4096 {
		return nil, fail("TOO_LARGE", "a header of %d bytes", len(in))
	}
	f := readBytes(in, "a header")
	if f.err != nil {
		return nil, f.err
	}
	if v, _ := f.raw("v").(int64); v != 1 {
		return nil, fail("UNSUPPORTED_VERSION", "a header of another version")
	}
	h := &header{id: hash(in), log: f.id("log"), seq: f.integer("seq", 0, maxInteger), value: f.m}
	if f.raw("prev") != nil || !f.has("prev") {
		prev := f.id("prev")
		h.prev = &prev
	}
	h.deps = f.ids("deps", 0, 64, true)
	h.hlc, h.kind = f.bytes("hlc", 8), f.name("kind")
	h.audience, h.bodyHash = f.oneOf("audience", "mesh", "direct", "here"), f.bytes("bodyHash", 32)
	if (h.prev == nil) != (h.seq == 0) || (h.kind == "log-opened") != (h.seq == 0) {
		f.wrong("seq", "0 exactly in log-opened without prev")
	}
	for _, dep := range h.deps {
		if h.prev != nil && dep == *h.prev {
			f.wrong("deps", "without prev")
		}
	}
	return h, f.end()
}

type head struct {
	log id
	seq int64
	id  id
	hlc []byte
}

// [head bytes, signature], good by the device's key.
func openHead(value any, device id) (*head, error) {
	items, ok := value.([]any)
	if !ok || len(items) != 2 {
		return nil, fail("BAD_REQUEST", "a signed head is [bytes, signature]")
	}
	message, ok1 := items[0].([]byte)
	sig, ok2 := items[1].([]byte)
	if !ok1 || !ok2 || !verify(device[:], append([]byte("kin/head/1"), message...), sig) {
		return nil, fail("BAD_SIGNATURE", "a head is not signed by its device")
	}
	f := readBytes(message, "a head")
	h := &head{f.id("log"), f.integer("seq", 0, maxInteger), f.id("id"), f.bytes("hlc", 8)}
	return h, f.end()
}

func openEvent(value any) (*header, []byte, error) {
	items, ok := value.([]any)
	if !ok || len(items) != 2 {
		return nil, nil, fail("BAD_REQUEST", "an event is [header, body | null]")
	}
	in, ok := items[0].([]byte)
	if !ok {
		return nil, nil, fail("BAD_REQUEST", "a header is bytes")
	}
	h, err := parseHeader(in)
	if err != nil {
		return nil, nil, err
	}
	if items[1] == nil {
		return h, nil, nil
	}
	body, ok := items[1].([]byte)
	if !ok || len(body) > maxEnvelope || !bytes.Equal(hash(body).raw(), h.bodyHash) {
		return nil, nil, fail("BAD_REQUEST", "a body does not match its header")
	}
	return h, body, nil
}

// A run from seq 0 of one mesh chain, up to its signed head.
func verifyRun(mesh id, o opening, events []any, signed any) error {
	h, err := openHead(signed, o.device)
	if err != nil {
		return err
	}
	var last *header
	for i, item := range events {
		next, _, err := openEvent(item)
		if err != nil {
			return err
		}
		if next.log != logOf(mesh, o) || next.seq != int64(i) || (next.audience == "here") != (o.chain == "here") {
			return fail("BAD_REQUEST", "an event does not belong there")
		}
		if last != nil && (*next.prev != last.id || bytes.Compare(next.hlc, last.hlc) <= 0) {
			return fail("BAD_REQUEST", "an event does not follow the one before")
		}
		last = next
	}
	if last == nil || h.log != last.log || h.seq != last.seq || h.id != last.id || !bytes.Equal(h.hlc, last.hlc) {
		return fail("BAD_REQUEST", "the head is of another event")
	}
	return nil
}

// Two heads that no single chain holds; headers lead from just after a up to b.
func isFork(o opening, a, b any, headers [][]byte) bool {
	lower, err1 := openHead(a, o.device)
	upper, err2 := openHead(b, o.device)
	if err1 != nil || err2 != nil || lower.log != upper.log || int64(len(headers)) != upper.seq-lower.seq {
		return false
	}
	if len(headers) == 0 {
		return lower.id != upper.id
	}
	var before id
	for i, in := range headers {
		h, err := parseHeader(in)
		if err != nil || h.log != lower.log || h.seq != lower.seq+1+int64(i) || (i > 0 && *h.prev != before) {
			return false
		}
		if i == 0 && *h.prev == lower.id {
			return false
		}
		before = h.id
	}
	return before == upper.id
}

// Whether both ways lead from one event to a and to what b's chain has at a's seq; and the seq after which they part.
func isParting(a any, device id, atA id, one, other [][]byte) (int64, bool) {
	lower, err := openHead(a, device)
	if err != nil || len(one) == 0 || len(one) != len(other) || int64(len(one)) > lower.seq+1 {
		return 0, false
	}
	from := lower.seq - int64(len(one)) + 1
	first, ok1 := wayTo(lower.log, one, from, lower.id)
	second, ok2 := wayTo(lower.log, other, from, atA)
	if !ok1 || !ok2 || first.id == second.id || (first.prev == nil) != (second.prev == nil) {
		return 0, false
	}
	return from - 1, first.prev == nil || *first.prev == *second.prev
}

func wayTo(log id, headers [][]byte, from int64, last id) (*header, bool) {
	var first, before *header
	for i, in := range headers {
		h, err := parseHeader(in)
		if err != nil || h.log != log || h.seq != from+int64(i) || (before != nil && *h.prev != before.id) {
			return nil, false
		}
		if first == nil {
			first = h
		}
		before = h
	}
	return first, before != nil && before.id == last
}

// ── bodies ──

type bodyKeys struct {
	mesh   id
	author id
	epochs map[id][]byte
	device id
	mine   *ecdh.PrivateKey
}

func openBody(h *header, body []byte, keys *bodyKeys) (any, error) {
	if !bytes.Equal(hash(body).raw(), h.bodyHash) {
		return nil, fail("BAD_REQUEST", "a body does not match its header")
	}
	f := readBytes(body, "a body")
	n := f.bytes("n", 16)
	form := "clear"
	switch {
	case f.has("e"):
		form = "mesh"
	case f.has("r"):
		form = "direct"
	}
	if form != "clear" {
		f.bytes("x", -1)
	} else {
		f.raw("c")
	}
	f.raw("e")
	f.raw("r")
	if err := f.end(); err != nil {
		return nil, err
	}
	if !mayHave(h, form) {
		return nil, fail("BAD_REQUEST", "a %s body under a %s event for %s", form, h.kind, h.audience)
	}
	if form == "clear" {
		return f.m["c"], nil
	}
	unsealed := map[string]any{}
	for key, value := range h.value {
		if key != "bodyHash" {
			unsealed[key] = value
		}
	}
	aad := map[string]any{"mesh": keys.mesh.raw(), "header": unsealed}
	var key []byte
	var err error
	if form == "mesh" {
		epoch := f.id("e")
		aad["epoch"] = epoch.raw()
		if f.err != nil || keys.epochs[epoch] == nil {
			return nil, fail("NOT_FOUND", "no key of that epoch")
		}
		key = derive(keys.epochs[epoch], append([]byte("kin/mesh/1"), h.log[:]...))
	} else if key, err = unwrap(h, f, encode(aad), keys); err != nil {
		return nil, err
	}
	plain, err := gcmOpen(key, n[:12], f.m["x"].([]byte), encode(aad))
	if err != nil {
		return nil, fail("BAD_REQUEST", "the body does not open: %v", err)
	}
	return decode(plain)
}

func unwrap(h *header, f *fields, aad []byte, keys *bodyKeys) ([]byte, error) {
	var devices []id
	var ours *sealedKey
	for _, item := range f.list("r", 1, 256) {
		one, ok := readSealedKey(item)
		if !ok || (len(devices) > 0 && !devices[len(devices)-1].less(one.device)) {
			return nil, fail("BAD_REQUEST", "recipients are [device, enc, ct] in order")
		}
		devices = append(devices, one.device)
		if one.device == keys.device {
			ours = &one
		}
	}
	if ours == nil {
		return nil, fail("NOT_FOUND", "the body is for other devices")
	}
	info := encode([]any{"kin/direct/1", keys.mesh.raw(), keys.author.raw(), h.log.raw(), h.seq, idList(devices)})
	return hpkeOpen(keys.mine, ours.enc, ours.ct, info, aad)
}

func mayHave(h *header, form string) bool {
	clearKind := h.kind == "log-opened" || h.kind == "roster" || h.kind == "agent-key" || h.kind == "re-issued"
	switch h.audience {
	case "here":
		return form == "clear"
	case "direct":
		return form == "direct" && !clearKind
	}
	if (h.kind == "card" || h.kind == "here-head") && form == "clear" {
		return true
	}
	if clearKind {
		return form == "clear"
	}
	return form == "mesh"
}

// ── sync frames (§19): shape only ──

func checkSyncFrame(mesh id, payload []byte) (logs []id, err error) {
	f := readBytes(payload, "a sync frame")
	if f.err != nil {
		return nil, f.err
	}
	switch f.text("t") {
	case "vector":
		if v, _ := f.raw("v").(int64); v != 1 {
			return nil, fail("UNSUPPORTED_VERSION", "a vector of another version")
		}
		f.boolean("full")
		f.ids("r", 0, 256, false)
		seen := map[id]bool{}
		for _, item := range f.list("logs", 0, 4096) {
			log, ok := readEntry(mesh, item)
			if !ok || seen[log] {
				f.wrong("logs", "entries, each log once")
				break
			}
			seen[log] = true
			logs = append(logs, log)
		}
		if f.has("f") {
			for _, item := range f.list("f", 0, 4096) {
				if !isForkedLog(item) {
					f.wrong("f", "[device, incarnation, ends]")
				}
			}
		}
	case "want":
		for _, item := range f.list("logs", 0, 4096) {
			items, _ := item.([]any)
			if len(items) != 3 {
				f.wrong("logs", "[log, from, to]")
				break
			}
			log, ok1 := idOf(items[0])
			from, ok2 := items[1].(int64)
			to, ok3 := items[2].(int64)
			if !ok1 || !ok2 || !ok3 || from < 0 || to < from {
				f.wrong("logs", "[log, from, to]")
			}
			logs = append(logs, log)
		}
		f.ids("ids", 0, 1024, false)
	case "records":
		for _, item := range f.list("r", 0, 256) {
			if _, err := parseSealed(item); err != nil {
				return nil, err
			}
		}
	case "run":
		logs = append(logs, f.id("log"))
		f.integer("from", 0, maxInteger)
		for _, item := range f.list("ev", 0, 1024) {
			if _, _, err := openEvent(item); err != nil {
				return nil, err
			}
		}
		if f.raw("h") != nil {
			f.list("h", 2, 2)
		}
	case "bodies":
		f.list("b", 0, 1024)
	case "fork":
		f.list("o", 2, 2)
		f.list("a", 2, 2)
		f.list("b", 2, 2)
		f.list("hs", 0, 1024)
		if f.has("pa") || f.has("pb") {
			f.list("pa", 0, 1024)
			f.list("pb", 0, 1024)
		}
	case "part":
		logs = append(logs, f.id("log"))
		f.id("tip")
		f.integer("from", 0, maxInteger)
	case "end":
		f.text("code")
		f.text("message")
	default:
		f.wrong("t", "a known one")
	}
	return logs, f.end()
}

// [device, incarnation, [[seq, event id] …]]
func isForkedLog(item any) bool {
	items, _ := item.([]any)
	if len(items) != 3 {
		return false
	}
	_, ok1 := idOf(items[0])
	incarnation, ok2 := items[1].([]byte)
	ends, ok3 := items[2].([]any)
	return ok1 && ok2 && ok3 && len(incarnation) == 16 && len(ends) <= 16
}

func readEntry(mesh id, item any) (id, bool) {
	items, _ := item.([]any)
	if len(items) != 4 {
		return id{}, false
	}
	device, ok1 := idOf(items[0])
	incarnation, ok2 := items[1].([]byte)
	seq, ok3 := items[2].(int64)
	_, ok4 := idOf(items[3])
	return logOf(mesh, opening{device, incarnation, "mesh"}), ok1 && ok2 && ok3 && ok4 && len(incarnation) == 16 && seq >= 0
}

// ── cards (§15) ──

func checkCard(value any, mesh id) (kind, name string, err error) {
	s, err := parseSealed(value)
	if err != nil {
		return "", "", err
	}
	f := readBytes(s.bytes, "a card")
	f.integer("v", 1, 1)
	kind = f.oneOf("kind", "agent", "tool")
	sameMesh := f.id("mesh") == mesh
	f.id("person")
	device := f.id("device")
	name = f.text("name")
	f.text("description")
	f.integer("at", 0, maxInteger)
	f.boolean("ended")
	f.list("shares", 0, 64)
	if f.raw("allowed") != "mesh" {
		f.ids("allowed", 0, maxArray, false)
	}
	if kind == "agent" {
		f.list("skills", 0, 64)
		f.id("key")
		f.integer("gen", 1, maxInteger)
	} else {
		f.text("schema")
		f.boolean("ro")
	}
	if err := f.end(); err != nil {
		return "", "", err
	}
	if !sameMesh || s.key != device || !s.good("card") {
		return "", "", fail("BAD_SIGNATURE", "a card is not its device's")
	}
	return kind, name, nil
}
