package main

// Snapshots, docs/protocol.md §27: the state's bytes, its hash and the snapshot's id, a part of it.

import (
	"bytes"
	"encoding/binary"
	"slices"
)

func snapshotItem(in []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(in))), in...)
}

func snapshotSection(name string, version int, rows [][]byte) []byte {
	sorted := slices.Clone(rows)
	slices.SortFunc(sorted, bytes.Compare)
	out := snapshotItem(encode([]any{name, version, len(rows)}))
	for _, row := range sorted {
		out = append(out, snapshotItem(row)...)
	}
	return out
}

func snapshotState(facts [][]byte) []byte {
	return append(snapshotSection("cards", 1, nil), snapshotSection("facts", 1, facts)...)
}

// The id, and the hash and length of the state that the proposal names.
func readProposal(mesh id, proposal []byte) (snapshot, state id, length int64, err error) {
	f := readBytes(proposal, "a proposal")
	f.integer("v", 1, 1)
	at, views := f.list("at", 0, 2048), f.list("views", 0, 64)
	state, length = f.id("state"), f.integer("bytes", 0, maxInteger)
	named := encode(map[string]any{"mesh": mesh.raw(), "at": at, "views": views, "state": state.raw(), "bytes": length})
	return hash([]byte("kin/snapshot/1"), named), state, length, f.end()
}

func openPart(mesh, snapshot id, epochKey []byte, n, of int64, nonce, x []byte) ([]byte, error) {
	key := derive(epochKey, append([]byte("kin/snapshot/1"), snapshot[:]...))
	return gcmOpen(key, nonce, x, encode(map[string]any{"mesh": mesh.raw(), "s": snapshot.raw(), "n": n, "of": of}))
}
