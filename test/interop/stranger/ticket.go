package main

// Tickets, docs/protocol.md §7.

import (
	"crypto/ed25519"
	"fmt"
	"strings"
)

type ticket struct {
	mesh        id
	meshName    string
	inviter     id
	inviterName string
	role        string
	expires     int64
	uses        int64
	guest       string
	invite      id
	seed        []byte
	addresses   []string
	relays      []string
}

func parseTicket(text string) (*ticket, error) {
	if len(text) > 4096 {
		return nil, fail("BAD_REQUEST", "a ticket has at most 4096 characters")
	}
	body, err := parseText("kint", text)
	if err != nil {
		return nil, err
	}
	value, err := decode(body)
	if err != nil {
		return nil, err
	}
	items, ok := value.([]any)
	if !ok || len(items) != 12 {
		return nil, fail("BAD_REQUEST", "a ticket has 12 fields")
	}
	t := &ticket{}
	bad := func(what string) (*ticket, error) { return nil, fail("BAD_REQUEST", "a ticket's %s is wrong", what) }
	var ok1, ok2, ok3, ok4 bool
	t.mesh, ok1 = idOf(items[0])
	t.inviter, ok2 = idOf(items[2])
	t.invite, ok3 = idOf(items[8])
	if !ok1 || !ok2 || !ok3 {
		return bad("ids")
	}
	t.meshName, ok1 = items[1].(string)
	t.inviterName, ok2 = items[3].(string)
	t.guest, ok3 = items[7].(string)
	if !ok1 || !ok2 || !(ok3 || items[7] == nil) || !isName(t.meshName) || !isName(t.inviterName) || (ok3 && !isName(t.guest)) {
		return bad("names")
	}
	role, ok1 := items[4].(int64)
	t.expires, ok2 = items[5].(int64)
	t.uses, ok3 = items[6].(int64)
	t.seed, ok4 = items[9].([]byte)
	if !ok1 || !ok2 || !ok3 || !ok4 || role < 0 || role > 1 || t.expires < 0 || t.uses < 1 || t.uses > 50 || len(t.seed) != 16 {
		return bad("role, expiry, uses or seed")
	}
	t.role = []string{"member", "admin"}[role]
	if t.addresses, err = readAddresses(items[10], 3); err != nil {
		return nil, err
	}
	t.relays, err = readAddresses(items[11], 2)
	return t, err
}

func readAddresses(value any, most int) ([]string, error) {
	items, ok := value.([]any)
	if !ok || len(items) > most {
		return nil, fail("BAD_REQUEST", "a ticket's addresses are a list of at most %d", most)
	}
	var out []string
	for _, item := range items {
		switch v := item.(type) {
		case []byte:
			if len(v) != 6 {
				return nil, fail("BAD_REQUEST", "a packed address is 6 bytes")
			}
			out = append(out, fmt.Sprintf("/ip4/%d.%d.%d.%d/tcp/%d", v[0], v[1], v[2], v[3], int(v[4])<<8|int(v[5])))
		case string:
			if !strings.HasPrefix(v, "/") || len(v) > 256 {
				return nil, fail("BAD_REQUEST", "an address is a multiaddr")
			}
			out = append(out, v)
		default:
			return nil, fail("BAD_REQUEST", "an address is 6 bytes or text")
		}
	}
	return out, nil
}

func (t *ticket) key() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(derive(t.seed, append([]byte("kin/ticket/1"), t.mesh[:]...)))
}
