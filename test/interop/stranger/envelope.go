package main

// Envelopes and the caller's half of /kin/invoke/1, docs/protocol.md §13 and §14.

import (
	"encoding/binary"
	"regexp"
	"strings"
)

type party struct {
	person id
	device *id
	agent  string // "": null
}

type envelope struct {
	id   id
	mesh id
	from party
	to   party
	kind string
	iat  int64
	exp  int64
	re   *id
	body any
	key  id
}

const maxEnvelope = 262_144

var tracePattern = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

var envelopeKinds = []string{"invoke/request", "invoke/accepted", "invoke/refused", "invoke/progress", "invoke/result", "invoke/failure", "invoke/cancel", "invoke/resume"}

// Shape and seal; whose key it is, is the caller's question.
func parseEnvelope(s *sealed) (*envelope, error) {
	if len(s.bytes) > maxEnvelope {
		return nil, fail("TOO_LARGE", "an envelope of %d bytes", len(s.bytes))
	}
	f := readBytes(s.bytes, "an envelope")
	if f.err != nil {
		return nil, f.err
	}
	if v, _ := f.raw("v").(int64); v != 1 {
		return nil, fail("UNSUPPORTED_VERSION", "an envelope of another version")
	}
	e := &envelope{mesh: f.id("mesh"), kind: f.oneOf("kind", envelopeKinds...), key: s.key}
	e.from, e.to = readParty(f, "from"), readParty(f, "to")
	if e.from.device == nil || (e.from.agent != "" && !isName(e.from.agent)) {
		f.wrong("from", "[person, device, agent | null]")
	}
	f.bytes("id", 16)
	if f.has("boot") {
		f.bytes("boot", 16)
	}
	e.iat, e.exp = f.integer("iat", 0, maxInteger), f.integer("exp", 0, maxInteger)
	f.bytes("hlc", 8)
	if f.has("trace") && !tracePattern.MatchString(f.text("trace")) {
		f.wrong("trace", "a W3C traceparent")
	}
	for _, item := range f.list("caps", 0, 32) {
		if _, ok := item.([]byte); !ok {
			f.wrong("caps", "byte strings")
		}
	}
	if f.has("re") {
		re := f.id("re")
		e.re = &re
	}
	if f.has("body") == f.has("bodyHash") {
		f.wrong("body", "there, or bodyHash is")
	}
	e.body = f.raw("body")
	if f.has("bodyHash") {
		f.bytes("bodyHash", 32)
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	kind := sealKind(e.from)
	e.id = leafOf(kind, s.bytes)
	if !s.good(kind) {
		return nil, fail("BAD_SIGNATURE", "the envelope's seal does not match")
	}
	return e, nil
}

func sealKind(from party) string {
	if from.agent == "" {
		return "envelope/device"
	}
	return "envelope/agent"
}

func readParty(f *fields, name string) party {
	var p party
	items := f.list(name, 3, 3)
	if items == nil {
		return p
	}
	var ok bool
	if p.person, ok = idOf(items[0]); !ok {
		f.wrong(name, "[person, device, agent]")
	}
	if items[1] != nil {
		device, ok := idOf(items[1])
		if !ok {
			f.wrong(name, "[person, device, agent]")
		}
		p.device = &device
	}
	if items[2] != nil {
		if p.agent, ok = items[2].(string); !ok || !(isName(p.agent) || isTool(p.agent)) {
			f.wrong(name, "[person, device, agent]")
		}
	}
	return p
}

func checkTimes(e *envelope, now int64) error {
	switch {
	case e.exp <= e.iat || e.exp-e.iat > 600_000:
		return fail("BAD_REQUEST", "an envelope lives for at most 10 min")
	case e.iat > now+300_000:
		return fail("CLOCK_SKEW", "the envelope is from the future")
	case e.exp <= now:
		return fail("EXPIRED", "the envelope has expired")
	}
	return nil
}

type target struct {
	agent string
	tool  string
}

func (t target) name() string { return t.agent + t.tool }

// The envelope of a request, sealed.
func makeRequest(me *self, callee party, boot []byte, t target, text, args string, deadline, now int64) *sealed {
	body := map[string]any{
		"args": args, "key": random(16), "deadline": deadline, "budget": map[string]any{"depth": 4},
		"chain": []any{[]any{me.person.raw(), public(me.device).raw(), nil}},
	}
	if t.tool != "" {
		body["target"], body["parts"] = map[string]any{"tool": t.tool}, []any{}
	} else {
		body["target"], body["parts"] = map[string]any{"agent": t.agent}, []any{map[string]any{"text": text}}
	}
	return sealOne(me.device, "envelope/device", encode(map[string]any{
		"v": 1, "mesh": me.mesh.raw(), "from": []any{me.person.raw(), public(me.device).raw(), nil},
		"to": []any{callee.person.raw(), callee.device.raw(), t.name()}, "kind": "invoke/request", "id": random(16), "boot": boot,
		"iat": now, "exp": now + min(600_000, deadline+300_000), "hlc": binary.BigEndian.AppendUint64(nil, uint64(now)<<16),
		"caps": []any{}, "body": body,
	}))
}

// A cancel or a resume of a call.
func makeFollowUp(me *self, c *call, kind string, boot []byte, body map[string]any, now int64) *sealed {
	return sealOne(me.device, "envelope/device", encode(map[string]any{
		"v": 1, "mesh": me.mesh.raw(), "from": []any{me.person.raw(), public(me.device).raw(), nil},
		"to": []any{c.callee.person.raw(), c.callee.device.raw(), c.target.name()}, "kind": kind, "id": random(16), "boot": boot,
		"iat": now, "exp": now + 600_000, "hlc": binary.BigEndian.AppendUint64(nil, uint64(now)<<16+1),
		"caps": []any{}, "re": c.request.raw(), "body": body,
	}))
}

// Of bytes that this program has encoded itself.
func decodedMap(in []byte) map[string]any {
	value, err := decode(in)
	if err != nil {
		panic(err)
	}
	return value.(map[string]any)
}

// An answer that has been verified.
type event struct {
	Type       string           `json:"type"`
	Index      int64            `json:"index"`
	Parts      []map[string]any `json:"parts,omitempty"`
	Tool       map[string]any   `json:"tool,omitempty"`
	Error      *protocolError   `json:"error,omitempty"`
	SignedBy   string           `json:"signedBy"`
	BatchSize  int              `json:"batchSize"`
	EnvelopeID string           `json:"envelope"`
}

// What the caller knows about a call in flight.
type call struct {
	mesh    id
	me      party
	callee  party
	target  target
	request id
	next    int64
	// The current key record of the asked agent, if it is one.
	agentKey *agentKey
}

// Verifies one frame as the answer to the call (14.2). nil: a frame that is none.
func (c *call) hear(payload []byte, number, now int64) (*event, error) {
	if len(payload) > 263_168 {
		return nil, fail("TOO_LARGE", "an invoke frame of %d bytes", len(payload))
	}
	f := readBytes(payload, "an invoke frame")
	kind := f.oneOf("t", "accepted", "refused", "progress", "result", "failure")
	if n := f.integer("c", 1, maxInteger); f.err == nil && n != number {
		return nil, fail("BAD_REQUEST", "an answer to call %d", n)
	}
	s, err := parseSealed(f.raw("e"))
	if f.err != nil {
		return nil, f.err
	}
	if err != nil {
		return nil, err
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	e, err := parseEnvelope(s)
	if err != nil {
		return nil, err
	}
	if err := c.check(e, kind, now); err != nil {
		return nil, err
	}
	out := &event{Type: kind, SignedBy: sealKind(e.from), BatchSize: s.size, EnvelopeID: e.id.String()}
	if err := readAnswer(e.body, out); err != nil {
		return nil, err
	}
	if kind == "refused" {
		out.Index = c.next
	} else if out.Index != c.next || (kind == "accepted") != (c.next == 0) {
		return nil, fail("BAD_REQUEST", "%s %d where event %d was expected", kind, out.Index, c.next)
	}
	c.next++
	return out, nil
}

func (c *call) check(e *envelope, kind string, now int64) error {
	if e.from.person != c.callee.person || *e.from.device != *c.callee.device {
		return fail("BAD_SIGNATURE", "an answer from somebody who was not asked")
	}
	if e.from.agent == "" {
		if e.key != *c.callee.device {
			return fail("BAD_SIGNATURE", "the answer's key is not the device's")
		}
		if c.target.agent != "" && kind != "refused" && kind != "failure" {
			return fail("BAD_SIGNATURE", "the device speaks where the agent was asked")
		}
	} else {
		if c.agentKey == nil || e.key != c.agentKey.key || c.agentKey.person != e.from.person {
			return fail("BAD_SIGNATURE", "the answer's key does not speak for the agent")
		}
		if e.from.agent != c.target.agent || kind == "refused" {
			return fail("BAD_SIGNATURE", "another agent than the asked one speaks")
		}
	}
	switch {
	case e.kind != "invoke/"+kind:
		return fail("BAD_REQUEST", "a %s frame carries an envelope of kind %s", kind, e.kind)
	case e.mesh != c.mesh:
		return fail("BAD_REQUEST", "an answer of another mesh")
	case e.re == nil || *e.re != c.request:
		return fail("BAD_REQUEST", "an answer to another request")
	case e.to.person != c.me.person || e.to.device == nil || *e.to.device != *c.me.device || e.to.agent != c.me.agent:
		return fail("BAD_REQUEST", "an answer to somebody else")
	case e.body == nil:
		return fail("BAD_REQUEST", "an answer without a body")
	}
	return checkTimes(e, now)
}

var codePattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

func readAnswer(body any, out *event) error {
	f := readFields(body, "a "+out.Type)
	if out.Type != "refused" {
		out.Index = f.integer("n", 0, maxInteger)
	}
	switch out.Type {
	case "progress":
		out.Parts = readParts(f, "parts", true)
	case "result":
		if f.has("tool") {
			out.Tool = readTool(f)
		} else {
			out.Parts = readParts(f, "parts", true)
		}
	case "refused", "failure":
		out.Error = &protocolError{Code: f.text("code"), Message: f.text("message")}
		if f.has("hint") {
			out.Error.Hint = f.text("hint")
		}
		if !codePattern.MatchString(out.Error.Code) {
			f.wrong("code", "UPPER_SNAKE")
		}
	}
	return f.end()
}

// data: whether a part may be JSON.
func readParts(f *fields, name string, data bool) []map[string]any {
	var out []map[string]any
	for _, item := range f.list(name, 0, 256) {
		part, ok := item.(map[string]any)
		if !ok || len(part) != 1 {
			f.wrong(name, "parts with one of text, data, blob")
			return nil
		}
		for key, value := range part {
			switch {
			case key == "text" || (data && key == "data"):
				if _, ok := value.(string); !ok {
					f.wrong(name, "parts of text")
				}
				out = append(out, map[string]any{key: value})
			case key == "blob":
				b := readFields(value, "a blob")
				said := map[string]any{"hash": b.id("hash").String(), "bytes": b.integer("bytes", 0, 67_108_864), "type": b.text("type")}
				if b.has("name") {
					said["name"] = b.text("name")
				}
				if b.end() != nil {
					f.wrong(name, "good blobs")
				}
				out = append(out, map[string]any{"blob": said})
			default:
				f.wrong(name, "parts with one of text, data, blob")
			}
		}
	}
	return out
}

func readTool(f *fields) map[string]any {
	t := readFields(f.raw("tool"), "a tool result")
	out := map[string]any{"content": readParts(t, "content", false), "isError": t.boolean("isError")}
	if t.has("structured") {
		out["structured"] = t.text("structured")
	}
	if err := t.end(); err != nil && f.err == nil {
		f.err = err
	}
	return out
}

func partsText(parts []map[string]any) string {
	var out strings.Builder
	for _, part := range parts {
		if text, ok := part["text"].(string); ok {
			out.WriteString(text)
		}
	}
	return out.String()
}
