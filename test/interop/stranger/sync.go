package main

// One /kin/sync/1 session of a client without a log, and a question for cards: docs/protocol.md §15–§19.

import (
	"context"
	"crypto/ecdh"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
)

// What a peer has of one log, and what has come of it.
type followed struct {
	opening opening
	last    int64
	events  []any
	head    any
}

// Takes all that the peer has: verifies every run, opens every body that it has the key of.
func syncAll(ctx context.Context, connection network.Conn, me *self, joined *joined, sealing *ecdh.PrivateKey) error {
	w, err := open(ctx, connection, "/kin/sync/1")
	if err != nil {
		return err
	}
	defer w.stream.Close()
	vector := map[string]any{"t": "vector", "v": 1, "full": true, "r": idList(me.heads), "logs": []any{}}
	if err := w.send(vector); err != nil {
		return err
	}
	logs, err := firstVector(w, me.mesh)
	if err != nil {
		return err
	}
	var wants []any
	for log, one := range logs {
		wants = append(wants, []any{log.raw(), 0, one.last})
	}
	if err := w.send(map[string]any{"t": "want", "logs": wants, "ids": []any{}}); err != nil {
		return err
	}
	records := 0
	for slices.ContainsFunc(values(logs), func(one *followed) bool { return int64(len(one.events)) <= one.last }) {
		payload, err := w.receive()
		if err != nil {
			return err
		}
		n, err := takeFrame(payload, me.mesh, logs)
		if err != nil {
			return err
		}
		records += n
	}
	return sayLogs(logs, records, me, joined, sealing)
}

func values(logs map[id]*followed) []*followed {
	var out []*followed
	for _, one := range logs {
		out = append(out, one)
	}
	return out
}

func firstVector(w *wire, mesh id) (map[id]*followed, error) {
	payload, err := w.receive()
	if err != nil {
		return nil, err
	}
	if _, err := checkSyncFrame(mesh, payload); err != nil {
		return nil, err
	}
	frame := readBytes(payload, "a vector")
	if frame.text("t") != "vector" || !frame.boolean("full") {
		return nil, fail("BAD_REQUEST", "a sync begins with a full vector")
	}
	logs := map[id]*followed{}
	for _, item := range frame.list("logs", 0, 4096) {
		entry := item.([]any)
		device, _ := idOf(entry[0])
		o := opening{device, entry[1].([]byte), "mesh"}
		logs[logOf(mesh, o)] = &followed{opening: o, last: entry[2].(int64)}
	}
	return logs, nil
}

// Returns how many roster records the frame held.
func takeFrame(payload []byte, mesh id, logs map[id]*followed) (int, error) {
	if _, err := checkSyncFrame(mesh, payload); err != nil {
		return 0, err
	}
	f := readBytes(payload, "a sync frame")
	switch f.text("t") {
	case "records":
		items := f.list("r", 0, 256)
		for _, item := range items {
			if _, err := parseRecord(item); err != nil {
				return 0, err
			}
		}
		return len(items), nil
	case "run":
		one := logs[f.id("log")]
		if one == nil || f.integer("from", 0, maxInteger) != int64(len(one.events)) {
			return 0, fail("BAD_REQUEST", "a run that was not asked for, or does not follow")
		}
		one.events = append(one.events, f.list("ev", 0, 1024)...)
		if head := f.raw("h"); head != nil {
			one.head = head
			return 0, verifyRun(mesh, one.opening, one.events, head)
		}
	case "end":
		return 0, &remoteError{&protocolError{Code: f.text("code"), Message: f.text("message")}}
	}
	return 0, nil
}

func sayLogs(logs map[id]*followed, records int, me *self, joined *joined, sealing *ecdh.PrivateKey) error {
	kinds, opened, locked, cards := map[string]int{}, 0, 0, []string{}
	for _, one := range logs {
		keys := &bodyKeys{me.mesh, one.opening.device, joined.epochs, public(me.device), sealing}
		for _, item := range one.events {
			h, body, err := openEvent(item)
			if err != nil {
				return err
			}
			kinds[h.kind]++
			value, err := openBody(h, body, keys)
			if wrong, ok := err.(*protocolError); ok && wrong.Code == "NOT_FOUND" {
				locked++
				continue
			}
			if err != nil {
				return err
			}
			opened++
			if h.kind == "card" {
				kind, name, err := checkCard(value, me.mesh)
				if err != nil {
					return err
				}
				cards = append(cards, kind+":"+name)
			}
		}
	}
	slices.Sort(cards)
	say(map[string]any{"event": "synced", "logs": len(logs), "records": records, "kinds": kinds, "opened": opened, "locked": locked, "cards": cards})
	return nil
}

// All cards that the peer has for us.
func askCards(ctx context.Context, connection network.Conn, mesh id) error {
	w, err := open(ctx, connection, "/kin/card/1")
	if err != nil {
		return err
	}
	defer w.stream.Close()
	if err := w.send(map[string]any{"q": "all"}); err != nil {
		return err
	}
	names := []string{}
	for more := true; more; {
		payload, err := w.receive()
		if err != nil {
			return err
		}
		f := readBytes(payload, "an answer with cards")
		for _, item := range f.list("cards", 0, 64) {
			kind, name, err := checkCard(item, mesh)
			if err != nil {
				return err
			}
			names = append(names, kind+":"+name)
		}
		more = f.boolean("more")
		if f.err != nil {
			return f.err
		}
	}
	slices.Sort(names)
	say(map[string]any{"event": "cards", "names": names})
	return nil
}
