package main

// Documents, docs/protocol.md §28: who writes inside one, a private note's update, what facts fold to.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"unicode"
	"unicode/utf8"
)

// 53 bits: as whom a log writes in a note.
func yjsClient(log, note id) int64 {
	sum := hash([]byte("kin/yjs/1"), log[:], note[:])
	return int64(binary.BigEndian.Uint64(sum[:8]) & (1<<53 - 1))
}

func automergeActor(log, record id) []byte {
	sum := hash([]byte("kin/automerge/1"), log[:], record[:])
	return sum[:16]
}

func recordId(mesh, person id, name string) id {
	return hash([]byte("kin/record/1"), encode([]any{mesh.raw(), person.raw(), "agent", name}))
}

func openUpdate(mesh, note, author id, key, n, x []byte) ([]byte, error) {
	return gcmOpen(key, n, x, encode([]any{"kin/note/1", mesh.raw(), note.raw(), author.raw()}))
}

type fact struct {
	event    id
	hlc      []byte
	scope    string // "" for the mesh, else the scope's bytes
	key      string
	replaces []id
}

// Shape of a fact-set event's value; its author's person must be that of the scope.
func parseFact(event, person id, hlc, value []byte) (*fact, error) {
	f := readBytes(value, "a fact")
	one := &fact{event: event, hlc: hlc, key: f.text("k"), replaces: f.ids("r", 0, 64, true)}
	if scope := f.raw("s"); scope != nil {
		items, _ := scope.([]any)
		if len(items) != 2 {
			return nil, fail("BAD_REQUEST", "a scope is [person, agent]")
		}
		owner, ok1 := idOf(items[0])
		agent, ok2 := items[1].(string)
		if !ok1 || !ok2 || !isName(agent) || owner != person {
			return nil, fail("DENIED", "a scope of somebody else")
		}
		one.scope = string(encode(scope))
	}
	if f.has("v") {
		if v := f.text("v"); len(v) > 16384 || !json.Valid([]byte(v)) || nesting(v) > 32 {
			f.wrong("v", "JSON")
		}
	}
	if !isFactKey(one.key) {
		f.wrong("k", "a key")
	}
	return one, f.end()
}

func isFactKey(key string) bool {
	for _, r := range key {
		if unicode.IsSpace(r) || unicode.In(r, unicode.C) {
			return false
		}
	}
	return key != "" && len(key) <= 128 && utf8.ValidString(key)
}

func nesting(text string) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '[' || c == '{'):
			depth++
			deepest = max(deepest, depth)
		case !quoted && (c == ']' || c == '}'):
			depth--
		}
	}
	return deepest
}

// What stands in a register, newest first.
func standing(facts []*fact, scope, key string) []id {
	gone := map[id]bool{}
	var out []*fact
	for _, one := range facts {
		if one.scope == scope && one.key == key {
			out = append(out, one)
			for _, old := range one.replaces {
				gone[old] = true
			}
		}
	}
	out = slices.DeleteFunc(out, func(one *fact) bool { return gone[one.event] })
	slices.SortFunc(out, func(a, b *fact) int {
		if c := bytes.Compare(b.hlc, a.hlc); c != 0 {
			return c
		}
		return compareIds(b.event, a.event)
	})
	var ids []id
	for _, one := range out {
		ids = append(ids, one.event)
	}
	return ids
}
