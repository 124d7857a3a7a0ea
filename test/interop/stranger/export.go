package main

// An export, docs/protocol.md §26, as far as the vectors need it: whole logs of living devices in one run each, direct bodies
// opened by their keys, the answers in them. No forks, removals, parts or here chains: test/independent/verify.py does all.

import (
	"bytes"
	"slices"
)

type exported struct {
	tables  *tables
	last    []id
	answers []string // kinds of the envelopes in opened answers
}

type exportReader struct {
	mesh    id
	records []*record
	tables  *tables
	keys    []*agentKey
	opened  map[id][]byte
	opening *opening
	to      int64
	events  []any
	out     *exported
	isDone  bool
}

func verifyExport(mesh id, file []byte) (*exported, error) {
	line := []byte("kin export 1\n")
	if !bytes.HasPrefix(file, line) {
		return nil, fail("UNSUPPORTED_VERSION", "no export of version 1")
	}
	in := bytes.NewReader(file[len(line):])
	r := &exportReader{mesh: mesh, opened: map[id][]byte{}, out: &exported{}}
	for in.Len() > 0 {
		before := file[:len(file)-in.Len()]
		payload, err := readFrame(in, func(to []byte) error {
			if in.Len() < len(to) {
				return fail("BAD_REQUEST", "the file is cut off")
			}
			_, err := in.Read(to)
			return err
		})
		if err == nil {
			err = r.take(payload, before)
		}
		if err != nil {
			return nil, err
		}
	}
	if !r.isDone {
		return nil, fail("BAD_REQUEST", "the file is cut off")
	}
	return r.out, nil
}

func (r *exportReader) take(payload, before []byte) error {
	f := readBytes(payload, "a frame of an export")
	if f.err != nil {
		return f.err
	}
	kind := f.text("t")
	if r.isDone {
		return fail("BAD_REQUEST", "something follows the end")
	}
	if r.tables == nil && kind != "export" && kind != "records" {
		roster := newRoster(r.mesh)
		if err := roster.add(r.records...); err != nil {
			return err
		}
		if len(r.records) == 0 || r.records[0].kind != "genesis" || len(roster.waiting) > 0 {
			return fail("BAD_REQUEST", "the records do not begin with a genesis, or lack parents")
		}
		r.tables = fold(roster.all())
		r.out.tables = r.tables
	}
	if err := r.takeFrame(kind, f, before); err != nil {
		return err
	}
	return f.end()
}

func (r *exportReader) takeFrame(kind string, f *fields, before []byte) error {
	switch kind {
	case "export":
		f.integer("v", 1, 1)
		f.boolean("all")
		f.boolean("here")
		if f.id("mesh") != r.mesh {
			return fail("WRONG_MESH", "an export of another mesh")
		}
	case "records":
		for _, item := range f.list("r", 1, 256) {
			one, err := parseRecord(item)
			if err != nil {
				return err
			}
			r.records = append(r.records, one)
		}
	case "keys":
		for _, item := range f.list("k", 1, 256) {
			one, err := parseAgentKey(item)
			if err != nil {
				return err
			}
			if d := r.tables.devices[one.device]; d == nil || d.person != one.person || one.mesh != r.mesh {
				return fail("BAD_REQUEST", "an agent key of a device that is not that person's")
			}
			r.keys = append(r.keys, one)
		}
	case "open":
		for _, item := range f.list("e", 1, 64) {
			entry, ok := item.([]any)
			if !ok || len(entry) != 3 || entry[1] != "key" {
				return fail("BAD_REQUEST", "an opened event that this reader does not know")
			}
			event, ok1 := idOf(entry[0])
			key, ok2 := entry[2].([]byte)
			if !ok1 || !ok2 || len(key) != 32 {
				return fail("BAD_REQUEST", "an opened event is [id, how, key]")
			}
			r.opened[event] = key
		}
	case "log":
		return r.takeLog(f)
	case "run":
		return r.takeRun(f)
	case "end":
		return r.takeEnd(f, before)
	default:
		return fail("BAD_REQUEST", "a frame that this reader does not know")
	}
	return f.err
}

func (r *exportReader) takeLog(f *fields) error {
	o := f.list("o", 3, 3)
	from, to, stop := f.integer("from", 0, 0), f.integer("to", 0, maxInteger), f.raw("stop")
	if f.err != nil || r.opening != nil {
		return fail("BAD_REQUEST", "a log that begins inside another one, or is malformed")
	}
	device, ok1 := idOf(o[0])
	incarnation, ok2 := o[1].([]byte)
	d := r.tables.devices[device]
	if !ok1 || !ok2 || len(incarnation) != 16 || o[2] != "mesh" || d == nil || !r.tables.livingDevice(d) {
		return fail("NOT_A_MEMBER", "a log of no living device")
	}
	if stop != nil || from != 0 {
		return fail("BAD_REQUEST", "a log that ends for no reason")
	}
	r.opening, r.to, r.events = &opening{device, incarnation, "mesh"}, to, nil
	return nil
}

func (r *exportReader) takeRun(f *fields) error {
	events, signed := f.list("ev", 1, 1024), f.raw("h")
	if f.err != nil || r.opening == nil {
		return fail("BAD_REQUEST", "events of no log")
	}
	r.events = append(r.events, events...)
	if signed == nil {
		return nil
	}
	if err := verifyRun(r.mesh, *r.opening, r.events, signed); err != nil {
		return err
	}
	if int64(len(r.events))-1 != r.to {
		return fail("BAD_REQUEST", "a log that does not end where it says")
	}
	for _, item := range r.events {
		h, body, err := openEvent(item)
		if err == nil {
			err = r.show(h, body)
		}
		if err != nil {
			return err
		}
		if h.seq == r.to {
			r.out.last = append(r.out.last, h.id)
		}
	}
	r.opening = nil
	return nil
}

// What an opened body says, and the seals in it.
func (r *exportReader) show(h *header, body []byte) error {
	key := r.opened[h.id]
	if key == nil {
		return nil
	}
	delete(r.opened, h.id)
	f := readBytes(body, "a body")
	n, x := f.bytes("n", 16), f.bytes("x", -1)
	if f.err != nil || !mayHave(h, "direct") {
		return fail("BAD_REQUEST", "an opened body that is not direct")
	}
	unsealed := map[string]any{}
	for name, value := range h.value {
		if name != "bodyHash" {
			unsealed[name] = value
		}
	}
	plain, err := gcmOpen(key, n[:12], x, encode(map[string]any{"mesh": r.mesh.raw(), "header": unsealed}))
	if err != nil {
		return fail("BAD_REQUEST", "a key that does not open its event")
	}
	if h.kind != "invocation-answered" {
		return nil
	}
	value := readBytes(plain, "an answer")
	re := value.id("re")
	for _, item := range value.list("ev", 1, 4) {
		s, err := parseSealed(item)
		if err != nil {
			return err
		}
		e, err := parseEnvelope(s)
		if err != nil {
			return err
		}
		if e.re == nil || *e.re != re || !r.maySpeak(e) {
			return fail("BAD_SIGNATURE", "an answer by a key that is not its sender's, or to another request")
		}
		r.out.answers = append(r.out.answers, e.kind)
	}
	return value.end()
}

func (r *exportReader) maySpeak(e *envelope) bool {
	if e.from.device == nil {
		return false
	}
	if e.from.agent == "" {
		return e.key == *e.from.device
	}
	return slices.ContainsFunc(r.keys, func(k *agentKey) bool {
		return !k.ended && k.key == e.key && k.person == e.from.person && k.device == *e.from.device && k.agent == e.from.agent
	})
}

func (r *exportReader) takeEnd(f *fields, before []byte) error {
	s, err := parseSealed(f.raw("s"))
	if err != nil {
		return err
	}
	said := readBytes(s.bytes, "the end of an export")
	said.integer("v", 1, 1)
	by := said.list("by", 2, 2)
	said.integer("at", 0, maxInteger)
	said.bytes("n", 16)
	isHere := said.id("mesh") == r.mesh && bytes.Equal(said.bytes("file", 32), hash(before).raw())
	if err := said.end(); err != nil {
		return err
	}
	person, ok1 := idOf(by[0])
	device, ok2 := idOf(by[1])
	d := r.tables.devices[device]
	if !isHere || !ok1 || !ok2 || d == nil || d.person != person || s.key != device || !s.good("export") {
		return fail("BAD_SIGNATURE", "the file was changed, or is sealed by nobody in the mesh")
	}
	if r.opening != nil || len(r.opened) > 0 {
		return fail("BAD_REQUEST", "a log without a head, or an opened event that is not there")
	}
	r.isDone = true
	return nil
}
