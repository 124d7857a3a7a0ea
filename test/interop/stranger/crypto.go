package main

// Keys, signatures, seals, text forms: docs/protocol.md §2–§5.

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"

	"filippo.io/edwards25519"
)

type id [32]byte

func (a id) less(b id) bool   { return bytes.Compare(a[:], b[:]) < 0 }
func (a id) String() string   { return hex.EncodeToString(a[:]) }
func (a id) raw() []byte      { return append([]byte(nil), a[:]...) }
func hash(parts ...[]byte) id { return sha256.Sum256(bytes.Join(parts, nil)) }

func idOf(value any) (id, bool) {
	b, ok := value.([]byte)
	if !ok || len(b) != 32 {
		return id{}, false
	}
	return id(b), true
}

func idList(ids []id) []any {
	out := make([]any, len(ids))
	for i, one := range ids {
		out[i] = one.raw()
	}
	return out
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
var toolPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}(\.[a-zA-Z0-9_-]{1,64}){0,3}$`)

func isName(s string) bool { return namePattern.MatchString(s) }
func isTool(s string) bool { return toolPattern.MatchString(s) }

// ── text forms (§2) ──

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func formatText(prefix string, body []byte) string {
	payload := append([]byte{1}, body...)
	sum := sha256.Sum256(payload)
	return prefix + "1" + base32Lower.EncodeToString(append(payload, sum[:4]...))
}

func parseText(prefix, pasted string) ([]byte, error) {
	text := strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, pasted))
	rest, ok := strings.CutPrefix(text, prefix+"1")
	if !ok {
		return nil, fail("WRONG_KIND_OF_TEXT", "that does not start with %s1", prefix)
	}
	all, err := base32Lower.DecodeString(rest)
	if err != nil || base32Lower.EncodeToString(all) != rest || len(all) < 5 {
		return nil, fail("BAD_REQUEST", "the text is damaged")
	}
	payload, sum := all[:len(all)-4], all[len(all)-4:]
	want := sha256.Sum256(payload)
	if !bytes.Equal(sum, want[:4]) || payload[0] != 1 {
		return nil, fail("BAD_REQUEST", "the text's checksum or version does not match")
	}
	return payload[1:], nil
}

func meshTag(mesh id) string { return base32Lower.EncodeToString(mesh[:16]) }

// ── primitives (§3) ──

func verify(key, message, signature []byte) bool {
	return len(key) == 32 && len(signature) == 64 && ed25519.Verify(key, message, signature)
}

// The canonical encoding of a point of prime order.
func isAdmissible(key []byte) bool {
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil || !bytes.Equal(point.Bytes(), key) {
		return false
	}
	identity := edwards25519.NewIdentityPoint()
	if new(edwards25519.Point).MultByCofactor(point).Equal(identity) == 1 {
		return false
	}
	// L·A = (L − 1)·A + A
	minusOne := edwards25519.NewScalar().Negate(one())
	sum := new(edwards25519.Point).ScalarMult(minusOne, point)
	return sum.Add(sum, point).Equal(identity) == 1
}

func one() *edwards25519.Scalar {
	b := make([]byte, 32)
	b[0] = 1
	s, err := edwards25519.NewScalar().SetCanonicalBytes(b)
	if err != nil {
		panic(err)
	}
	return s
}

func derive(key, info []byte) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, string(info), 32)
	if err != nil {
		panic(err)
	}
	return out
}

func gcmOpen(key, nonce, sealed, aad []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nonce, sealed, aad)
}

func hpkeOpen(private *ecdh.PrivateKey, enc, ct, info, aad []byte) ([]byte, error) {
	key, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, err
	}
	return recipient.Open(aad, ct)
}

// ── seals (§4) ──

type sealed struct {
	bytes  []byte
	key    id
	sig    []byte
	index  int
	size   int
	hashes []id
}

func leafOf(kind string, message []byte) id {
	head := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	head = append(head, byte(len(kind)))
	return hash(head, []byte(kind), message)
}

func nodeOf(left, right id) id { return hash([]byte{1}, left[:], right[:]) }

func split(count int) int {
	s := 1
	for s*2 < count {
		s *= 2
	}
	return s
}

func parseSealed(value any) (*sealed, error) {
	f := readFields(value, "a sealed message")
	s := &sealed{bytes: f.bytes("b", -1), key: f.id("k"), sig: f.bytes("s", 64), size: 1}
	if f.has("p") {
		p := f.list("p", 3, 3)
		if f.err != nil {
			return nil, f.err
		}
		index, ok1 := p[0].(int64)
		size, ok2 := p[1].(int64)
		hashes, ok3 := p[2].([]any)
		if !ok1 || !ok2 || !ok3 || size < 2 || size > 128 || index < 0 || index >= size {
			return nil, fail("BAD_REQUEST", "a seal's path is [index, size 2 to 128, [hashes]]")
		}
		s.index, s.size = int(index), int(size)
		for _, item := range hashes {
			one, ok := idOf(item)
			if !ok {
				return nil, fail("BAD_REQUEST", "a seal's hashes are 32 bytes")
			}
			s.hashes = append(s.hashes, one)
		}
	}
	return s, f.end()
}

func (s *sealed) root(kind string) (id, bool) {
	var right []bool
	from, to := 0, s.size
	for to-from > 1 {
		middle := from + split(to-from)
		if s.index < middle {
			right = append(right, true)
			to = middle
		} else {
			right = append(right, false)
			from = middle
		}
	}
	if len(right) != len(s.hashes) {
		return id{}, false
	}
	at := leafOf(kind, s.bytes)
	for i, sibling := range s.hashes {
		if right[len(right)-1-i] {
			at = nodeOf(at, sibling)
		} else {
			at = nodeOf(sibling, at)
		}
	}
	return at, true
}

func (s *sealed) good(kind string) bool {
	root, ok := s.root(kind)
	return ok && verify(s.key[:], append([]byte("kin/seal/1"), root[:]...), s.sig)
}

func sealOne(key ed25519.PrivateKey, kind string, message []byte) *sealed {
	root := leafOf(kind, message)
	sig := ed25519.Sign(key, append([]byte("kin/seal/1"), root[:]...))
	return &sealed{bytes: message, key: id(key.Public().(ed25519.PublicKey)), sig: sig, size: 1}
}

func (s *sealed) value() any {
	out := map[string]any{"b": s.bytes, "k": s.key.raw(), "s": s.sig}
	if s.size > 1 {
		out["p"] = []any{s.index, s.size, idList(s.hashes)}
	}
	return out
}
